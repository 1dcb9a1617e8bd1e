"""A query string becomes a search (R4 3.1.1): every parameter is understood, or the request is refused.

A parameter that is silently dropped answers another question than the one asked, so an unknown one is 400
unless the client says `Prefer: handling=lenient`; then the self link shows what was used.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from clinical.errors import IncorrectInput
from fhir_adapters.search import page
from fhir_adapters.search.dates import range_of
from fhir_adapters.search.index import ID
from fhir_adapters.search.links import target_of
from fhir_adapters.search.parameters import TYPES, Kind, SearchParameter, TypeSearch
from fhir_adapters.search.texts import normal_text
from record_store.resource_search import (
    Compare,
    Criterion,
    DateIn,
    DateRange,
    IdIn,
    PatientIn,
    ReferenceIn,
    SortBy,
    SortKey,
    StringStarts,
    TokenIn,
)

DEFAULT_COUNT = 50
MAX_COUNT = 500
MAX_ALTERNATIVES = 500  # in one request: a database's expression has a depth limit
MAX_SORT_KEYS = 3

Pairs = Sequence[tuple[str, str]]

# Accepted and without effect: what is stored is served as it was written, and total is `_total`'s business.
_WITHOUT_EFFECT = ("_format", "_pretty")
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_PREFIX = re.compile("(?:eq|ne|gt|lt|ge|le|sa|eb)(?=[0-9])")
_UNZONED_PLUS = re.compile(r"(?<=[0-9]) (?=[0-9]{2}:[0-9]{2}$)")
_ESCAPE = re.compile(r"\\([\\,|$])")
_PLACES = {Kind.TOKEN: SortBy.TOKEN, Kind.DATE: SortBy.DATE, Kind.STRING: SortBy.STRING}


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A search as asked for.

    count: page size; 0 asks for the total only. total: whether to count all matches.
    used: the parameters that were understood, without the page token. ignored: names that were not.
    """

    type: str
    criteria: tuple[Criterion, ...] = ()
    sort: tuple[SortKey, ...] = ()
    count: int = DEFAULT_COUNT
    total: bool = False
    used: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()
    page_token: str | None = None


def parse(resource_type: str, pairs: Pairs, *, base_url: str, lenient: bool = False) -> SearchRequest:
    """Return the search that (name, value) pairs ask for, in the order they came.

    resource_type: one of `parameters.TYPES`. base_url: ours, for absolute references.

    Raises IncorrectInput, naming the parameter and never its value: an unknown parameter (unless lenient),
    an unsupported modifier (always: R4 3.1.1.4.2), a value that cannot be read, too many alternatives.
    """
    found = SearchRequest(resource_type)
    seen: set[str] = set()
    for name, value in pairs:
        if _CONTROLS.search(name) or _CONTROLS.search(value):
            raise IncorrectInput("a search parameter holds control characters")
        if name in _RESULT:
            if name in seen:
                raise IncorrectInput(f"{name} stands twice", expression=[name])
            seen.add(name)
            found = _RESULT[name](found, value)
        else:
            criterion = _criterion(resource_type, name, value, base_url)
            if criterion is None:
                if not lenient:
                    raise _unknown(resource_type, name)
                found = replace(found, ignored=(*found.ignored, name))
                continue
            found = replace(found, criteria=(*found.criteria, criterion))
        if name != page.PARAMETER:
            found = replace(found, used=(*found.used, (name, value)))
    if sum(_size(criterion) for criterion in found.criteria) > MAX_ALTERNATIVES:
        raise IncorrectInput(f"a search takes at most {MAX_ALTERNATIVES} values")
    return found


def names_for(resource_type: str) -> tuple[str, ...]:
    """Return the parameters that a search of this type takes, in the order people look for them."""
    own = [name for name in TYPES[resource_type].parameters if not name.startswith("_")]
    every = [name for name in TYPES[resource_type].parameters if name.startswith("_")]
    return (*sorted(own), "_id", "_lastUpdated", *every, "_count", "_sort", "_summary", "_total")


def _unknown(resource_type: str, name: str) -> IncorrectInput:
    known = ", ".join(names_for(resource_type))
    return IncorrectInput(
        f"this server does not know that search parameter of {resource_type}",
        # Only a name that looks like one is repeated: a value may have slipped into its place.
        expression=[name] if re.fullmatch("[A-Za-z_][A-Za-z_.:-]{0,63}", name) else [],
        diagnostics=f"known are: {known}",
    )


def _criterion(resource_type: str, name: str, value: str, base_url: str) -> Criterion | None:
    bare, _, modifier = name.partition(":")
    search = TYPES[resource_type]
    parameter = search.parameters.get(bare)
    if parameter is None and bare not in {"_id", "_lastUpdated"}:
        return None
    values = _split(bare, value)
    if bare == "_id" and not modifier:
        return IdIn(tuple(_unescaped(each) for each in values))
    if bare == "_lastUpdated" and not modifier:
        return DateIn(bare, tuple(_date(bare, each) for each in values))
    if parameter is not None and parameter.kind is Kind.REFERENCE and (not modifier or modifier[0].isupper()):
        return _reference(search, parameter, values, modifier, base_url)
    if parameter is None or modifier:
        raise IncorrectInput(f"{bare} takes no such modifier here", expression=[bare])
    match parameter.kind:
        case Kind.TOKEN:
            alternatives = tuple(_token(bare, each) for each in values)
            return TokenIn(parameter.index_name, alternatives, hot=bare == search.hot_code)
        case Kind.DATE:
            return DateIn(parameter.index_name, tuple(_date(bare, each) for each in values))
        case Kind.STRING:
            return StringStarts(parameter.index_name, tuple(_text(bare, each) for each in values))
        case _:
            raise IncorrectInput(f"{bare} cannot be asked for yet", expression=[bare])


def _split(name: str, value: str) -> list[str]:
    values = _at_commas(value)
    if not all(each.strip() for each in values):
        raise IncorrectInput(f"{name} has an empty value", expression=[name])
    return values


def _at_commas(value: str) -> list[str]:
    parts, start, at = [], 0, 0
    while at < len(value):
        if value[at] == "\\":
            at += 1
        elif value[at] == ",":
            parts.append(value[start:at])
            start = at + 1
        at += 1
    return [*parts, value[start:]]


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(r"\1", text)


def _token(name: str, text: str) -> tuple[str | None, str | None]:
    at = next((bar.start() for bar in re.finditer(r"\|", text) if not _escaped(text, bar.start())), None)
    if at is None:
        return None, _unescaped(text)
    system, code = _unescaped(text[:at]), _unescaped(text[at + 1 :])
    if not system and not code:
        raise IncorrectInput(f"{name} needs a system or a code", expression=[name])
    return system, code or None


def _text(name: str, text: str) -> str:
    normal = normal_text(_unescaped(text))
    if not normal:  # every text starts with nothing
        raise IncorrectInput(f"{name} has an empty value", expression=[name])
    return normal


def _escaped(text: str, at: int) -> bool:
    before = text[:at]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def _date(name: str, text: str) -> DateRange:
    prefix = _PREFIX.match(text)
    # A plus that was not percent-encoded arrives as a blank; in this place it can mean nothing else.
    written = _UNZONED_PLUS.sub("+", text[prefix.end() if prefix else 0 :])
    bounds = range_of(written)
    if bounds is None:
        raise IncorrectInput(
            f"{name} takes a date as YYYY, YYYY-MM, YYYY-MM-DD or with a time, after eq ne gt lt ge le sa eb",
            expression=[name],
        )
    return DateRange(Compare(prefix.group() if prefix else "eq"), *bounds)


def _reference(
    search: TypeSearch, parameter: SearchParameter, values: list[str], modifier: str, base_url: str
) -> Criterion:
    only = modifier or (parameter.targets[0] if len(parameter.targets) == 1 else None)
    alternatives: list[tuple[str | None, str]] = []
    for value in values:
        target_type, target_id = target_of(_unescaped(value), base_url)
        if target_type and modifier and target_type != modifier:
            raise IncorrectInput(f"{parameter.name} names two types", expression=[parameter.name])
        if not target_type and not ID.fullmatch(target_id):
            alternatives.append(("", target_id))
        else:
            alternatives.append((target_type or only, target_id))
    if parameter.name in search.hot_patient and all(kind == "Patient" for kind, _ in alternatives):
        return PatientIn(tuple(target_id for _, target_id in alternatives))
    return ReferenceIn(parameter.index_name, tuple(alternatives))


def _size(criterion: Criterion) -> int:
    match criterion:
        case IdIn(ids) | PatientIn(ids):
            return len(ids)
        case StringStarts(_, prefixes):
            return len(prefixes)
        case TokenIn(_, alternatives) | ReferenceIn(_, alternatives) | DateIn(_, alternatives):
            return len(alternatives)
        case _:
            return 1


def _count(found: SearchRequest, value: str) -> SearchRequest:
    if not re.fullmatch("[0-9]{1,9}", value):
        raise IncorrectInput("_count takes a whole number", expression=["_count"])
    # A server may return fewer than asked for (R4 3.1.1.5.6).
    return replace(found, count=min(int(value), MAX_COUNT))


def _summary(found: SearchRequest, value: str) -> SearchRequest:
    if value not in {"count", "false"}:
        raise IncorrectInput("_summary takes count or false here", expression=["_summary"])
    return replace(found, count=0) if value == "count" else found


def _total(found: SearchRequest, value: str) -> SearchRequest:
    if value not in {"none", "estimate", "accurate", "count"}:
        raise IncorrectInput("_total takes none, estimate or accurate", expression=["_total"])
    return replace(found, total=value != "none")


def _sort(found: SearchRequest, value: str) -> SearchRequest:
    names = value.split(",")
    bare = [name.removeprefix("-") for name in names]
    if len(names) > MAX_SORT_KEYS or len(set(bare)) != len(bare):
        raise IncorrectInput(f"_sort takes up to {MAX_SORT_KEYS} different parameters", expression=["_sort"])
    keys = [_sort_key(found.type, name.removeprefix("-"), name.startswith("-")) for name in names]
    return replace(found, sort=tuple(keys))


def _sort_key(resource_type: str, name: str, descending: bool) -> SortKey:
    search = TYPES[resource_type]
    if name in {"_id", "_lastUpdated"}:
        return SortKey(SortBy.ID if name == "_id" else SortBy.UPDATED, descending)
    if name == search.hot_date:
        return SortKey(SortBy.HOT_DATE, descending)
    parameter = search.parameters.get(name)
    if parameter is None or parameter.kind not in _PLACES:
        sortable = [each.name for each in search.parameters.values() if each.kind in _PLACES]
        raise IncorrectInput(
            f"{resource_type} cannot be sorted by that",
            expression=["_sort"],
            diagnostics=f"it can by: _id, _lastUpdated, {', '.join(sortable)}",
        )
    return SortKey(_PLACES[parameter.kind], descending, parameter.index_name)


def _page(found: SearchRequest, value: str) -> SearchRequest:
    return replace(found, page_token=value)


def _nothing(found: SearchRequest, _value: str) -> SearchRequest:
    return found


_RESULT: dict[str, Callable[[SearchRequest, str], SearchRequest]] = {
    "_count": _count,
    "_summary": _summary,
    "_total": _total,
    "_totalMethod": _total,  # fhirpy's name for it
    "_sort": _sort,
    page.PARAMETER: _page,
} | dict.fromkeys(_WITHOUT_EFFECT, _nothing)
