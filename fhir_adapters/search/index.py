"""What of a resource can be found: its index rows and hot columns, by the table in `parameters`."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fhir_adapters.search.dates import period_of, range_of
from fhir_adapters.search.parameters import TYPES, Kind, SearchParameter
from record_store.resources import DateRow, IndexRows, ReferenceRow, StringRow, TokenRow, hot_code

ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")  # R4 2.24.0.1, id
_LOCAL = re.compile(
    r"(?P<type>[A-Z][A-Za-z]{1,63})/(?P<id>[A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?"
)


@dataclass(frozen=True, slots=True)
class Indexed:
    """Index rows and the hot columns that agree with them."""

    rows: IndexRows
    patient: str | None
    code: str | None
    date_lo: str | None


def index_of(resource: Mapping[str, Any], base_url: str) -> Indexed:
    """Return what of a resource can be searched.

    resource: of one of `parameters.TYPES`. Elements of an unexpected shape give no rows.
    base_url: ours, so that an absolute reference to this server equals the relative one.
    """
    search = TYPES[resource["resourceType"]]
    tokens: list[TokenRow] = []
    strings: list[StringRow] = []
    dates: list[DateRow] = []
    references: list[ReferenceRow] = []
    for parameter in search.parameters.values():
        for value in parameter.values_in(resource):
            match parameter.kind:
                case Kind.TOKEN:
                    tokens.extend(TokenRow(parameter.name, *token) for token in _tokens(value, parameter.system))
                case Kind.STRING:
                    strings.extend(_string(parameter.name, value))
                case Kind.DATE:
                    dates.extend(_date(parameter.name, value))
                case Kind.REFERENCE:
                    references.extend(_reference(parameter, value, base_url))
    rows = IndexRows(tuple(tokens), tuple(strings), tuple(dates), tuple(references))
    about = [row.target_id for row in references if search.hot_patient and row.param == "patient"]
    codes = {(row.system, row.code) for row in tokens if row.param == search.hot_code}
    starts = [row.lo for row in dates if row.param == search.hot_date]
    return Indexed(
        rows,
        patient=next(iter(about), None),
        code=hot_code(*next(iter(codes))) if len(codes) == 1 else None,
        date_lo=min(starts, default=None),
    )


def normal_text(text: str) -> str:
    """Return text as string searches compare it: no case, no accents (R4 3.1.1.4.8), single blanks."""
    bare = "".join(mark for mark in unicodedata.normalize("NFKD", text) if not unicodedata.combining(mark))
    return " ".join(bare.casefold().split())


def target_of(reference: str, base_url: str) -> tuple[str, str]:
    """Return (type, id) of a reference to this server, ("", the whole text) of any other."""
    own = reference.removeprefix(base_url.rstrip("/") + "/")
    found = _LOCAL.fullmatch(own)
    return (found["type"], found["id"]) if found else ("", reference)


def _tokens(value: object, system: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, bool):
        yield system, "true" if value else "false"
    elif isinstance(value, str):
        yield system, value
    elif isinstance(value, dict) and isinstance(value.get("coding"), list):
        for coding in value["coding"]:
            yield from _coded(coding, "code")
    else:
        yield from _coded(value, "code")
        yield from _coded(value, "value")


def _coded(value: object, member: str) -> Iterator[tuple[str, str]]:
    # A Coding has `code`, an Identifier has `value`; no type has both.
    if isinstance(value, dict) and isinstance(value.get(member), str):
        system = value.get("system", "")
        yield system if isinstance(system, str) else "", value[member]


def _string(name: str, value: object) -> Iterator[StringRow]:
    if isinstance(value, str) and (text := normal_text(value)):
        yield StringRow(name, text)


def _date(name: str, value: object) -> Iterator[DateRow]:
    bounds = None
    if isinstance(value, str):
        bounds = range_of(value)
    elif isinstance(value, dict):
        start, end = value.get("start"), value.get("end")
        if isinstance(start, str | None) and isinstance(end, str | None):
            bounds = period_of(start, end)
    if bounds is not None:
        yield DateRow(name, *bounds)


def _reference(parameter: SearchParameter, value: object, base_url: str) -> Iterator[ReferenceRow]:
    text = value.get("reference") if isinstance(value, dict) else None
    if not isinstance(text, str) or text.startswith("#"):  # contained: nothing of its own to be found
        return
    target_type, target_id = target_of(text, base_url)
    if not parameter.targets or target_type in parameter.targets or not target_type:
        yield ReferenceRow(parameter.name, target_type, target_id)
