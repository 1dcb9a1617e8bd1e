"""Markdown of the statement."""

from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return a table; a bar in a cell is escaped."""
    lines = [_line(heads), f"|{'---|' * len(heads)}"]
    return lines + [_line(row) for row in rows]


def _line(cells: Iterable[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
