"""The index rows of one resource while it is walked, and what makes them."""

from collections.abc import Callable, Iterator
from typing import Any

from record_store.index_rows import DateRow, IndexRows, QuantityRow, ReferenceRow, StringRow, TokenRow, UriRow


class Rows:
    """The rows of one resource while it is walked. base: ours, with the slash at its end."""

    __slots__ = ("base", "dates", "quantities", "references", "strings", "tokens", "uris")

    def __init__(self, base: str) -> None:
        self.base = base
        self.tokens: list[TokenRow] = []
        self.strings: list[StringRow] = []
        self.dates: list[DateRow] = []
        self.references: list[ReferenceRow] = []
        self.quantities: list[QuantityRow] = []
        self.uris: list[UriRow] = []

    def absent(self, name: str) -> None:
        """Say that what `exists() and != false` asks for is not so, unless it was found."""
        if not any(row.param == name for row in self.tokens):
            self.tokens.append(TokenRow(name, "", "false"))

    def frozen(self) -> IndexRows:
        """Return the rows as the store takes them."""
        return IndexRows(
            tuple(self.tokens),
            tuple(self.strings),
            tuple(self.dates),
            tuple(self.references),
            tuple(self.quantities),
            tuple(self.uris),
        )


Emit = Callable[[str, object, int, Rows], None]  # (parameter, element, part, the rows to add to)


def items(value: object) -> Iterator[dict[str, Any]]:
    """Yield the objects of a list; nothing of anything else."""
    if isinstance(value, list):
        yield from (one for one in value if isinstance(one, dict))
