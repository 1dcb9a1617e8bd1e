"""Texts from a record are shown as they are and do nothing (an independent Markdown reader judges)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from cds.markdown import WORD_JOINER, escape, plain, table


def tokens_of(markdown):
    return list(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(markdown))


def shown(markdown):
    inline = [token for token in tokens_of(markdown) if token.type == "inline"]
    return "\n".join("".join(child.content for child in token.children) for token in inline)


@given(st.text(max_size=60))
def test_any_text_is_shown_literally_and_makes_no_markup(text):
    kinds = {token.type for token in tokens_of(escape(text))}
    inner = {c.type for token in tokens_of(escape(text)) for c in token.children or []}
    assert kinds <= {"paragraph_open", "inline", "paragraph_close"}
    assert inner <= {"text", "text_special"}
    assert shown(escape(text)).replace(WORD_JOINER, "") == plain(text).replace(WORD_JOINER, "")


@given(st.lists(st.lists(st.text(max_size=20), min_size=2, max_size=2), min_size=1, max_size=4))
def test_no_cell_can_break_its_table(rows):
    kinds = [token.type for token in tokens_of(table(("A", "B"), rows))]
    assert kinds.count("td_open") == 2 * len(rows)
    assert "html_block" not in kinds


@pytest.mark.parametrize(
    "text",
    [
        "www.evil.example",
        "https://evil.example",
        "quillon@evil.example",
        "mailto:a@b.example",
        "![x](//evil.example)",
        "//evil.example",
        "evil.com/a",
        "a@evil.com",
    ],
)
def test_a_renderer_that_links_bare_addresses_finds_none(text):
    escaped = escape(text)
    assert "://" not in escaped.replace(":" + WORD_JOINER, "")
    assert "www." not in escaped
    assert "@e" not in escaped
    assert "@b" not in escaped
    # linkify-it (markdown-it's) also takes "//host", a known domain alone, and a joiner as part of a host.
    assert "//" not in escaped
    assert "n@" not in escaped
    assert "evil.com" not in escaped


def test_invisible_reordering_and_line_breaks_are_removed():
    assert plain("a\u202eb\r\nc\x00d") == "a b c d"


@pytest.mark.parametrize(
    "text", ["3.5 mmol/L", "e.g. 1.0.0", "2026-11-22", "u[IU]/mL", "diabetes-risk 1.0.0", "24/7."]
)
def test_what_is_no_address_is_left_without_joiners(text):
    assert WORD_JOINER not in escape(text)
