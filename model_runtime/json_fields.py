"""Read a JSON object strictly and name every fault by its JSON path.

A reader collects faults and hands back a harmless value, so that one pass over a document reports
everything that is wrong with it. Nothing it hands back may be used before `Faults.found` was looked at.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
SHA256 = re.compile(r"[0-9a-f]{64}")
# A file of the same folder: no separators, no hidden files, no way up.
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(slots=True)
class Faults:
    """What was wrong so far: `path: what was expected`, never the value found."""

    found: list[str] = field(default_factory=list)

    def add(self, path: str, expected: str) -> None:
        """Note a fault at a JSON path."""
        self.found.append(f"{path}: {expected}")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("a key stands twice in one object")
    return dict(pairs)


def _no_constant(_: str) -> float:
    raise ValueError("NaN and Infinity are not JSON")


def loads(data: bytes) -> Any:  # noqa: ANN401 - JSON is anything until it was read
    """Return the parsed document. Raises ValueError for what is not strict JSON in UTF-8."""
    return json.loads(data.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)


class Fields:
    """The keys of one JSON object, each to be asked for once; what nobody asked for is a fault."""

    def __init__(self, value: object, path: str, faults: Faults) -> None:
        self.path = path
        self.faults = faults
        self._left: dict[str, Any] = dict(value) if isinstance(value, dict) else {}
        self._usable = isinstance(value, dict)
        if not self._usable:
            faults.add(path, "expected an object")

    def has(self, key: str) -> bool:
        """True when the key is there and was not asked for yet."""
        return key in self._left

    def take(self, key: str, expected: str, good: Callable[[Any], bool], otherwise: T) -> T:
        """Return the value of a required key, or `otherwise` after noting the fault."""
        if not self._usable:
            return otherwise
        if key not in self._left:
            self.faults.add(f"{self.path}.{key}", f"missing; expected {expected}")
            return otherwise
        value = self._left.pop(key)
        if not good(value):
            self.faults.add(f"{self.path}.{key}", f"expected {expected}")
            return otherwise
        return value  # type: ignore[no-any-return]

    def text(self, key: str) -> str:
        """A text with at least one visible character."""
        return self.take(key, "a text", lambda v: isinstance(v, str) and bool(v.strip()), "")

    def optional_text(self, key: str) -> str | None:
        """A text with at least one visible character, or null."""
        null: str | None = None
        return self.take(
            key, "a text or null", lambda v: v is None or (isinstance(v, str) and bool(v.strip())), null
        )

    def unit(self, key: str) -> str:
        """A text that may be empty (a value without unit)."""
        return self.take(key, "a text, which may be empty", lambda v: isinstance(v, str), "")

    def one_of(self, key: str, allowed: Iterable[str]) -> str:
        """One of a few words."""
        words = tuple(allowed)
        return self.take(key, "one of " + ", ".join(words), lambda v: isinstance(v, str) and v in words, words[0])

    def matching(self, key: str, pattern: re.Pattern[str], expected: str) -> str:
        """A text that a pattern matches wholly."""
        return self.take(key, expected, lambda v: isinstance(v, str) and bool(pattern.fullmatch(v)), "")

    def sha256(self, key: str) -> str:
        """A SHA-256 in lower-case hexadecimal."""
        return self.matching(key, SHA256, "64 lower-case hexadecimal digits")

    def file_name(self, key: str) -> str:
        """The name of a file in the same folder."""
        return self.matching(key, FILE_NAME, "a file name without folders")

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number within bounds, as float."""
        expected = "a number" if low == -math.inf else f"a number from {low:g} to {high:g}"
        return float(self.take(key, expected, lambda v: is_number(v) and low <= v <= high, 0.0))

    def optional_number(self, key: str) -> float | None:
        """A finite number as float, or null."""
        nothing: float | None = None
        value = self.take(key, "a number or null", lambda v: v is None or is_number(v), nothing)
        return None if value is None else float(value)

    def whole(self, key: str, low: int, high: int) -> int:
        """A whole number within bounds."""
        return self.take(
            key, f"a whole number from {low} to {high}", lambda v: is_whole(v) and low <= v <= high, low
        )

    def optional_whole(self, key: str, low: int, high: int) -> int | None:
        """A whole number within bounds, or null."""
        null: int | None = None
        return self.take(
            key,
            f"a whole number from {low} to {high}, or null",
            lambda v: v is None or (is_whole(v) and low <= v <= high),
            null,
        )

    def whole_or(self, key: str, low: int, high: int, otherwise: int) -> int:
        """A whole number within bounds, `otherwise` where the key is not there."""
        return self.whole(key, low, high) if self.has(key) else otherwise

    def flag(self, key: str) -> bool:
        """True or false."""
        return self.take(key, "true or false", lambda v: isinstance(v, bool), False)

    def child(self, key: str) -> "Fields":
        """A nested object. When it is absent the fault is noted and nothing more is asked of it."""
        absent: dict[str, Any] = {}
        value = self.take(key, "an object", lambda v: isinstance(v, dict), absent)
        child = Fields(value, f"{self.path}.{key}", self.faults)
        child._usable = value is not absent
        return child

    def children(self, key: str, *, may_be_empty: bool = False) -> list["Fields"]:
        """A list of objects."""
        empty: list[Any] = []
        expected = "a list of objects" + ("" if may_be_empty else ", not empty")
        items = self.take(key, expected, lambda v: isinstance(v, list) and (bool(v) or may_be_empty), empty)
        return [Fields(item, f"{self.path}.{key}[{n}]", self.faults) for n, item in enumerate(items)]

    def named_children(self, key: str, *, may_be_empty: bool = False) -> dict[str, "Fields"]:
        """An object of free keys whose values are objects, in the document's order."""
        empty: dict[str, Any] = {}
        expected = "an object of objects" + ("" if may_be_empty else ", not empty")
        table = self.take(key, expected, lambda v: isinstance(v, dict) and (bool(v) or may_be_empty), empty)
        return {name: Fields(item, f"{self.path}.{key}.{name}", self.faults) for name, item in table.items()}

    def optional_child(self, key: str) -> "Fields | None":
        """A nested object, or None for null."""
        null: dict[str, Any] | None = None
        value = self.take(key, "an object or null", lambda v: v is None or isinstance(v, dict), null)
        return None if value is None else Fields(value, f"{self.path}.{key}", self.faults)

    def items(self, key: str, expected: str, good: Callable[[Any], bool]) -> tuple[Any, ...]:
        """A non-empty list whose items are all good."""
        empty: list[Any] = []
        wanted = self.take(key, f"a list of {expected}", lambda v: isinstance(v, list) and bool(v), empty)
        for n, item in enumerate(wanted):
            if not good(item):
                self.faults.add(f"{self.path}.{key}[{n}]", f"expected {expected}")
        return tuple(wanted)

    def table(self, key: str, expected: str, good: Callable[[Any], bool]) -> Mapping[str, Any]:
        """An object of free keys whose values are all good."""
        empty: dict[str, Any] = {}
        wanted = self.take(key, f"an object of {expected}", lambda v: isinstance(v, dict), empty)
        for name, item in wanted.items():
            if not good(item):
                self.faults.add(f"{self.path}.{key}.{name}", f"expected {expected}")
        return wanted

    def end(self) -> None:
        """Note every key that nobody asked for."""
        for key in self._left:
            self.faults.add(f"{self.path}.{key}", "unknown key")


def is_number(value: object) -> bool:
    """True for a finite int or float that a float can hold; a bool is none."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # JSON's whole numbers have no bound
        return False


def is_whole(value: object) -> bool:
    """True for an int; a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool)
