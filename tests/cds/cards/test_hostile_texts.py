"""No text of a model or a record makes markup or a link in a card; an independent Markdown reader judges."""

import itertools

import pytest
from markdown_it import MarkdownIt

from cds.markdown import WORD_JOINER, plain

MODELS = ("breast-lesion", "diabetes-risk", "heart-rate-trend", "lung-nodule")
MARKUP = {"html_block", "html_inline", "image", "heading_open", "code_inline", "code_block", "fence", "s_open"}
HOSTILE = [
    "[x](https://evil.example)",
    "![x](https://evil.example/a.png)",
    "<img src=x onerror=alert(1)>",
    "<https://evil.example>",
    "https://evil.example www.evil.example",
    "|a|b|\n|---|---|",
    "# heading\n\n- item",
    "```\ncode",
    "**bold** _it_ ~~no~~ `code`",
    "[r]: https://evil.example",
    "&lt;b&gt; &#x3c;i>",
    "\u202etxet \u2028\u2029",
]


def texts_of(detail):
    """Render as a client would, HTML allowed, and return (kinds of markup, destinations, words)."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(detail)
    inner = [child for token in tokens for child in token.children or []]
    kinds = {token.type for token in (*tokens, *inner)}
    links = [token.attrs["href"] for token in inner if token.type == "link_open"]
    return kinds, links, " ".join(child.content for child in inner)


SERVICES = ("breast-lesion", "diabetes-risk", "imaging-findings")


# The heart rate reads no words of the record, so two of the texts are enough there.
@pytest.mark.parametrize(
    ("service", "hostile"),
    [*itertools.product(SERVICES, HOSTILE), *(("heart-rate", hostile) for hostile in HOSTILE[:2])],
)
def test_no_text_makes_markup_or_a_link(service, hostile, ask, engine_with):
    def change(prefetch):
        prefetch["patient"]["name"] = [{"family": hostile}]
        for entry in prefetch.get("bmi", {}).get("entry", []):
            del entry["resource"]["valueQuantity"]["code"], entry["resource"]["valueQuantity"]["system"]
            entry["resource"]["valueQuantity"]["unit"] = hostile

    models = engine_with(notice=hostile, title=hostile, intended_use=hostile, population=hostile)
    shown = 0
    for card in ask(service, models, label=hostile, reason=hostile, change=change).cards:
        kinds, links, words = texts_of(card.detail)
        assert kinds.isdisjoint(MARKUP)
        assert set(links) <= {f"https://cards.example/{name}/card.md" for name in MODELS}
        shown += plain(hostile).replace(WORD_JOINER, "") in words.replace(WORD_JOINER, "")
    assert shown  # literally, as it was given
