"""One patient's record from a Bundle, searched as a small FHIR server would.

It knows what prefetch templates ask for: reads, and searches by patient, code, category, status, encounter and
date with `_sort`, `_count` and `_id`. What it does not know it refuses by name, as R4 3.1.1.4.7 allows.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from clinical.errors import IncorrectInput
from fhir_adapters.client import Fetched, FetchFailed, Grant, Reason

Resource = dict[str, Any]
Test = Callable[[Resource, str], bool]
_DATES = (
    "effectiveDateTime", "effectivePeriod", "issued", "authoredOn", "onsetDateTime", "recordedDate",
    "performedDateTime", "started", "period", "occurrenceDateTime", "date",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Record:
    """The resources of one Bundle."""

    resources: tuple[Resource, ...] = field(repr=False)

    def answer(self, query: str) -> Resource | None:
        """Return what `Type/id` or `Type?parameters` gives: a resource, a searchset Bundle, or None for a 404.

        Raises IncorrectInput naming a parameter that is not known here.
        """
        path, _, parameters = query.partition("?")
        kind, _, ident = unquote(path).partition("/")
        if ident:
            return next((r for r in self._of(kind) if r.get("id") == ident), None)
        wanted = parse_qsl(parameters, keep_blank_values=True)
        found = list(self._of(kind))
        for name, value in wanted:
            found = [one for one in found if _test(name)(one, value)]
        for order in (value for name, value in wanted if name == "_sort"):
            found.sort(key=date_of, reverse=order.startswith("-"))
        return searchset(found)

    def _of(self, kind: str) -> Iterator[Resource]:
        return (one for one in self.resources if one.get("resourceType") == kind)

    def patient_id(self) -> str:
        """Return the id of the record's one Patient. Raises IncorrectInput when there is none, or several."""
        found = [str(one.get("id")) for one in self._of("Patient")]
        if len(found) != 1:
            raise IncorrectInput("expected a Bundle with one Patient, or the patient's id beside it")
        return found[0]


def record_of(bundle: object) -> Record:
    """Return the record in a decoded Bundle. Raises IncorrectInput."""
    entries = bundle.get("entry", []) if isinstance(bundle, dict) else None
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle" or not isinstance(entries, list):
        raise IncorrectInput("expected a FHIR Bundle")
    return Record(tuple(entry["resource"] for entry in entries if isinstance(entry.get("resource"), dict)))


def searchset(resources: list[Resource], **more: object) -> Resource:
    """Return a Bundle of search results."""
    entries = [{"resource": one, "search": {"mode": "match"}} for one in resources]
    found: Resource = {"resourceType": "Bundle", "type": "searchset", "total": len(entries)}
    return found | ({"entry": entries} if entries else {}) | more


def date_of(resource: Resource) -> str:
    """Return the resource's clinical date as it stands there, or nothing: ISO text sorts as time does."""
    for name in _DATES:
        value = resource.get(name)
        if isinstance(value, dict):
            value = value.get("start")
        if isinstance(value, str):
            return value
    return ""


def _coded(resource: Resource, name: str, value: str) -> bool:
    concepts = resource.get(name, [])
    codings = [
        c for one in (concepts if isinstance(concepts, list) else [concepts]) for c in one.get("coding", [])
    ]
    pairs = {(c.get("system"), c.get("code")) for c in codings}
    for wanted in value.split(","):
        system, bar, code = wanted.rpartition("|")
        if any(code == c and (not bar or system == (s or "")) for s, c in pairs):
            return True
    return False


def _refers(resource: Resource, names: tuple[str, ...], kind: str, value: str) -> bool:
    target = value if "/" in value else f"{kind}/{value}"
    return any(resource.get(name, {}).get("reference") == target for name in names)


def _dated(resource: Resource, value: str) -> bool:
    prefix, day = (value[:2], value[2:]) if value[:2].isalpha() else ("eq", value)
    own = date_of(resource)[: len(day)]
    known = {"eq": own == day, "ge": own >= day, "gt": own > day, "le": own <= day, "lt": own < day}
    return bool(own) and known.get(prefix, False)


_TESTS: Mapping[str, Test] = {
    "_id": lambda one, value: one.get("id") in value.split(","),
    "patient": lambda one, value: _refers(one, ("patient", "subject", "for"), "Patient", value),
    "subject": lambda one, value: _refers(one, ("subject", "patient"), "Patient", value),
    "encounter": lambda one, value: _refers(one, ("encounter",), "Encounter", value),
    "code": lambda one, value: _coded(one, "code", value),
    "category": lambda one, value: _coded(one, "category", value),
    "status": lambda one, value: one.get("status") in value.split(","),
    "date": _dated,
    "_sort": lambda _one, _value: True,
    "_count": lambda _one, _value: True,
}


def _test(name: str) -> Test:
    if name not in _TESTS:
        raise IncorrectInput(f"this record cannot be searched by {name}")
    return _TESTS[name]


@dataclass(frozen=True, slots=True)
class RecordReader:
    """A `cds.prefetch.FhirReader` over a record, so that the prefetch engine fills keys from a file."""

    record: Record

    def allows(self, _base: str) -> bool:
        """True: whatever the server is called, the file answers."""
        return True

    def fetch_all(
        self, _grant: Grant, wanted: Mapping[str, str | Mapping[str, Any]], *, ends_at: float
    ) -> dict[str, Fetched | FetchFailed]:
        """See cds.prefetch.FhirReader."""
        del ends_at
        return {key: self._fetch(query) for key, query in wanted.items()}

    def _fetch(self, query: str | Mapping[str, Any]) -> Fetched | FetchFailed:
        try:
            found = self.record.answer(query) if isinstance(query, str) else dict(query)
        except IncorrectInput:
            return FetchFailed(Reason.FAILED)
        return FetchFailed(Reason.NOT_FOUND) if found is None else Fetched(found)
