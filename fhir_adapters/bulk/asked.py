"""What a kick-off asks for (Bulk Data IG 2.0, "Bulk Data Kick-off Request"): understood whole, or refused.

A filter that is dropped in silence exports other people's data, so what is not known is 400, unless the client
says `Prefer: handling=lenient`: then the manifest's errors say what was not used.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from clinical.errors import IncorrectInput
from fhir_adapters.parameters import parameters_in
from fhir_adapters.search.dates import range_of
from fhir_adapters.search.index import target_of
from fhir_adapters.search.parameters import TYPES
from fhir_adapters.search.parse import SearchRequest, parse

SYSTEM, PATIENT, GROUP = "system", "patient", "group"
FORMATS = frozenset({"application/fhir+ndjson", "application/ndjson", "ndjson"})
MOST_FILTERS = 50

# Standard parameters that this server does not carry out.
_OPTIONAL = ("_elements", "includeAssociatedData", "organizeOutputBy", "allowPartialManifests", "_until")
_KNOWN = ("_outputFormat", "_since", "_type", "_typeFilter", "patient")
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Asked:
    """One kick-off. types: asked for, () for all of the level. filters: (type, query) of `_typeFilter`.

    since: `times.to_text`, "" for none. patients: ids, None for all. group: its id, "" for none. ignored: what was
    not used, in words. grant: of who asks (`Grant.as_json`), None for who may export everything.
    """

    level: str
    types: tuple[str, ...] = ()
    since: str = ""
    filters: tuple[tuple[str, str], ...] = ()
    patients: tuple[str, ...] | None = None
    group: str = ""
    ignored: tuple[str, ...] = field(default=())
    grant: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it for a row."""
        return asdict(self)

    @classmethod
    def of_json(cls, row: Mapping[str, Any]) -> "Asked":
        """Return what `as_json` wrote."""
        return cls(
            level=row["level"],
            types=tuple(row["types"]),
            since=row["since"],
            filters=tuple((kind, query) for kind, query in row["filters"]),
            patients=None if row["patients"] is None else tuple(row["patients"]),
            group=row["group"],
            ignored=tuple(row["ignored"]),
            grant=row.get("grant"),
        )


def asked_of(pairs: Pairs, *, level: str, group: str = "", base_url: str, lenient: bool, posted: bool) -> Asked:
    """Return what (name, value) pairs ask for. posted: they came in a Parameters.

    Raises IncorrectInput, naming the parameter and never its value.
    """
    ignored: list[str] = []
    for name in dict.fromkeys(name for name, _ in pairs):
        if name not in _KNOWN:
            said = name if re.fullmatch("[A-Za-z_]{1,40}", name) else "a parameter"
            known = said in _OPTIONAL
            _refuse(f"{said} is not {'carried out' if known else 'known'} here", said, ignored, lenient=lenient)
    formats = _values(pairs, "_outputFormat", split=False)
    if any(one.replace(" ", "+") not in FORMATS for one in formats):
        raise IncorrectInput("files are application/fhir+ndjson", expression=["_outputFormat"])
    types = _types(_values(pairs, "_type"), ignored, lenient=lenient)
    filters = _filters(pairs, types, base_url, ignored, lenient=lenient)
    return Asked(
        level=level,
        types=types,
        since=_since(_values(pairs, "_since", split=False)),
        filters=filters,
        patients=_patients(_values(pairs, "patient"), level, base_url, posted=posted),
        group=group,
        ignored=tuple(ignored),
    )


def pairs_of(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the parameters of a POSTed Parameters resource. Raises IncorrectInput for any other body."""
    found = []
    for one in parameters_in(parameters):
        values = list(one.values.values())
        value = values[0] if len(values) == 1 else None
        value = value.get("reference") if isinstance(value, dict) else value
        if not isinstance(value, bool) and not (isinstance(value, str) and value):
            raise IncorrectInput("a parameter has a name and one value", expression=[one.place])
        found.append((one.name, str(value)))
    return found


def criteria_of(kind: str, query: str, base_url: str) -> SearchRequest:
    """Return a type filter as a search. Raises IncorrectInput."""
    return parse(kind, parse_qsl(query, keep_blank_values=True), base_url=base_url)


def _values(pairs: Pairs, name: str, *, split: bool = True) -> list[str]:
    given = [value for each, value in pairs if each == name]
    return [part for value in given for part in value.split(",") if part] if split else given


def _refuse(text: str, name: str, ignored: list[str], *, lenient: bool) -> None:
    if not lenient:
        raise IncorrectInput(
            text, expression=[name], diagnostics=f"known are {', '.join(_KNOWN)}; Prefer: handling=lenient goes on"
        )
    ignored.append(text)


def _types(asked: Sequence[str], ignored: list[str], *, lenient: bool) -> tuple[str, ...]:
    kept = [one for one in dict.fromkeys(asked) if one in TYPES]
    if len(kept) < len(set(asked)):
        _refuse("_type names a type that this server does not keep", "_type", ignored, lenient=lenient)
        if not kept:  # all types would be the opposite of what was asked
            raise IncorrectInput("_type names no type that this server keeps", expression=["_type"])
    return tuple(kept)


def _since(given: Sequence[str]) -> str:
    if not given:
        return ""
    written = given[0].replace(" ", "+")
    bounds = range_of(written) if len(given) == 1 and _INSTANT.fullmatch(written) else None
    if bounds is None:
        raise IncorrectInput("_since takes one instant: YYYY-MM-DDThh:mm:ss and a zone", expression=["_since"])
    return bounds[0]


def _filters(
    pairs: Pairs, types: Sequence[str], base_url: str, ignored: list[str], *, lenient: bool
) -> tuple[tuple[str, str], ...]:
    kept = []
    # Several stand in one value, separated by commas, as do the alternatives within one: a type begins a new one.
    given = [
        part
        for name, value in pairs
        if name == "_typeFilter"
        for part in re.split(r",(?=[A-Z][A-Za-z]+\?)", value)
    ]
    for one in given:
        try:
            kept.append(_filter(one, types, base_url))
        except IncorrectInput as error:
            _refuse(f"_typeFilter: {error.message}", "_typeFilter", ignored, lenient=lenient)
    if len(kept) > MOST_FILTERS:
        raise IncorrectInput(f"an export takes at most {MOST_FILTERS} filters", expression=["_typeFilter"])
    return tuple(kept)


def _filter(text: str, types: Sequence[str], base_url: str) -> tuple[str, str]:
    kind, _, query = text.partition("?")
    if kind not in TYPES or not query or (types and kind not in types):
        raise IncorrectInput("it takes Type?query, of a type that is exported")
    criteria_of(kind, query, base_url)
    return kind, query


def _patients(given: Sequence[str], level: str, base_url: str, *, posted: bool) -> tuple[str, ...] | None:
    if not given:
        return None
    if level == SYSTEM or not posted:
        raise IncorrectInput("patient is taken in a POST of Patient or Group level only", expression=["patient"])
    found = [target_of(one, base_url) for one in given]
    if any(kind != "Patient" for kind, _ in found):
        raise IncorrectInput("patient takes references to Patients of this server", expression=["patient"])
    return tuple(dict.fromkeys(name for _, name in found))
