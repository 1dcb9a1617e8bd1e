"""Prefetch: what a service asks for, what came, and fetching the rest (CDS Hooks 3.0, "Prefetch Template").

Five things may stand under a key: nothing, null, an empty Bundle, an OperationOutcome, a Bundle with more
pages. They mean different things and stay apart. What is absent is fetched, all keys side by side under one
deadline; what is required and cannot be had is a 412 that names the keys, never an empty card list.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic
from typing import Any, Protocol
from urllib.parse import quote

from cds.compartment import stranger
from cds.deadline import Deadline
from cds.request import HookRequest
from clinical.errors import Fault, IncorrectInput, PreconditionMissing
from fhir_adapters.client import Fetched, FetchFailed, Grant, Reason, next_link

FETCH_SHARE = 0.8  # of the time that is left; the rest is the model's
_TOKEN = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_USER_TOKENS = {
    "userPractitionerId": "Practitioner",
    "userPractitionerRoleId": "PractitionerRole",
    "userPatientId": "Patient",
    "userRelatedPersonId": "RelatedPerson",
}
_CONTEXT_TOKEN = re.compile(r"context\.([A-Za-z][A-Za-z0-9]*)")
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9\-]*")
_NOT_SENT = "it was not sent, and no fhirServer was named"


class FhirReader(Protocol):
    """What fetches: `fhir_adapters.client.FhirClient`, or a stand-in."""

    def allows(self, base: str) -> bool:
        """True when the server may be called."""
        ...

    def fetch_all(
        self, grant: Grant, wanted: Mapping[str, str | Mapping[str, Any]], *, ends_at: float
    ) -> dict[str, Fetched | FetchFailed]:
        """Return each key's result or failure."""
        ...


@dataclass(frozen=True, slots=True)
class PrefetchTemplate:
    """One thing that a service asks for.

    query: `Type/{{context.x}}` or a type-level search, as discovery announces it (D6).
    required: a call without it and without a way to get it is refused with 412.
    """

    key: str
    query: str
    required: bool = False

    def __post_init__(self) -> None:
        tokens = _TOKEN.findall(self.query)
        known = all(token in _USER_TOKENS or _CONTEXT_TOKEN.fullmatch(token) for token in tokens)
        if not _KEY.fullmatch(self.key) or not known:
            raise Fault(f"the prefetch template {self.key} has a name or a token that is not understood")


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


@dataclass(frozen=True, slots=True)
class Prefetched:
    """What came under one key. reason: why it is absent, failed or partial, free of patient data."""

    state: State
    value: Mapping[str, Any] | None = field(default=None, repr=False)
    reason: str | None = None

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


def resolve(template: PrefetchTemplate, request: HookRequest) -> str | None:
    """Return the query with its tokens replaced, or None when one of them has no value (P3).

    Values are percent-encoded: an id such as `a&patient=b` must not widen the query.
    """
    values = {token: _token_value(token, request) for token in _TOKEN.findall(template.query)}
    if None in values.values():
        return None
    return _TOKEN.sub(lambda match: quote(str(values[match.group(1)]), safe=""), template.query)


def _token_value(token: str, request: HookRequest) -> str | None:
    if token in _USER_TOKENS:
        kind, _, ident = str(request.context.get("userId", "")).partition("/")
        return ident if kind == _USER_TOKENS[token] else None
    value = request.context.get(token.removeprefix("context."))
    return value if isinstance(value, str) and value else None


def gather(
    request: HookRequest, templates: Sequence[PrefetchTemplate], reader: FhirReader | None, deadline: Deadline
) -> dict[str, Prefetched]:
    """Return what is known under every key of `templates`.

    Every resource, sent or fetched, is checked to be about context.patientId.

    Raises IncorrectInput when what was sent is malformed or about another patient, PreconditionMissing when a
    required key cannot be had, or the FHIR server answers with another patient's data.
    """
    asked = {template.key for template in templates}
    for key, value in request.prefetch.items():
        # A key that nobody asked for is the client's word, so it is not repeated.
        _check_sent(f"prefetch.{key}" if key in asked else "prefetch", value, request)
    known = {template.key: _classify_sent(template.key, request) for template in templates}
    wanting = [t for t in templates if known[t.key].state in (State.ABSENT, State.PAGED)]
    if wanting:
        known |= _obtain(request, wanting, known, reader, deadline)
    _demand([template for template in templates if template.required], known)
    return known


def _check_sent(path: str, value: object, request: HookRequest) -> None:
    if value is None:
        return
    if not _is_resource(value):
        raise IncorrectInput(f"{path}: expected a FHIR resource or null", expression=[path])
    whose = stranger(value, request.patient_id, request.fhir_server, path)  # type: ignore[arg-type]
    if whose is not None:
        raise IncorrectInput("the prefetch holds data that is not of context.patientId", expression=[whose])


def _is_resource(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("resourceType"), str):
        return False
    entries = value.get("entry", []) if value["resourceType"] == "Bundle" else []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return False
    # Bundles within Bundles are legal FHIR and mean nothing here.
    inner = [entry["resource"] for entry in entries if "resource" in entry]
    return all(
        isinstance(resource, dict)
        and isinstance(resource.get("resourceType"), str)
        and resource["resourceType"] != "Bundle"
        for resource in inner
    )


def _classify_sent(key: str, request: HookRequest) -> Prefetched:
    if key not in request.prefetch:
        return Prefetched(State.ABSENT, reason=_NOT_SENT)
    value = request.prefetch[key]
    return Prefetched(State.NULL) if value is None else _classify(value, complete=True)


def _classify(value: Any, *, complete: bool) -> Prefetched:  # noqa: ANN401 - checked by _is_resource
    if value["resourceType"] == "OperationOutcome":
        return Prefetched(State.FAILED, value, "the client's own query for it failed")
    if value["resourceType"] != "Bundle":
        return Prefetched(State.COMPLETE, value)
    if not complete or next_link(value) is not None:
        return Prefetched(State.PAGED, value, "only a part of it was sent")
    found = Prefetched(State.COMPLETE, value)
    return found if any(True for _ in found.resources()) else Prefetched(State.EMPTY, value)


def _obtain(
    request: HookRequest,
    wanting: Sequence[PrefetchTemplate],
    known: Mapping[str, Prefetched],
    reader: FhirReader | None,
    deadline: Deadline,
) -> dict[str, Prefetched]:
    """Return the keys that are better known after asking the FHIR server."""
    server = request.fhir_server
    if server is None:
        return {}
    if reader is None or not reader.allows(server):
        return {t.key: _worse(known[t.key], Reason.NOT_ALLOWED.value) for t in wanting}
    wanted: dict[str, str | Mapping[str, Any]] = {}
    for template in wanting:
        query = known[template.key].value or resolve(template, request)
        if query is not None:
            wanted[template.key] = query
    grant = Grant(server, request.authorization.access_token if request.authorization else None)
    ends_at = monotonic() + FETCH_SHARE * deadline.left_s()
    answers = reader.fetch_all(grant, wanted, ends_at=ends_at)
    return {key: _obtained(key, answer, known[key], request) for key, answer in answers.items()}


def _obtained(key: str, answer: Fetched | FetchFailed, before: Prefetched, request: HookRequest) -> Prefetched:
    if isinstance(answer, FetchFailed):
        return _worse(before, answer.reason.value)
    if not _is_resource(answer.resource):
        return _worse(before, Reason.UNREADABLE.value)
    if stranger(answer.resource, request.patient_id, request.fhir_server, key) is not None:
        raise PreconditionMissing(
            "the FHIR server answered with data that is not of context.patientId", expression=[f"prefetch.{key}"]
        )
    return _classify(answer.resource, complete=answer.complete)


def _worse(before: Prefetched, reason: str) -> Prefetched:
    said = f"it was not sent, and {reason}" if before.state is State.ABSENT else f"{before.reason}, and {reason}"
    return Prefetched(before.state, before.value, said)


def _demand(required: Sequence[PrefetchTemplate], known: Mapping[str, Prefetched]) -> None:
    lacking = [t for t in required if known[t.key].state in (State.ABSENT, State.FAILED)]
    if not lacking:
        return
    names = ", ".join(template.key for template in lacking)
    raise PreconditionMissing(
        f"required prefetch data is missing: {names}",
        expression=[f"prefetch.{template.key}" for template in lacking],
        diagnostics="; ".join(f"{t.key} ({t.query}): {known[t.key].reason}" for t in lacking),
    )
