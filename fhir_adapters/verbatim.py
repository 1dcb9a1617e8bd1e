"""JSON out of values that were read with every digit: what was 1.10 is 1.10 again (R4 2.24.0.1, decimal)."""

import json
from collections.abc import Iterator
from decimal import Decimal

import orjson

from clinical.errors import IncorrectInput


class Verbatim(Decimal):
    """A number that knows how it was written: 1.0E+2 is not 100 to who counts digits."""

    text: str

    def __new__(cls, text: str) -> "Verbatim":
        """Return the number that `text` is."""
        made = super().__new__(cls, text)
        made.text = text
        return made

    def __deepcopy__(self, _memo: object) -> "Verbatim":
        """Return itself: it does not change."""
        return self


def dumps(value: object) -> bytes:
    """Return JSON. Raises IncorrectInput for what is no value of JSON."""
    try:
        return orjson.dumps(value, default=_number)
    except TypeError:  # what orjson does not write: integers beyond 64 bits, half a surrogate pair, too deep
        return "".join(_parts(value)).encode()


def _number(value: object) -> object:
    if isinstance(value, Decimal):
        return orjson.Fragment(value.text if isinstance(value, Verbatim) else str(value))
    raise TypeError


def _parts(value: object) -> Iterator[str]:
    match value:
        case Verbatim():
            yield value.text
        case Decimal():
            yield str(value)
        case None | bool() | int() | float() | str():
            yield json.dumps(value, ensure_ascii=False, allow_nan=False)
        case dict():
            yield from _joined(
                "{", ((f"{json.dumps(str(name), ensure_ascii=False)}:", one) for name, one in value.items()), "}"
            )
        case list():
            yield from _joined("[", (("", one) for one in value), "]")
        case _:
            raise IncorrectInput("that is no value of JSON")


def _joined(opened: str, items: Iterator[tuple[str, object]], closed: str) -> Iterator[str]:
    yield opened
    for number, (head, one) in enumerate(items):
        yield f",{head}" if number else head
        yield from _parts(one)
    yield closed
