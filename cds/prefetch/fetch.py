"""Asking the client's FHIR server for what was not sent: in rounds, each side by side, under one deadline.

A template is asked in the first round in which everything that it depends on is settled, after the references that
its query must follow. Equal queries are asked once. What the time does not reach is late: left out, and said so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic

from cds.compartment import stranger
from cds.deadline import Deadline
from cds.prefetch.fill import NO_VALUE, fill
from cds.prefetch.lookups import Lookups
from cds.prefetch.query import canonical
from cds.prefetch.reader import Answer, FhirReader, Order
from cds.prefetch.scope import Scope
from cds.prefetch.sent import NOT_SENT, Prefetched, Source, State, answers, classify, is_prefetch
from cds.prefetch.template import PrefetchTemplate
from cds.request import HookRequest
from clinical.errors import Fault, PreconditionMissing
from fhir_adapters.client import FetchFailed, Grant, Reason

FETCH_SHARE = 0.8  # of the time that is left; the rest is the model's
NO_TIME = "there was no time left to ask for it"
_TOO_FAR = "its query follows too many references"
_LOOKUP = "?"  # begins the name of an order that follows references; no key begins so


class FromAnotherPatient(PreconditionMissing):
    """The FHIR server answered with data of somebody else."""

    def __init__(self, key: str) -> None:
        said = "the FHIR server answered with data that is not of context.patientId"
        super().__init__(said, expression=[f"prefetch.{key}"])
        self.key = key


@dataclass
class Fetching:
    """The fetches of one call. known: every key as it was sent; replaced key by key as answers come."""

    request: HookRequest
    reader: FhirReader
    scope: Scope
    known: dict[str, Prefetched]
    _waiting: dict[str, PrefetchTemplate] = field(default_factory=dict)
    _serves: dict[str, list[PrefetchTemplate]] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)  # of orders, by the canonical form of the query
    _answers: dict[str, Answer] = field(default_factory=dict)
    _lookups: Lookups = field(default_factory=Lookups)
    _vacuous: set[str] = field(default_factory=set)  # absent, because there is nothing to ask for

    def run(self, wanting: Sequence[PrefetchTemplate], deadline: Deadline) -> dict[str, Prefetched]:
        """Return what the keys of `wanting` have come to.

        Raises FromAnotherPatient; Busy when there is no time at all.
        """
        ends_at = monotonic() + FETCH_SHARE * deadline.left_s()
        granted = self.request.authorization
        grant = Grant(str(self.request.fhir_server), granted.access_token if granted else None)
        self._waiting = {template.key: template for template in wanting}
        while self._waiting:
            orders = self._orders()
            if orders and monotonic() >= ends_at:
                self.known |= {key: self.known[key].but(NO_TIME, late=True) for key in self._waiting}
                break
            if orders:
                self._take(self.reader.fetch_all(grant, orders, ends_at=ends_at))
        return {template.key: self.known[template.key] for template in wanting}

    def _orders(self) -> dict[str, Order]:
        """Return what to ask now, by name. What needs no asking, or cannot be asked, is settled."""
        ready = [t for t in self._waiting.values() if not t.parsed.keys & self._waiting.keys()]
        if not ready:
            raise Fault("prefetch templates depend on themselves: " + ", ".join(self._waiting))
        at_hand = {key: p.value for key, p in self.known.items() if p.value}
        scope = replace(self.scope, known=at_hand, looked_up=self._lookups.found)
        orders: dict[str, Order] = {}
        self._serves = {}
        for template in ready:
            known = self.known[template.key]
            order = known.value if known.has_more else self._query(template, scope)
            if order is not None:
                self._add(orders, template, order)
        orders |= {_LOOKUP + kind: query for kind, query in self._lookups.orders()}
        return orders

    def _add(self, orders: dict[str, Order], template: PrefetchTemplate, order: Order) -> None:
        form = canonical(order) if isinstance(order, str) else template.key
        name = self._names.setdefault(form, template.key)
        if name in self._answers:
            self._settle(template, self._obtained(template, self._answers[name]))
            return
        orders.setdefault(name, order)
        self._serves.setdefault(name, []).append(template)

    def _query(self, template: PrefetchTemplate, scope: Scope) -> str | None:
        """Return the query of a template; None when it is settled without, or waits for references."""
        before = self.known[template.key]
        if lacking := self._lacking(template):
            said = f"it depends on {lacking}, which is not known"
            self._settle(template, before.but(said, late=self.known.get(lacking, NOT_SENT).late))
            return None
        filled = fill(template.parsed, scope)
        if filled.query is not None:
            return filled.query
        if filled.wanted:
            self._look_up(template, filled.wanted)
            return None
        part = self._part(template)
        if filled.reason == NO_VALUE and part is None:
            self._vacuous.add(template.key)
        self._settle(template, before.but(part or str(filled.reason)))
        return None

    def _lacking(self, template: PrefetchTemplate) -> str | None:
        """Return a key without which the query cannot be made. One that had nothing to ask for lacks nothing."""
        states = {key: self.known.get(key, NOT_SENT).state for key in sorted(template.parsed.keys - self._vacuous)}
        return next((key for key, state in states.items() if state in (State.ABSENT, State.FAILED)), None)

    def _look_up(self, template: PrefetchTemplate, targets: frozenset[tuple[str, str]]) -> None:
        before = self.known[template.key]
        if reason := self._lookups.lost(targets):
            said = f"a reference of its query could not be followed: {reason.value}"
            self._settle(template, before.but(said, late=reason is Reason.TIMEOUT))
        elif not self._lookups.ask(template.key, targets):
            self._settle(template, before.but(_TOO_FAR))

    def _take(self, brought: Mapping[str, Answer]) -> None:
        for name, answer in brought.items():
            if not name.startswith(_LOOKUP):
                self._answers[name] = answer
                for template in self._serves[name]:
                    self._settle(template, self._obtained(template, answer))
                continue
            kind = name.removeprefix(_LOOKUP)
            for_key = next(key for target, key in self._lookups.asking.items() if target[0] == kind)
            good = isinstance(answer, FetchFailed) or self._is_readable(for_key, answer.resource)
            self._lookups.take(kind, answer if good else FetchFailed(Reason.UNREADABLE))

    def _obtained(self, template: PrefetchTemplate, answer: Answer) -> Prefetched:
        before = self.known[template.key]
        if isinstance(answer, FetchFailed):
            return before.but(answer.reason.value, late=answer.reason is Reason.TIMEOUT)
        readable = self._is_readable(template.key, answer.resource)
        if not readable or not answers(template.parsed, answer.resource):
            return before.but(Reason.UNREADABLE.value)
        found = classify(answer.resource, complete=answer.complete, source=Source.FETCHED)
        if found.state is State.FAILED:
            return before.but(Reason.FAILED.value)
        part = self._part(template)
        if part and found.state in (State.COMPLETE, State.EMPTY):
            return replace(found, state=State.PAGED, reason=part)
        return found

    def _is_readable(self, key: str, resource: object) -> bool:
        """True for a resource. Raises FromAnotherPatient."""
        if not is_prefetch(resource):
            return False
        if stranger(resource, self.request.patient_id, self.request.fhir_server, key) is not None:
            raise FromAnotherPatient(key)
        return True

    def _part(self, template: PrefetchTemplate) -> str | None:
        """Say when a query was made from a part of what it depends on, and so brings a part at most."""
        keys = (key for key in sorted(template.parsed.keys) if self.known[key].state is State.PAGED)
        return next((f"it depends on {key}, of which only a part is known" for key in keys), None)

    def _settle(self, template: PrefetchTemplate, found: Prefetched) -> None:
        self.known[template.key] = found
        del self._waiting[template.key]
