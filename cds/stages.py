"""The stages of a hook call that a site fills in. Each default does nothing: a call then goes straight through.

`cds.pipeline` says in which order they stand. Whoever builds one takes its database, clock and settings in its
constructor; `consilium/web_parts.py` builds them all.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from cds.call import HookCall
from cds.caller import ANONYMOUS, Caller, Capabilities
from cds.deadline import Deadline
from cds.guidance import Guidance
from cds.prefetch.reader import FhirReader
from record_store.database import Database
from record_store.ledger import Row


class Doorkeeper(Protocol):
    """Who may call."""

    def admit(self, headers: Mapping[str, str], url: str, peer: str = "") -> Caller:
        """Return who calls.

        headers: names in Title-Case, as WSGI gives them. url: the public URL called, from configuration. peer: the
        address of the other end of the connection.

        Raises Denied(unauthenticated=True), which is answered with a bare 401, or Busy.
        """
        ...

    def warm(self) -> None:
        """Fetch what checking needs, so that the first caller does not wait for it."""
        ...


class EverybodyIn:
    """Asks nobody for anything (development, or a gate in front)."""

    def admit(self, headers: Mapping[str, str], url: str, peer: str = "") -> Caller:
        """Return the anonymous caller."""
        del headers, url, peer
        return ANONYMOUS

    def warm(self) -> None:
        """Fetch nothing."""


class CrossOrigin(Protocol):
    """Which pages of other origins may call from a browser (J8)."""

    def answer(self, request: Mapping[str, str]) -> Mapping[str, str]:
        """Return what to add to the headers of any answer. request: its headers, names in Title-Case."""
        ...

    def preflight(self, request: Mapping[str, str]) -> Mapping[str, str] | None:
        """Return the headers of a 204 to a preflight; None: it is answered as any OPTIONS, with 405."""
        ...


class NoOrigin:
    """No page of another origin."""

    def answer(self, request: Mapping[str, str]) -> Mapping[str, str]:
        """Add nothing."""
        del request
        return {}

    def preflight(self, request: Mapping[str, str]) -> Mapping[str, str] | None:
        """Answer none."""
        del request
        return None


class Circuits(Protocol):
    """Which services are not worth asking just now."""

    def check(self, name: str) -> None:
        """Raise Busy (503 with Retry-After) while the service's circuit is open, before anything is fetched."""
        ...

    def guard(self, name: str, deadline: Deadline) -> AbstractContextManager[None]:
        """Hold for the block in which the service answers, and learn how it ended. Raises Busy as `check`."""
        ...


class AlwaysClosed:
    """Every service is asked every time."""

    def check(self, name: str) -> None:
        """Let it through."""

    def guard(self, name: str, deadline: Deadline) -> AbstractContextManager[None]:
        """Learn nothing."""
        del name, deadline
        return nullcontext()


class Bulkhead(Protocol):
    """Places for calls under way, so that one slow caller never takes the last from the others."""

    def enter(self, caller: str) -> AbstractContextManager[None]:
        """Hold a place for the block, from before the body is read. Raises Busy when there is none."""
        ...


class NoBulkhead:
    """As many places as there are threads."""

    def enter(self, caller: str) -> AbstractContextManager[None]:
        """Hold nothing."""
        del caller
        return nullcontext()


class Results(Protocol):
    """Answers that need not be worked out again."""

    def recall(self, call: HookCall, model: str | None, make: Callable[[], Guidance]) -> Guidance:
        """Return the kept answer to the same question, or what `make` gives; its errors are never kept.

        model: `Service.reuse_model`; None makes it anew every time.
        """
        ...


class NothingKept:
    """Every call is worked out."""

    def recall(self, call: HookCall, model: str | None, make: Callable[[], Guidance]) -> Guidance:
        """Return what `make` gives."""
        del call, model
        return make()


class Hygiene(Protocol):
    """Which cards have been said often enough."""

    def sift(self, call: HookCall, guidance: Guidance) -> Guidance:
        """Return the guidance without what is suppressed; each suppression is in the audit (its own write)."""
        ...


class EverythingSaid:
    """No card is held back."""

    def sift(self, call: HookCall, guidance: Guidance) -> Guidance:
        """Return the guidance as it is."""
        del call
        return guidance


class Shadow(Protocol):
    """Services that run, are recorded and say nothing yet."""

    def covers(self, service_id: str) -> bool:
        """True when this service's cards are not to be sent."""
        ...

    def record(self, call: HookCall, result: Guidance | Exception) -> None:
        """Keep what would have been said, or that it failed (its kind: an unforeseen text may hold anything)."""
        ...


class NoShadow:
    """Every service is on stage."""

    def covers(self, service_id: str) -> bool:
        """No."""
        del service_id
        return False

    def record(self, call: HookCall, result: Guidance | Exception) -> None:
        """Never called."""


class SentCards(Protocol):
    """The memory of cards that are really sent: only they can take feedback."""

    def rows(self, db: Database, call: HookCall, guidance: Guidance) -> Sequence[Row]:
        """Return the rows to write in one transaction with the audit row of the call. db: to read in."""
        ...


class ResultRows(Protocol):
    """Where results go that cards tell."""

    def rows(self, call: HookCall, guidance: Guidance) -> Iterable[Row]:
        """Return the rows to write in one transaction with the cards."""
        ...


class FeedbackDesk(Protocol):
    """Where feedback goes."""

    def take(self, service_id: str, caller: Caller, body: Mapping[str, object]) -> None:
        """Store a feedback body, all of it or nothing. Raises IncorrectInput with the JSON path."""
        ...


@dataclass(frozen=True, slots=True)
class CallRecord:
    """How one call went, without a word about the patient.

    outcome: "cards", "no-cards", "shadow" or an error's category. hook, hook_instance: None when the body was not
    understood that far.
    """

    service_id: str
    hook: str | None
    hook_instance: str | None
    caller: str
    outcome: str
    cards: int
    took_ms: float


class CallAudit(Protocol):
    """Who asked what, and how it ended."""

    def row(self, call: CallRecord) -> Row:
        """Return the row of one call."""
        ...


ReaderOf = Callable[[Caller], FhirReader | None]
Answer = Callable[[Callable[[], Mapping[str, object]], ReaderOf], dict[str, object]]


class CallTape(Protocol):
    """Where a site keeps de-identified calls, to look at an incident offline."""

    def record(
        self, service_id: str, read: Callable[[], Mapping[str, object]], reader_of: ReaderOf, answer: Answer
    ) -> dict[str, object]:
        """Return what `answer` gives, or raise what it raises, having kept the call."""
        ...


Budget = Callable[[str, str], float]
"""Hook name, service id -> seconds that a call may take, fetches and model together."""

Adapt = Callable[[Guidance, Capabilities], Guidance]
"""What a client understands of the guidance."""

ObservePrefetch = Callable[[str, str, str, str, str], None]
"""Told (issuer's name, service id, key, state, source) of each prefetch key of each call."""


def as_it_is(guidance: Guidance, capabilities: Capabilities) -> Guidance:
    """Adapt to nobody."""
    del capabilities
    return guidance


def observe_no_prefetch(_issuer: str, _service: str, _key: str, _state: str, _source: str) -> None:
    """Do nothing with a measurement."""
