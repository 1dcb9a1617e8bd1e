"""What stands under a prefetch key: checked, and told apart into states (C5, C6)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeGuard, cast

from cds.compartment import stranger
from cds.prefetch.query import Query
from cds.request import HookRequest
from clinical.errors import IncorrectInput
from fhir_adapters.client import next_link


class State(StrEnum):
    """What is known under a key.

    ABSENT: not sent and not obtained. NULL: the client says there is none. EMPTY: looked for, none found.
    FAILED: the client's own query failed (OperationOutcome), so it is not asked again. PAGED: a part only.
    """

    ABSENT = "absent"
    NULL = "null"
    EMPTY = "empty"
    FAILED = "failed"
    PAGED = "paged"
    COMPLETE = "complete"


class Source(StrEnum):
    """From whom it is: the client's prefetch (a hit), its FHIR server (a miss), or nobody."""

    SENT = "sent"
    FETCHED = "fetched"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Prefetched:
    """What came under one key.

    reason: why it is absent, failed or partial, free of patient data. late: left out because of the time.
    """

    state: State
    value: Mapping[str, Any] | None = field(default=None, repr=False)
    reason: str | None = None
    late: bool = False
    source: Source = Source.SENT

    @property
    def has_more(self) -> bool:
        """True when a further page can be asked for."""
        return self.state is State.PAGED and self.value is not None and next_link(self.value) is not None

    def but(self, problem: str, *, late: bool = False) -> "Prefetched":
        """Return the same with one more reason why there is no more of it."""
        return replace(self, reason=f"{self.reason}, and {problem}", late=late)

    def resources(self) -> Iterator[Mapping[str, Any]]:
        """Yield the resources; those of a Bundle without the server's own remarks (search.mode outcome)."""
        if self.value is None or self.state is State.FAILED:
            return
        if self.value.get("resourceType") != "Bundle":
            yield self.value
            return
        for entry in self.value.get("entry", []):
            resource = entry.get("resource")
            if resource is not None and resource.get("resourceType") != "OperationOutcome":
                yield resource


NOT_SENT = Prefetched(State.ABSENT, reason="it was not sent", source=Source.NONE)
_NO_RESOURCE = {"resourceType": "none"}  # an entry may stand without one
_REMARK = "OperationOutcome"
_CLIENT_FAILED = "the client's own query for it failed"
_PART = "only a part of it was sent"


class OfAnotherPatient(IncorrectInput):
    """What was sent holds data of somebody else. key: where, "other" for one that nobody asked for."""

    def __init__(self, path: str, key: str) -> None:
        super().__init__("the prefetch holds data that is not of context.patientId", expression=[path])
        self.key = key


def check_sent(request: HookRequest, asked: Mapping[str, Query]) -> None:
    """Look at everything that was sent, also under keys that are not `asked` for (key -> what is asked).

    Raises IncorrectInput for what is no resource or answers another question, OfAnotherPatient for what is not the
    patient's.
    """
    for key, value in request.prefetch.items():
        # A key that nobody asked for is the client's word, so it is not repeated.
        path, name = (f"prefetch.{key}", key) if key in asked else ("prefetch", "other")
        if value is None:
            continue
        if not is_prefetch(value):
            raise IncorrectInput(f"{path}: expected a FHIR resource or null", expression=[path])
        whose = stranger(value, request.patient_id, request.fhir_server, path)
        if whose is not None:
            raise OfAnotherPatient(whose, name)
        if key in asked and not answers(asked[key], value):
            said = f"{path}: expected {asked[key].kind}, or a Bundle with it where that is a search"
            raise IncorrectInput(said, expression=[path])


def is_prefetch(value: object) -> TypeGuard[Mapping[str, Any]]:
    """True for a resource, and for a Bundle of resources. Bundles within Bundles are legal and mean nothing."""
    if not isinstance(value, dict) or not isinstance(value.get("resourceType"), str):
        return False
    entries = value.get("entry", []) if value["resourceType"] == "Bundle" else []
    if not isinstance(entries, list):
        return False
    for entry in entries:  # written out: the longest loop over a record of hundreds of entries
        if not isinstance(entry, dict):
            return False
        inner = entry.get("resource", _NO_RESOURCE)
        kind = inner.get("resourceType") if isinstance(inner, dict) else None
        if not isinstance(kind, str) or kind == "Bundle":
            return False
    return True


def answers(query: Query, value: Mapping[str, Any]) -> bool:
    """True when a resource or Bundle is of a kind that may answer a query.

    What is of another type would count as "looked for, and there is none": a mistake must not read like that.
    """
    kinds = (query.kind, _REMARK)
    if query.kind is None or value["resourceType"] in kinds:
        return True
    if query.read or value["resourceType"] != "Bundle":
        return False
    # What the search includes (_include) stands beside what it looks for.
    found = [entry["resource"]["resourceType"] for entry in value.get("entry", []) if "resource" in entry]
    return not found or any(kind in kinds for kind in found)


def sent(key: str, request: HookRequest) -> Prefetched:
    """Return the state of a key as it was sent. The value was checked by `check_sent`."""
    if key not in request.prefetch:
        return NOT_SENT
    value = request.prefetch[key]
    return Prefetched(State.NULL) if value is None else classify(cast("Mapping[str, Any]", value))


def classify(value: Mapping[str, Any], *, complete: bool = True, source: Source = Source.SENT) -> Prefetched:
    """Return the state of a resource or Bundle. complete: False when pages are known to be missing."""
    if value["resourceType"] == "OperationOutcome":
        return Prefetched(State.FAILED, value, _CLIENT_FAILED, source=source)
    if value["resourceType"] != "Bundle":
        return Prefetched(State.COMPLETE, value, source=source)
    whole = Prefetched(State.COMPLETE, value, source=source)
    has_any = next(whole.resources(), None) is not None
    if _reports_failure(value):
        # "None found" and "could not look" must not be taken for each other.
        return Prefetched(
            State.PAGED if has_any else State.FAILED, value, "its search reports an error", source=source
        )
    if not complete or next_link(value) is not None:
        return Prefetched(State.PAGED, value, _PART, source=source)
    return whole if has_any else Prefetched(State.EMPTY, value, source=source)


def _reports_failure(bundle: Mapping[str, Any]) -> bool:
    inner = [entry["resource"] for entry in bundle.get("entry", []) if "resource" in entry]
    outcomes = [resource for resource in inner if resource["resourceType"] == "OperationOutcome"]
    issues = [
        issue for outcome in outcomes if isinstance(outcome.get("issue"), list) for issue in outcome["issue"]
    ]
    return any(isinstance(issue, dict) and issue.get("severity") in {"error", "fatal"} for issue in issues)
