"""Circuits: who is asked again when, whose failure counts, and what an EHR that is away costs its callers."""

import time

import pytest

from cds.circuit import Circuits, GuardedReader, Pauses
from cds.deadline import Deadline, deadline_in
from cds.testing import FHIR_SERVER, CannedReader
from clinical.errors import Busy, Fault, IncorrectInput, PreconditionMissing
from fhir_adapters.client import Fetched, FetchFailed, Grant, Reason

FAIR = Deadline(time.monotonic() + 1e6, 1e6)
LATE = Deadline(time.monotonic() + 1e6, 1e9)  # most of the budget is used up


class Clock:
    at = 50.0

    def __call__(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def events():
    return []


@pytest.fixture
def circuits(clock, events):
    pauses = Pauses(failures=3, first_s=5.0, longest_s=20.0)
    return Circuits("service", pauses, clock, lambda *event: events.append(event), at_most=3)


def call(circuits, error=None, name="risk", deadline=FAIR):
    """Call a service that fails with `error`; return whether it was asked, and what the caller was told."""
    asked = []
    try:
        with circuits.guard(name, deadline):
            asked.append(name)
            fail(error)
    except Exception as problem:  # noqa: BLE001 - whatever it is, it is what the caller is told
        return bool(asked), problem
    return bool(asked), None


def fail(error):
    if error is not None:
        raise error


@pytest.mark.parametrize(
    "error", [Fault("broken"), Busy("late"), ZeroDivisionError()], ids=lambda e: type(e).__name__
)
def test_after_failures_in_a_row_it_is_503_with_a_time_and_the_service_is_not_asked(circuits, clock, error):
    for _ in range(3):
        assert call(circuits, error) == (True, error)
    asked, told = call(circuits)
    assert not asked
    assert isinstance(told, Busy)
    assert told.retry_after_s == 5
    with pytest.raises(Busy):
        circuits.check("risk")


@pytest.mark.parametrize("error", [IncorrectInput("x"), PreconditionMissing("x")], ids=lambda e: type(e).__name__)
def test_a_mistake_of_a_caller_neither_opens_nor_heals(circuits, error):
    for _ in range(9):
        call(circuits, error)
    assert not circuits.is_open("risk")
    for one in (Fault("x"), Fault("x"), error, Fault("x")):
        call(circuits, one)
    assert circuits.is_open("risk")


def test_a_service_asked_when_most_of_the_time_was_gone_is_not_blamed_for_being_late(circuits):
    for _ in range(9):
        call(circuits, Busy("late"), deadline=LATE)
    assert not circuits.is_open("risk")
    for _ in range(3):
        call(circuits, Fault("broken"), deadline=LATE)
    assert circuits.is_open("risk")


def test_after_the_pause_one_call_tries_and_its_success_lets_everybody_in(circuits, clock, events):
    for _ in range(3):
        call(circuits, Fault("x"))
    clock.at += 5
    circuits.check("risk")
    with circuits.guard("risk", FAIR):
        assert call(circuits)[0] is False
        with pytest.raises(Busy):
            circuits.check("risk")
    assert call(circuits) == (True, None)
    assert [event for _, _, event in events] == ["opened", "tried", "refused", "refused", "closed"]


def test_a_try_that_fails_doubles_the_pause(circuits, clock):
    for _ in range(3):
        call(circuits, Fault("x"))
    clock.at += 5
    call(circuits, Fault("x"))
    clock.at += 9
    assert call(circuits)[1].retry_after_s == 1
    clock.at += 1
    assert call(circuits) == (True, None)


def test_one_broken_service_leaves_the_others_alone(circuits):
    for _ in range(3):
        call(circuits, Fault("x"))
    assert call(circuits, name="imaging") == (True, None)


def test_of_many_names_a_bounded_number_is_kept_and_the_open_ones_are_not_forgotten(circuits):
    for _ in range(3):
        call(circuits, Fault("x"), name="open")
    for number in range(20):
        call(circuits, name=f"n{number}")
        assert len(circuits) <= 3
    assert circuits.is_open("open")


def test_a_deadline_is_fair_while_half_of_it_is_left():
    assert deadline_in(60).is_fair
    assert not Deadline(time.monotonic() + 20, 60).is_fair


@pytest.fixture
def guarded(clock):
    """guarded(answers) -> a reader behind circuits that open after three silent calls, and what is behind it."""
    circuits = Circuits("ehr", Pauses(failures=3, first_s=5.0), clock)

    def make(**answers):
        canned = CannedReader(answers)
        return GuardedReader(canned, circuits), canned

    return make


def ask(reader, *queries, base=FHIR_SERVER):
    found = reader.fetch_all(Grant(base), {query: query for query in queries}, ends_at=0.0)
    return {query: getattr(answer, "reason", "fetched") for query, answer in found.items()}


@pytest.mark.parametrize("silence", [Reason.TIMEOUT, Reason.UNREACHABLE])
def test_an_ehr_that_does_not_answer_is_left_alone_for_a_while_and_the_reason_says_so(guarded, clock, silence):
    reader, canned = guarded(Patient=FetchFailed(silence), Observation=FetchFailed(silence))
    for _ in range(3):
        assert set(ask(reader, "Patient", "Observation").values()) == {silence}
    assert ask(reader, "Patient", "Observation") == {"Patient": Reason.AWAY, "Observation": Reason.AWAY}
    assert len(canned.grants) == 3
    clock.at += 5
    assert ask(reader, "Patient") == {"Patient": silence}


@pytest.mark.parametrize("said", [Reason.UNAUTHORIZED, Reason.FORBIDDEN, Reason.NOT_FOUND, Reason.FAILED])
def test_an_ehr_that_refuses_is_there(guarded, said):
    reader, canned = guarded(Patient=FetchFailed(said))
    for _ in range(9):
        ask(reader, "Patient")
    assert len(canned.grants) == 9


def test_an_ehr_that_is_late_with_some_keys_only_is_there(guarded):
    reader, canned = guarded(Patient=Fetched({"resourceType": "Patient"}), Observation=FetchFailed(Reason.TIMEOUT))
    for _ in range(9):
        ask(reader, "Patient", "Observation")
    assert len(canned.grants) == 9


def test_one_ehr_that_is_away_does_not_close_another(guarded):
    reader, _ = guarded(Patient=FetchFailed(Reason.TIMEOUT))
    for _ in range(3):
        ask(reader, "Patient")
    assert ask(reader, "Patient", base="https://other.example/fhir") == {"Patient": Reason.TIMEOUT}


def test_a_reader_that_breaks_is_asked_again_and_its_error_is_seen(guarded, clock):
    class Broken(CannedReader):
        def fetch_all(self, *_arguments, **_more):
            raise Fault("a mistake of ours")

    reader = GuardedReader(Broken({}), Circuits("ehr", now=clock))
    for _ in range(9):
        with pytest.raises(Fault):
            ask(reader, "Patient")
