"""Flat columns of R4 types, from the definitions: the same for every export, named after their elements.

| element | columns |
|---|---|
| boolean, integer, decimal | one, as bool, int64, float64 (the NDJSON keeps the digits) |
| code, date, dateTime, instant, time | one, text |
| CodeableConcept, Coding | `<name>_system`, `<name>_code`: the first coding |
| Quantity and its kin | `<name>_value`, `<name>_unit`, `<name>_comparator` |
| Reference | `<name>_type`, `<name>_id` |
| Period; Range; Ratio | `_start`, `_end`; `_low_value`, `_high_value`; `_numerator_value`, `_denominator_value` |
| a backbone that stands once | its columns under `<name>_` |
| a list | its first, and `<name>_count` |
| a list of a backbone | a table `<type>.<name>`, with `resource_id`, `number` and the `parent`'s number |

Elements that de-identification always drops have no column.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from fhir_adapters.definitions.structure import Element, structure_of
from fhir_adapters.research.rules import BY_PATH

TEXT, NUMBER, WHOLE, FLAG = "text", "number", "whole", "flag"
_PRIMITIVES = (
    {"boolean": FLAG, "decimal": NUMBER}
    | dict.fromkeys(("integer", "positiveInt", "unsignedInt"), WHOLE)
    | dict.fromkeys(("code", "date", "dateTime", "instant", "time"), TEXT)
)
# Of these types: (the end of a column's name, the way to its value, its kind).
_PARTS: Mapping[str, tuple[tuple[str, tuple[str, ...], str], ...]] = {
    "Coding": (("_system", ("system",), TEXT), ("_code", ("code",), TEXT)),
    "CodeableConcept": (("_system", ("coding", "system"), TEXT), ("_code", ("coding", "code"), TEXT)),
    "Reference": (("_type", ("reference", "/0"), TEXT), ("_id", ("reference", "/1"), TEXT)),
    "Period": (("_start", ("start",), TEXT), ("_end", ("end",), TEXT)),
    "Range": (("_low_value", ("low", "value"), NUMBER), ("_high_value", ("high", "value"), NUMBER)),
    "Ratio": (
        ("_numerator_value", ("numerator", "value"), NUMBER),
        ("_numerator_unit", ("numerator", "unit"), TEXT),
        ("_denominator_value", ("denominator", "value"), NUMBER),
        ("_denominator_unit", ("denominator", "unit"), TEXT),
    ),
    "Money": (("_value", ("value",), NUMBER), ("_currency", ("currency",), TEXT)),
    "Address": (
        ("_country", ("country",), TEXT),
        ("_state", ("state",), TEXT),
        ("_postalCode", ("postalCode",), TEXT),
    ),
    "Identifier": (("_system", ("system",), TEXT), ("_value", ("value",), TEXT)),
    "Meta": (("_lastUpdated", ("lastUpdated",), TEXT),),
    "SampledData": (
        ("_origin_value", ("origin", "value"), NUMBER),
        ("_origin_unit", ("origin", "unit"), TEXT),
        ("_period", ("period",), NUMBER),
        ("_factor", ("factor",), NUMBER),
        ("_dimensions", ("dimensions",), WHOLE),
        ("_data", ("data",), TEXT),
    ),
} | dict.fromkeys(
    ("Quantity", "Age", "Count", "Distance", "Duration"),
    (("_value", ("value",), NUMBER), ("_unit", ("unit",), TEXT), ("_comparator", ("comparator",), TEXT)),
)
_NOT_AS_COLUMNS = frozenset({"extension", "modifierExtension", "contained", "text", "id"})
DEEPEST = 3


@dataclass(frozen=True, slots=True)
class Column:
    """One column. way: members to walk from the row's object; a list's first is meant. kind: TEXT and so on.

    counts: it is the number of members of the list there.
    """

    name: str
    way: tuple[str, ...]
    kind: str
    counts: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """A table's columns, and the lists of backbones that are tables of their own: (way, table)."""

    name: str
    columns: tuple[Column, ...] = ()
    inner: tuple[tuple[tuple[str, ...], "Layout"], ...] = field(default=())


@cache
def layout_of(kind: str) -> Layout:
    """Return the layout of a resource type."""
    return _layout(kind, kind, 0)


def rows_of(layout: Layout, found: Mapping[str, Any]) -> Iterator[tuple[str, int | None, int | None, list[Any]]]:
    """Yield (table, number, parent's number, values) of a resource: its own row, and those of its lists.

    number: None for the resource's own row; else counted through the resource, from 0, table by table.
    """
    numbers: dict[str, int] = {}

    def walk(at: Layout, value: Mapping[str, Any], number: int | None, parent: int | None) -> Iterator[Any]:
        yield at.name, number, parent, [_value(value, column) for column in at.columns]
        for way, inner in at.inner:
            held = _at(value, way)
            for one in held if isinstance(held, list) else ():
                own = numbers.get(inner.name, 0)
                numbers[inner.name] = own + 1
                yield from walk(inner, one, own, number)

    yield from walk(layout, found, None, None)


def _layout(name: str, kind: str, depth: int) -> Layout:
    columns: list[Column] = []
    inner: list[tuple[tuple[str, ...], Layout]] = []
    _collect(name, kind, (), "", depth, columns, inner)
    return Layout(name, tuple(columns), tuple(inner))


def _collect(
    table: str,
    kind: str,
    way: tuple[str, ...],
    prefix: str,
    depth: int,
    columns: list[Column],
    inner: list[tuple[tuple[str, ...], Layout]],
) -> None:
    for name, element in structure_of(kind).elements.items():
        here = (*way, name)
        if name in _NOT_AS_COLUMNS:
            continue
        if "." in element.kind:
            if depth == DEEPEST:
                continue
            if element.many:
                inner.append((here, _layout(f"{table}.{name}", element.kind, depth + 1)))
            else:
                _collect(f"{table}.{name}", element.kind, here, f"{prefix}{name}_", depth + 1, columns, inner)
        elif own := _own(kind, element, here, prefix + name):
            columns += own
            if element.many:
                columns.append(Column(f"{prefix}{name}_count", here, WHOLE, counts=True))


def _own(place: str, element: Element, way: tuple[str, ...], name: str) -> list[Column]:
    if element.kind in _PARTS:
        return [Column(name + end, (*way, *rest), kind) for end, rest, kind in _PARTS[element.kind]]
    kept = _PRIMITIVES.get(element.kind) or (TEXT if (place, element.name) in BY_PATH else None)
    return [Column(name, way, kept)] if kept else []


def _at(value: Any, way: tuple[str, ...]) -> Any:  # noqa: ANN401 - values of JSON
    for name in way:
        if isinstance(value, list):
            value = value[0] if value else None
        if name.startswith("/"):
            value = value.split("/")[int(name[1])] if isinstance(value, str) and value[0] != "#" else None
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return value


def _value(found: Mapping[str, Any], column: Column) -> Any:  # noqa: ANN401
    value = _at(found, column.way)
    if column.counts:
        return len(value) if isinstance(value, list) else 0
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, dict):  # it is masked
        return None
    return float(value) if column.kind == NUMBER and value is not None else value
