"""A destination that is slow, hangs, is away or makes our code fail holds up no other one."""

import threading

import pytest

from clinical.errors import Busy
from consilium.lanes import Lanes
from record_store.deliveries import RetryPolicy

REST = RetryPolicy(first_s=3600, jitter=lambda: 1.0)


@pytest.fixture
def hanging():
    """Yield an event that a hanging archive waits for, and let it go at the end."""
    event = threading.Event()
    yield event
    event.set()


def lanes(due, deliver, slots=8):
    return Lanes(lambda: due, deliver, slots=slots, rest=REST)


def test_a_hanging_destination_holds_up_no_other_and_is_not_called_twice(hanging) -> None:
    called, sent = [], threading.Semaphore(0)

    def deliver(name: str) -> bool:
        called.append(name)
        if name == "hangs":
            assert hanging.wait(60)
        else:
            sent.release()
        return True

    some = lanes(["hangs", "quick"], deliver)
    for _ in range(3):
        some.once()
        assert sent.acquire(timeout=30)
        while some._lanes["quick"].thread.is_alive():  # the last round's thread may be at its end
            pass
    assert (called.count("hangs"), called.count("quick")) == (1, 3)


def test_no_more_transfers_run_than_there_are_slots(hanging) -> None:
    some = lanes(["a", "b", "c"], lambda _name: hanging.wait(60), slots=2)
    assert (some.once(), some.once()) == (2, 0)
    hanging.set()
    some.wait(30)
    assert some.once() >= 2


@pytest.mark.parametrize("error", [None, Busy("the database is away"), KeyError("Zzcanary")])
def test_a_destination_that_is_away_rests_and_so_does_one_at_which_we_fail(error) -> None:
    called = []

    def deliver(name: str) -> bool:
        called.append(name)
        if name == "away" and error is not None:
            raise error
        return name != "away"

    some = lanes(["away", "there"], deliver)
    for _ in range(3):
        some.once()
        some.wait(30)
    assert (called.count("away"), called.count("there")) == (1, 3)
