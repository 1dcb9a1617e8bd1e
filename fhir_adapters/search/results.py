"""The parameters that say how a search is answered, and not what it asks (R4 3.1.1.5)."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from clinical.errors import IncorrectInput
from fhir_adapters.search import page
from fhir_adapters.search.includes import MAX_INCLUDES, Include, includes_of
from fhir_adapters.search.parameters import TYPES, Kind
from record_store.resource_search import SortBy, SortKey

DEFAULT_COUNT = 50
MAX_COUNT = 500
MAX_SORT_KEYS = 5

_PLACES = {
    Kind.TOKEN: SortBy.TOKEN,
    Kind.DATE: SortBy.DATE,
    Kind.STRING: SortBy.STRING,
    Kind.REFERENCE: SortBy.REFERENCE,
    Kind.QUANTITY: SortBy.QUANTITY,
    Kind.NUMBER: SortBy.QUANTITY,
    Kind.URI: SortBy.URI,
}
SUMMARIES = ("true", "text", "data", "count", "false")


@dataclass(frozen=True, slots=True)
class Answering:
    """How a search is answered.

    count: page size; 0 asks for the total only. total: whether to count all matches. summary: of SUMMARIES.
    elements: names, as `name` or `Type.name`; empty for all.
    """

    sort: tuple[SortKey, ...] = ()
    count: int = DEFAULT_COUNT
    total: bool = False
    summary: str = "false"
    elements: tuple[str, ...] = ()
    includes: tuple[Include, ...] = ()
    page_token: str | None = None


def is_result(name: str) -> bool:
    """Tell whether a parameter says how to answer."""
    return name.partition(":")[0] in _READ


def may_repeat(name: str) -> bool:
    """Tell whether a parameter of these may stand several times."""
    return name.partition(":")[0] in ("_include", "_revinclude")


def read(answering: Answering, resource_types: tuple[str, ...], name: str, value: str) -> Answering:
    """Return what is said with one more parameter. Raises IncorrectInput, naming it and never its value.

    resource_types: what is searched.
    """
    bare, modifier, _ = name.partition(":")
    if modifier and not may_repeat(name):
        raise IncorrectInput(f"{bare} takes no modifier", expression=[bare])
    return _READ[bare](answering, resource_types, name, value)


def _count(said: Answering, _types: tuple[str, ...], _name: str, value: str) -> Answering:
    if not re.fullmatch("[0-9]{1,9}", value):
        raise IncorrectInput("_count takes a whole number", expression=["_count"])
    # A server may return fewer than asked for (R4 3.1.1.5.6).
    return replace(said, count=min(int(value), MAX_COUNT))


def _summary(said: Answering, _types: tuple[str, ...], _name: str, value: str) -> Answering:
    if value not in SUMMARIES:
        raise IncorrectInput(f"_summary takes one of {', '.join(SUMMARIES)}", expression=["_summary"])
    return replace(said, summary=value)


def _elements(said: Answering, _types: tuple[str, ...], _name: str, value: str) -> Answering:
    names = tuple(name.strip() for name in value.split(","))
    if not all(re.fullmatch(r"(?:[A-Z][A-Za-z]+\.)?[a-z][A-Za-z]*", name) for name in names):
        raise IncorrectInput(
            "_elements takes names of elements at the base of a resource", expression=["_elements"]
        )
    return replace(said, elements=names)


def _total(said: Answering, _types: tuple[str, ...], _name: str, value: str) -> Answering:
    if value not in {"none", "estimate", "accurate", "count"}:
        raise IncorrectInput("_total takes none, estimate or accurate", expression=["_total"])
    return replace(said, total=value != "none")


def _sort(said: Answering, types: tuple[str, ...], _name: str, value: str) -> Answering:
    names = value.split(",")
    bare = [name.removeprefix("-") for name in names]
    if len(names) > MAX_SORT_KEYS or len(set(bare)) != len(bare):
        raise IncorrectInput(f"_sort takes up to {MAX_SORT_KEYS} different parameters", expression=["_sort"])
    keys = [_sort_key(types, name.removeprefix("-"), name.startswith("-")) for name in names]
    return replace(said, sort=tuple(keys))


def _sort_key(types: tuple[str, ...], name: str, descending: bool) -> SortKey:
    if name in {"_id", "_lastUpdated"}:
        return SortKey(SortBy.ID if name == "_id" else SortBy.UPDATED, descending)
    if len(types) != 1:
        raise IncorrectInput("several types are sorted by _id or _lastUpdated", expression=["_sort"])
    search = TYPES[types[0]]
    if name == search.hot_date:
        return SortKey(SortBy.HOT_DATE, descending)
    parameter = search.parameters.get(name)
    if parameter is None or parameter.kind not in _PLACES:
        sortable = [each.name for each in search.parameters.values() if each.kind in _PLACES]
        raise IncorrectInput(
            f"{types[0]} cannot be sorted by that",
            expression=["_sort"],
            diagnostics=f"it can by: _id, _lastUpdated, {', '.join(sortable)}",
        )
    return SortKey(_PLACES[parameter.kind], descending, parameter.index_name)


def _include(said: Answering, types: tuple[str, ...], name: str, value: str) -> Answering:
    if len(said.includes) >= MAX_INCLUDES and "*" not in value:
        raise IncorrectInput(f"a search takes at most {MAX_INCLUDES} of _include and _revinclude")
    return replace(said, includes=(*said.includes, *includes_of(types, name, value)))


def _page(said: Answering, _types: tuple[str, ...], _name: str, value: str) -> Answering:
    return replace(said, page_token=value)


def _nothing(said: Answering, _types: tuple[str, ...], _name: str, _value: str) -> Answering:
    return said


_Reading = Callable[[Answering, tuple[str, ...], str, str], Answering]
_READ: dict[str, _Reading] = {
    "_count": _count,
    "_include": _include,
    "_revinclude": _include,
    "_sort": _sort,
    "_summary": _summary,
    "_elements": _elements,
    "_total": _total,
    "_totalMethod": _total,  # fhirpy's name for it
    page.PARAMETER: _page,
    # Accepted and without effect: what is stored is served as it was written, and JSON is all there is.
    "_format": _nothing,
    "_pretty": _nothing,
    "_t": _nothing,  # what browsers' clients put against caches
}
NAMES = ("_count", "_sort", "_summary", "_elements", "_total", "_include", "_revinclude")
WITHOUT_EFFECT = ("_format", "_pretty", "_t")
