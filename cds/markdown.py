"""GitHub-flavoured Markdown for `Card.detail`, with every text of a patient or a model made harmless.

CDS Hooks 3.0 lets a detail hold Markdown; a client may render it with raw HTML and automatic links on. So
text that came from a record is escaped here before it reaches a card (threat T6: injected links in cards).
"""

import re
from collections.abc import Iterable, Sequence

from cds.origins import PublicUrl

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&#!$])")
_BLOCK_START = re.compile(r"^([-+=]|\d+(?=[.)](?:\s|$)))")
# Control characters, and the invisible ones that reorder what a reader sees (bidirectional overrides).
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]+")
# Where an address would begin or go on: "//", "www.", both sides of "@", a dot before a word ("evil.com").
_LINKABLE = re.compile(
    r"(?i)(?<=/)(?=/)|(?<=www)(?=\.)|(?=@)|(?<=@)|(?<=mailto)(?=:)|(?<=xmpp)(?=:)|(?<=[\w\-])(?=\.[^\W\d_]{2})"
)
WORD_JOINER = "\u2060"


def plain(text: str) -> str:
    """Return the text on one line: no control characters, no invisible reordering, single blanks."""
    return " ".join(_UNSEEN.sub(" ", text).split())


def escape(text: str) -> str:
    """Return the text so that GFM shows it literally: no emphasis, table cell, HTML, entity, image or link.

    A backslash does not stop every renderer from linking `www.` or an address (they look for those in the
    parsed text), so an invisible word joiner is put where the link would begin.
    """
    return _BLOCK_START.sub(_defuse_block_start, _inline(text))


def _inline(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", _LINKABLE.sub(WORD_JOINER, plain(text)))


def _defuse_block_start(match: re.Match[str]) -> str:
    start = match.group(1)
    # "1." begins a list: the digit cannot be escaped, the joiner between digit and dot is enough.
    return start + WORD_JOINER if start.isdigit() else "\\" + start


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a GFM table; every cell is escaped here, so pass plain text."""
    lines = [_row(headers), "|" + "---|" * len(headers)]
    lines.extend(_row(row) for row in rows)
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_inline(cell) for cell in cells) + " |"


def bold(text: str) -> str:
    """Return plain text as bold Markdown."""
    return f"**{_inline(text)}**"


def bullets(items: Iterable[str]) -> str:
    """Return plain texts as a list."""
    return "\n".join(f"- {escape(item)}" for item in items)


def linked(label: str, url: PublicUrl) -> str:
    """Return a link; it stands on a card whose source or links lead to the same URL."""
    return f"[{_inline(label)}]({url.text})"


def paragraphs(*parts: str) -> str:
    """Join Markdown blocks with an empty line between them; empty blocks are left out."""
    return "\n\n".join(part for part in parts if part)
