from concurrent.futures import ThreadPoolExecutor

import pytest

from model_runtime.circuit import Circuit


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
