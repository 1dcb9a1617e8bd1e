"""The same Markdown for a client that renders less of it: tables become lists, links become words."""

import re
from collections.abc import Iterable, Sequence

_RULE = re.compile(r"\|(?:---\|)+")


def without_tables(detail: str) -> str:
    """Return the text with each table of `cds.markdown.table` as a list: an item a row, with the headers."""
    blocks = [_block(block.split("\n")) for block in detail.split("\n\n")]
    return "\n\n".join(blocks)


def without_links(detail: str, urls: Iterable[str]) -> str:
    """Return the text with the links to these URLs as their labels alone."""
    for url in urls:
        detail = re.sub(r"\[((?:\\.|[^\[\]\\])*)\]\(" + re.escape(url) + r"\)", r"\1", detail)
    return detail


def _block(lines: Sequence[str]) -> str:
    if len(lines) < 2 or not _RULE.fullmatch(lines[1]):
        return "\n".join(lines)
    headers = _cells(lines[0])
    return "\n".join(_item(headers, _cells(line)) for line in lines[2:])


def _cells(line: str) -> list[str]:
    # Within a cell "|" is escaped, so this parts cells only; an empty cell is two blanks.
    return [cell.strip() for cell in line[2:-2].split(" | ")]


def _item(headers: Sequence[str], cells: Sequence[str]) -> str:
    first, *rest = cells
    # With two columns the second needs no name.
    named = zip(headers[1:], rest, strict=False)
    said = [cell if len(headers) == 2 else f"{header} {cell}".strip() for header, cell in named if cell]
    named_row = f"{headers[0]} {first}" if first.isdigit() else first or headers[0]
    head = f"**{named_row}**"
    return f"- {head}: {'; '.join(said)}" if said else f"- {head}"
