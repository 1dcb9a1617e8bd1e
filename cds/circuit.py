"""Circuits before what a hook call depends on: one for each service, and one for each EHR that is fetched from.

A service that failed several times in a row is not asked for a while: its callers get 503 with Retry-After at once
instead of waiting for the same failure, and one call in each pause finds out whether it is back. An EHR that does
not answer is not asked either: what it would have given counts as not obtainable, and the reason says so.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from cds.deadline import Deadline
from cds.prefetch import FhirReader
from clinical.errors import Busy, ClinicalError, Fault
from fhir_adapters.client import Fetched, FetchFailed, Grant, Reason
from model_runtime.circuit import Circuit, Entry, Verdict

FAILURES = 5
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 60.0
MOST_CIRCUITS = 256
OPENED, CLOSED, REFUSED, TRIED = "opened", "closed", "refused", "tried"
# The EHR spoke, whatever it said; beside these an answer that is an error says nothing of its being there.
_SPOKE = frozenset({Reason.UNAUTHORIZED, Reason.FORBIDDEN, Reason.NOT_FOUND})
_SILENT = frozenset({Reason.TIMEOUT, Reason.UNREACHABLE})


def observe_nothing(_kind: str, _name: str, _event: str) -> None:
    """Do nothing with an event."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """When a circuit opens and how long it stays so."""

    failures: int = FAILURES
    first_s: float = FIRST_PAUSE_S
    longest_s: float = LONGEST_PAUSE_S


@dataclass
class Circuits:
    """Circuits by name, in this process. kind: "service" or "ehr", for metrics.

    now: seconds that only go forward. observe: told (kind, name, event): opened, closed, refused or tried.
    at_most: of them are kept; the ones that are closed and were not used for longest are forgotten first.
    """

    kind: str
    pauses: Pauses = field(default_factory=Pauses)
    now: Callable[[], float] = time.monotonic
    observe: Callable[[str, str, str], None] = observe_nothing
    at_most: int = MOST_CIRCUITS
    _known: OrderedDict[str, Circuit] = field(default_factory=OrderedDict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __len__(self) -> int:
        return len(self._known)

    def is_open(self, name: str) -> bool:
        """True while calls are refused, apart from one try in each pause."""
        circuit = self._known.get(name)
        return circuit is not None and circuit.is_open

    def check(self, name: str) -> None:
        """Raise Busy while the circuit is open and no try is due: before anything is done for a call."""
        circuit = self._known.get(name)
        if circuit is not None and not circuit.may_enter:
            self.observe(self.kind, name, REFUSED)
            raise _refusal(circuit)

    def enter(self, name: str) -> Entry | None:
        """Return the permission for one call, or None while the circuit is open."""
        entry = self._circuit(name).enter()
        if entry is None or entry.is_try:
            self.observe(self.kind, name, REFUSED if entry is None else TRIED)
        return entry

    def settle(self, name: str, entry: Entry, verdict: Verdict) -> None:
        """Take in how a call ended."""
        circuit = self._circuit(name)
        if circuit.settle(entry, verdict):
            self.observe(self.kind, name, OPENED if circuit.is_open else CLOSED)

    @contextmanager
    def guard(self, name: str, deadline: Deadline) -> Iterator[None]:
        """Hold for the block in which a service answers.

        Raises Busy (503, Retry-After) while the circuit is open, and what the block raises. A Fault, an error
        that nobody foresaw and a Busy count as failures; a Busy not when the service was asked with less than
        half of the time left, for then somebody else was slow. What is the caller's mistake says nothing.
        """
        entry = self.enter(name)
        if entry is None:
            raise _refusal(self._circuit(name))
        was_fair, verdict = deadline.is_fair, Verdict.NONE
        try:
            yield
            verdict = Verdict.GOOD
        except Busy:
            verdict = Verdict.BAD if was_fair else Verdict.NONE
            raise
        except Exception as error:
            ours = isinstance(error, Fault) or not isinstance(error, ClinicalError)
            verdict = Verdict.BAD if ours else Verdict.NONE
            raise
        finally:
            self.settle(name, entry, verdict)

    def _circuit(self, name: str) -> Circuit:
        with self._lock:
            circuit = self._known.get(name)
            if circuit is None:
                if len(self._known) >= self.at_most:
                    self._forget_one()
                pauses = self.pauses
                circuit = Circuit(self.now, pauses.first_s, pauses.longest_s, pauses.failures)
                self._known[name] = circuit
            self._known.move_to_end(name)
            return circuit

    def _forget_one(self) -> None:
        closed = next((name for name, circuit in self._known.items() if not circuit.is_open), None)
        del self._known[closed if closed is not None else next(iter(self._known))]


def _refusal(circuit: Circuit) -> Busy:
    text = "this service has failed several times in a row and is not asked for now"
    return Busy(text, retry_after_s=math.ceil(circuit.left_s))


@dataclass(frozen=True, slots=True)
class GuardedReader:
    """A FhirReader that leaves an EHR alone which has not answered several times in a row."""

    reader: FhirReader
    circuits: Circuits

    def allows(self, base: str) -> bool:
        """See cds.prefetch.FhirReader."""
        return self.reader.allows(base)

    def fetch_all(
        self, grant: Grant, wanted: Mapping[str, str | Mapping[str, Any]], *, ends_at: float
    ) -> dict[str, Fetched | FetchFailed]:
        """See cds.prefetch.FhirReader. While the circuit is open every key fails at once, with that reason."""
        if not wanted:
            return {}
        name = urlsplit(grant.base).netloc.rpartition("@")[2].lower()
        entry = self.circuits.enter(name)
        if entry is None:
            return {key: FetchFailed(Reason.AWAY) for key in wanted}
        verdict = Verdict.NONE
        try:
            answers = self.reader.fetch_all(grant, wanted, ends_at=ends_at)
            verdict = _verdict(answers)
        finally:
            self.circuits.settle(name, entry, verdict)
        return answers


def _verdict(answers: Mapping[str, Fetched | FetchFailed]) -> Verdict:
    reasons = {answer.reason for answer in answers.values() if isinstance(answer, FetchFailed)}
    if any(not isinstance(answer, FetchFailed) for answer in answers.values()) or reasons & _SPOKE:
        return Verdict.GOOD
    return Verdict.BAD if reasons & _SILENT else Verdict.NONE
