"""One slow caller never takes the last place from another, and a quick one is never held up for that."""

import threading
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis.strategies import booleans, integers, lists, sampled_from, tuples

from cds.bulkhead import SLOW_S, Bulkhead
from clinical.errors import Busy


class Clock:
    at = 10.0

    def __call__(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


def one_call(bulkhead, caller, clock, seconds):
    with bulkhead.enter(caller):
        clock.at += seconds


def make_slow(bulkhead, caller, clock):
    for _ in range(4):
        one_call(bulkhead, caller, clock, 2 * SLOW_S)


def holds(bulkhead, caller, stack, wanted):
    """Take up to `wanted` places and keep them; return how many were given."""
    given_ = 0
    for _ in range(wanted):
        try:
            stack.enter_context(bulkhead.enter(caller))
        except Busy:
            return given_
        given_ += 1
    return given_


@pytest.mark.parametrize(("places", "most"), [(8, 6), (16, 12), (2, 1), (4, 3)])
def test_a_slow_caller_leaves_places_for_others(clock, places, most):
    bulkhead = Bulkhead(places, callers=2, now=clock)
    make_slow(bulkhead, "slow", clock)
    with ExitStack() as stack:
        assert holds(bulkhead, "slow", stack, 99) == most
        with bulkhead.enter("other"):
            pass


def test_a_caller_whose_first_calls_do_not_end_is_slow_from_then_on(clock):
    bulkhead = Bulkhead(8, callers=2, now=clock)
    with ExitStack() as stack:
        assert holds(bulkhead, "hangs", stack, 5) == 5
        clock.at += 2 * SLOW_S
        assert holds(bulkhead, "hangs", stack, 9) == 1


def test_a_quick_caller_may_fill_every_place(clock):
    bulkhead = Bulkhead(8, callers=2, now=clock)
    for _ in range(50):
        one_call(bulkhead, "quick", clock, 0.002)
    with ExitStack() as stack:
        assert holds(bulkhead, "quick", stack, 20) == 20  # the threads are the bound


def test_a_caller_who_is_quick_again_is_held_up_no_longer(clock):
    bulkhead = Bulkhead(4, callers=2, now=clock)
    make_slow(bulkhead, "a", clock)
    for _ in range(8):
        one_call(bulkhead, "a", clock, 0.002)
    with ExitStack() as stack:
        assert holds(bulkhead, "a", stack, 4) == 4


def test_with_one_caller_every_place_is_his_however_slow(clock):
    bulkhead = Bulkhead(8, callers=1, now=clock)
    make_slow(bulkhead, "only", clock)
    with ExitStack() as stack:
        assert holds(bulkhead, "only", stack, 20) == 20


def test_the_slow_caller_is_told_when_to_come_back(clock):
    bulkhead = Bulkhead(2, callers=2, now=clock)
    make_slow(bulkhead, "a", clock)
    with bulkhead.enter("a"), pytest.raises(Busy) as refused, bulkhead.enter("a"):
        pass
    assert refused.value.retry_after_s >= 1


def test_a_place_comes_back_when_a_call_ends_however_it_ends(clock):
    bulkhead = Bulkhead(4, callers=2, now=clock)
    for _ in range(9):
        clock.at += 1.0
        with pytest.raises(ZeroDivisionError), bulkhead.enter("a"):
            1 / 0  # noqa: B018
    make_slow(bulkhead, "a", clock)
    with ExitStack() as stack:
        assert holds(bulkhead, "a", stack, 9) == 3


@given(integers(2, 16), lists(tuples(sampled_from("abc"), booleans()), max_size=40))
def test_among_slow_callers_whoever_holds_no_place_gets_one_while_any_is_free(places, steps):
    clock = Clock()
    bulkhead = Bulkhead(places, callers=3, now=clock)
    for caller in "abc":
        make_slow(bulkhead, caller, clock)
    held = {caller: ExitStack() for caller in "abc"}
    count = dict.fromkeys("abc", 0)
    for caller, comes in steps:
        if not comes:
            held[caller].close()
            count[caller] = 0
            continue
        free = places - sum(count.values())
        got = holds(bulkhead, caller, held[caller], 1)
        assert got == 1 or count[caller]
        assert got == 1 or free <= max(1, places // 4)
        count[caller] += got
    for stack in held.values():
        stack.close()


def test_many_threads_of_a_slow_caller_never_hold_more_than_their_share():
    clock = Clock()
    bulkhead, lock, under_way, most = Bulkhead(8, callers=2, now=clock), threading.Lock(), 0, 0
    make_slow(bulkhead, "a", clock)
    clock.at += 1

    def work():
        nonlocal under_way, most
        for _ in range(200):
            try:
                with bulkhead.enter("a"):
                    with lock:
                        clock.at += 1.0
                        under_way += 1
                        most = max(most, under_way)
                    with lock:
                        under_way -= 1
            except Busy:
                pass

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= most <= 6
    assert under_way == 0
