"""One slow caller never takes the last place from another."""

import threading
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis.strategies import integers, lists, sampled_from

from cds.bulkhead import Bulkhead
from clinical.errors import Busy


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
def test_a_caller_whose_calls_never_end_leaves_places_for_others(places, most):
    bulkhead = Bulkhead(places, callers=2)
    with ExitStack() as stack:
        assert holds(bulkhead, "slow", stack, 99) == most
        with bulkhead.enter("other"):
            pass


def test_with_one_caller_every_place_is_his():
    with ExitStack() as stack:
        assert holds(Bulkhead(8, callers=1), "only", stack, 20) == 20  # the threads are the bound


def test_a_place_comes_back_when_a_call_ends_however_it_ends():
    bulkhead = Bulkhead(4, callers=2)
    for _ in range(9):
        with pytest.raises(ZeroDivisionError), bulkhead.enter("a"):
            raise ZeroDivisionError
    with ExitStack() as stack:
        assert holds(bulkhead, "a", stack, 9) == 3


@given(integers(2, 16), lists(sampled_from("abc"), max_size=40))
def test_whoever_holds_no_place_gets_one_while_any_is_free(places, arrivals):
    bulkhead, held = Bulkhead(places, callers=3), []
    with ExitStack() as stack:
        for caller in arrivals:
            got = holds(bulkhead, caller, stack, 1)
            if caller not in held and len(held) < places:
                assert got == 1
            held += [caller] * got
        assert len(held) <= places


def test_many_threads_never_hold_more_than_their_share():
    bulkhead, lock, under_way, most = Bulkhead(8, callers=2), threading.Lock(), 0, 0

    def work():
        nonlocal under_way, most
        for _ in range(200):
            try:
                with bulkhead.enter("a"):
                    with lock:
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
