from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from hypothesis.strategies import sampled_from

from model_runtime.circuit import Circuit, Verdict


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.at = 100.0

    def __call__(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def circuit(clock):
    return Circuit(clock, first_pause_s=10.0, longest_pause_s=35.0)


def pauses(circuit, clock, count):
    """Return the pauses before each of some failing tries, to half a second."""
    found = []
    for _ in range(count):
        started = clock.at
        while not circuit.take_try():
            clock.at += 0.5
        found.append(clock.at - started)
        circuit.fail()
    return found


def test_closed_it_hands_out_no_try(circuit):
    assert not circuit.is_open
    assert not circuit.take_try()


def test_pauses_double_up_to_the_longest(circuit, clock):
    circuit.fail()
    assert pauses(circuit, clock, 5) == [10.0, 20.0, 35.0, 35.0, 35.0]


def test_after_a_success_it_is_closed_and_a_new_failure_begins_with_the_first_pause(circuit, clock):
    circuit.fail()
    pauses(circuit, clock, 3)
    circuit.succeed()
    assert not circuit.is_open
    circuit.fail()
    assert pauses(circuit, clock, 1) == [10.0]


def test_only_one_of_many_callers_may_try(circuit, clock):
    circuit.fail()
    clock.at += 10
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: circuit.take_try(), range(64))) == 1
    assert circuit.is_open


def test_a_try_that_never_came_back_is_made_again_after_the_longest_pause(circuit, clock):
    circuit.fail()
    clock.at += 10
    assert circuit.take_try()
    clock.at += 34
    assert not circuit.take_try()
    clock.at += 1
    assert circuit.take_try()


def test_it_says_how_long_a_caller_must_wait_and_never_less_than_a_second(circuit, clock):
    circuit.fail()
    assert circuit.left_s == 10.0
    clock.at += 9.9
    assert circuit.left_s == 1.0


class Machine(RuleBasedStateMachine):
    """Calls side by side against a rule book of three states, written without the code under test."""

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.circuit = Circuit(self.clock, first_pause_s=4.0, longest_pause_s=10.0, failures=3)
        self.state, self.in_a_row, self.pause, self.due = "closed", 0, 4.0, None
        self.trying = None

    entries = Bundle("entries")

    @rule(target=entries)
    def a_call_comes(self):
        entry = self.circuit.enter()
        due = self.state != "closed" and self.clock.at >= self.due
        assert (entry is None) == (self.state != "closed" and not due)
        if due:
            assert entry.is_try
            self.state, self.trying, self.due = "half-open", entry, self.clock.at + 10.0
        return multiple() if entry is None else (entry, self.state == "closed", self.opened)

    opened = 0

    @rule(call=consumes(entries), verdict=sampled_from(Verdict))
    def a_call_ends(self, call, verdict):
        entry, was_closed, opened = call
        counts = entry is self.trying or (was_closed and self.state == "closed" and opened == self.opened)
        changed = self.circuit.settle(entry, verdict)
        if not counts:
            assert not changed
            return
        if entry is self.trying:
            self._a_try_ended(verdict)
        elif verdict is Verdict.GOOD:
            self.in_a_row = 0
        elif verdict is Verdict.BAD:
            self.in_a_row += 1
            if self.in_a_row == 3:
                self._open(4.0)

    def _a_try_ended(self, verdict):
        self.trying = None
        if verdict is Verdict.GOOD:
            self.state, self.in_a_row = "closed", 0
        elif verdict is Verdict.BAD:
            self._open(min(2 * self.pause, 10.0))
        else:
            self.state, self.due = "open", self.clock.at

    def _open(self, pause):
        self.state, self.pause, self.due = "open", pause, self.clock.at + pause
        self.opened += 1

    @rule(seconds=sampled_from((0.5, 2.0, 5.0, 11.0)))
    def time_passes(self, seconds):
        self.clock.at += seconds

    @invariant()
    def it_is_open_exactly_when_the_rule_book_says_so(self):
        assert self.circuit.is_open == (self.state != "closed")
        assert self.circuit.may_enter == (self.state == "closed" or self.clock.at >= self.due)
        assert 1.0 <= self.circuit.left_s <= 10.0


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_it_opens_only_after_failures_in_a_row(clock):
    circuit = Circuit(clock, failures=3)
    for verdict in (Verdict.BAD, Verdict.BAD, Verdict.GOOD, Verdict.BAD, Verdict.BAD, Verdict.NONE):
        circuit.settle(circuit.enter(), verdict)
        assert not circuit.is_open
    circuit.settle(circuit.enter(), Verdict.BAD)
    assert circuit.is_open
    assert circuit.enter() is None


def test_a_call_that_began_before_it_opened_does_not_close_it(clock):
    circuit = Circuit(clock)
    slow, failing = circuit.enter(), circuit.enter()
    circuit.settle(failing, Verdict.BAD)
    assert not circuit.settle(slow, Verdict.GOOD)
    assert circuit.is_open


def test_a_try_that_ends_without_a_verdict_leaves_the_next_caller_to_try(clock):
    circuit = Circuit(clock, first_pause_s=10.0)
    circuit.settle(circuit.enter(), Verdict.BAD)
    clock.at += 10
    first = circuit.enter()
    assert first.is_try
    assert circuit.enter() is None
    circuit.settle(first, Verdict.NONE)
    assert circuit.enter().is_try
