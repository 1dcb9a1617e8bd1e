"""Everything that a service asked for, from the client's prefetch and from its FHIR server."""

from collections.abc import Callable, Sequence
from datetime import UTC

from cds.deadline import Deadline
from cds.prefetch.demand import demand
from cds.prefetch.fetch import Fetching, FromAnotherPatient
from cds.prefetch.fill import fill
from cds.prefetch.reader import FhirReader
from cds.prefetch.scope import Scope
from cds.prefetch.sent import OfAnotherPatient, Prefetched, Source, State, check_sent, sent
from cds.prefetch.template import Policy, PrefetchTemplate
from cds.request import HookRequest
from clinical.clock import Clock, utc_now
from clinical.errors import IncorrectInput
from fhir_adapters.client import Reason

Observe = Callable[[str, str, str], None]
LATE, STRANGER = "late", "stranger"
_NO_SERVER = "no fhirServer was named"
_NEVER = "this service does not fetch it"


def ignore(_key: str, _state: str, _source: str) -> None:
    """Do nothing with a measurement."""


def resolve(template: PrefetchTemplate, request: HookRequest, *, now: Clock = utc_now) -> str | None:
    """Return the query of a template that depends on the call alone, or None when a token has no value (P3)."""
    return fill(template.parsed, _scope(request, now)).query


def gather(
    request: HookRequest,
    templates: Sequence[PrefetchTemplate],
    reader: FhirReader | None,
    deadline: Deadline,
    observe: Observe = ignore,
    *,
    now: Clock = utc_now,
) -> dict[str, Prefetched]:
    """Return what is known under every key of `templates`.

    Every resource, sent or fetched, is checked to be about context.patientId.
    observe: told (key, state, source) once for each key. state: of `State`, "late", or "stranger" for what is not
        the patient's; source: of `Source`. The key "other" stands for all that nobody asked for.
    now: the day of `today()` is the one in UTC.

    Raises IncorrectInput when what was sent is malformed or about another patient, PreconditionMissing when a
    required key cannot be had, or the FHIR server answers with another patient's data; Busy when something must
    be fetched and there is no time.
    """
    try:
        _check_grant(request)
        check_sent(request, {template.key: template.parsed for template in templates})
        known = {template.key: sent(template.key, request) for template in templates}
        known |= _obtained(request, templates, known, reader, deadline, now)
    except (OfAnotherPatient, FromAnotherPatient) as problem:
        observe(problem.key, STRANGER, Source.SENT if isinstance(problem, OfAnotherPatient) else Source.FETCHED)
        raise
    known |= {t.key: _dropped(known[t.key]) for t in templates if t.complete and known[t.key].state is State.PAGED}
    for key, found in known.items():
        observe(key, LATE if found.late else found.state, found.source)
    demand(templates, known)
    return known


def _check_grant(request: HookRequest) -> None:
    granted = request.authorization
    if granted is not None and granted.patient_id not in (None, request.patient_id):
        path = "fhirAuthorization.patient"
        raise IncorrectInput(f"{path}: expected the patient of context.patientId", expression=[path])


def _obtained(
    request: HookRequest,
    templates: Sequence[PrefetchTemplate],
    known: dict[str, Prefetched],
    reader: FhirReader | None,
    deadline: Deadline,
    now: Clock,
) -> dict[str, Prefetched]:
    """Return the keys of which more is known after asking the FHIR server, or why it was not asked."""
    wanting = [t for t in templates if known[t.key].state is State.ABSENT or known[t.key].has_more]
    found = {t.key: known[t.key].but(_NEVER) for t in wanting if t.policy is Policy.NEVER}
    wanting = [t for t in wanting if t.policy is not Policy.NEVER]
    if not wanting:
        return found
    if request.fhir_server is None:
        return found | {t.key: known[t.key].but(_NO_SERVER) for t in wanting}
    if reader is None or not reader.allows(request.fhir_server):
        return found | {t.key: known[t.key].but(Reason.NOT_ALLOWED.value) for t in wanting}
    return found | Fetching(request, reader, _scope(request, now), known | found).run(wanting, deadline)


def _dropped(part: Prefetched) -> Prefetched:
    said = f"{part.reason}, and a part is not enough"
    return Prefetched(State.ABSENT, None, said, late=part.late, source=Source.NONE)


def _scope(request: HookRequest, now: Clock) -> Scope:
    return Scope(request.context, now().astimezone(UTC).date(), request.fhir_server)
