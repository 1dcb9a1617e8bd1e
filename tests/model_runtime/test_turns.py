import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from clinical.errors import Busy
from model_runtime.turns import Turns


def soon():
    return time.monotonic() + 0.01


def test_a_free_turn_is_taken_without_waiting_even_after_the_deadline():
    with Turns("m", 1).take(time.monotonic() - 1):
        pass


def test_those_who_gave_up_waiting_leave_their_places_to_others():
    turns = Turns("m", 1, max_waiting=2)
    with turns.take(None):
        for _ in range(10):
            with pytest.raises(Busy, match="did not become free"), turns.take(soon()):
                pass
    with turns.take(soon()):
        pass


def test_no_more_wait_than_are_allowed():
    turns = Turns("m", 1, max_waiting=1)
    waits = threading.Event()

    def wait():
        waits.set()
        with turns.take(time.monotonic() + 30):
            return "had a turn"

    with ThreadPoolExecutor(1) as pool:
        with turns.take(None):
            waiting = pool.submit(wait)
            waits.wait(30)
            while not turns.waiting:
                time.sleep(0.001)
            with pytest.raises(Busy, match="too many"), turns.take(None):
                pass
        assert waiting.result(30) == "had a turn"


def test_a_turn_comes_back_when_the_run_fails():
    turns = Turns("m", 1)
    with pytest.raises(KeyError), turns.take(None):
        raise KeyError
    with turns.take(soon()):
        pass


def test_never_more_run_at_once_than_allowed():
    turns, lock, under_way, most = Turns("m", 3), threading.Lock(), [0], [0]

    def work(_):
        with turns.take(None):
            with lock:
                under_way[0] += 1
                most[0] = max(most[0], under_way[0])
            time.sleep(0.001)
            with lock:
                under_way[0] -= 1

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(60)))
    assert 1 <= most[0] <= 3
