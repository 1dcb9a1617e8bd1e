"""One hook call from body to answer, in the one order in which its stages stand. Knows no Flask.

route and door (`cds.http`) -> parse -> (id, hook) -> deadline -> circuit -> prefetch -> kept result or service
-> hygiene -> shadow -> adapt -> record what is sent -> answer. A card that cannot be recorded is not sent (503).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import structlog
from werkzeug.exceptions import HTTPException

from cds.call import HookCall
from cds.caller import Caller
from cds.deadline import Deadline
from cds.guidance import Guidance, guidance_of
from cds.prefetch import gather
from cds.request import HookRequest, parse_request
from cds.service import CdsContext, Service
from cds.stages import CallRecord
from clinical.errors import Busy, Category, ClinicalError, Fault

AUDIT_WAIT_S = 0.25  # longer than that no answer waits for the row that says how it ended

log = structlog.get_logger()


@dataclass(slots=True)
class Course:
    """What is known of a call so far, for its log line, audit row and metrics however it ends."""

    service_id: str
    caller: Caller
    started: float
    request: HookRequest | None = None
    said: str = Category.FAULT.value
    cards: int = 0

    def fail(self, category: Category) -> None:
        """End without an answer, whatever was to be sent."""
        self.said, self.cards = category.value, 0

    def log(self) -> None:
        """Say that the call was answered."""
        log.info(
            "hook answered",
            service=self.service_id,
            hook_instance=self.request.hook_instance if self.request else None,
            cards=self.cards,
            took_ms=round(self.took_s() * 1000, 2),
        )

    def took_s(self) -> float:
        """Return the seconds since the call began."""
        return time.monotonic() - self.started

    def record(self) -> CallRecord:
        """Return the call as the audit keeps it."""
        asked = self.request
        return CallRecord(
            service_id=self.service_id,
            hook=asked.hook.name if asked else None,
            hook_instance=asked.hook_instance if asked else None,
            caller=self.caller.name,
            outcome=self.said,
            cards=self.cards,
            took_ms=round(self.took_s() * 1000, 2),
        )


def answer_call(
    course: Course, hooks: Mapping[str, Service], read: Callable[[], Mapping[str, object]], context: CdsContext
) -> dict[str, object]:
    """Return the JSON object that answers one call. hooks: the services with this id. read: gives the body.

    Raises a ClinicalError, or what `read` raises; the call is logged, audited and measured all the same.
    """
    try:
        return _guide(course, hooks, read, context)
    except ClinicalError as error:
        course.fail(error.category)
        log.warning("hook refused", service=course.service_id, category=course.said, expression=error.expression)
        _audit(course, context)
        raise
    except Exception as error:
        # What the HTTP layer refuses (413, 415) is the caller's mistake like any other.
        refused = isinstance(error, HTTPException) and (error.code or 500) < 500
        course.fail(Category.INCORRECT if refused else Category.FAULT)
        _audit(course, context)
        raise
    finally:
        context.observe(course.service_id, course.said, course.took_s())


def _guide(
    course: Course, hooks: Mapping[str, Service], read: Callable[[], Mapping[str, object]], context: CdsContext
) -> dict[str, object]:
    course.request = parse_request(read(), {name: service.hook for name, service in hooks.items()})
    service = hooks[course.request.hook.name]
    budget_s = context.budget_of(course.request.hook.name, service.id)
    call = HookCall(course.request, {}, Deadline(course.started + budget_s, budget_s), course.caller, service.id)
    if context.shadow.covers(service.id):
        _in_the_shadow(call, service, context)
        course.said = "shadow"
        _audit(course, context)
        course.log()
        return Guidance().to_json()
    call, guidance = _worked_out(call, service, context)
    guidance = context.hygiene.sift(call, guidance)
    guidance = context.adapt(guidance, course.caller.capabilities)
    course.cards = len(guidance.cards)
    course.said = "cards" if guidance.cards else "no-cards"
    body = guidance.to_json()  # before anything is written: what cannot be said is not recorded as said
    _keep(course, context, call, guidance)
    course.log()
    return body


def _worked_out(call: HookCall, service: Service, context: CdsContext) -> tuple[HookCall, Guidance]:
    context.circuits.check(service.id)
    observe = partial(context.observe_prefetch, call.caller.name, service.id)
    reader = context.reader_of(call.caller)
    prefetch = gather(call.request, service.prefetch, reader, call.deadline, observe, now=context.now)
    whole = replace(call, prefetch=prefetch)

    def make() -> Guidance:
        with context.circuits.guard(service.id, call.deadline):
            return guidance_of(service.answer(whole, context))

    guidance = context.results.recall(whole, service.reuse_model, make)
    request = call.request
    guidance.demand_of(request.patient_id, request.fhir_server, request.typed.drafts())
    return whole, guidance


def _in_the_shadow(call: HookCall, service: Service, context: CdsContext) -> None:
    """Run a service that says nothing yet. Its failures are recorded, and never reach the clinic."""
    result: Guidance | Exception
    try:
        call, result = _worked_out(call, service, context)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is recorded and nobody is disturbed
        result = error
    try:
        context.shadow.record(call, result)
    except Exception as error:  # noqa: BLE001 - nor does it disturb anybody that it cannot be recorded
        log.warning("shadow not recorded", service=service.id, kind=type(error).__name__)


def _keep(course: Course, context: CdsContext, call: HookCall, guidance: Guidance) -> None:
    """Write the audit row and the sent cards, in one transaction, before anything is sent.

    Raises Busy when it is too late: the card would be shown over whatever the clinician has turned to meanwhile.
    Then nothing is written: a card that nobody saw must not hold back the next one. Busy too when a card cannot be
    recorded, for then it could not take feedback.
    """
    rows = [] if context.audit is None else [context.audit.row(course.record())]
    try:
        if context.sent is not None and guidance.cards:
            rows.extend(context.sent.rows(context.db, call, guidance))
        if context.result_rows is not None:
            rows.extend(context.result_rows.rows(call, guidance))
        context.ledger.write(rows, check=call.deadline.demand, within_s=call.deadline.left_s())
    except Fault as error:
        raise Busy("what would be sent cannot be recorded") from error


def _audit(course: Course, context: CdsContext) -> None:
    """Write the audit row of a call that sends no cards: it has failed, or runs in the shadow."""
    if context.audit is None:
        return
    try:
        context.ledger.write([context.audit.row(course.record())], within_s=AUDIT_WAIT_S)
    except ClinicalError as error:
        # A failed call is answered with its own error, and a shadowed one disturbs nobody.
        log.warning("call not audited", service=course.service_id, category=error.category.value)
