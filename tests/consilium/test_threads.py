"""The threads of a web worker: all work is done, and a thread outlives what goes wrong in it."""

import queue
import threading

from consilium.threads import Threads


def test_everything_is_done_once_and_said_with_what_came_of_it() -> None:
    said: queue.Queue[tuple[int, bool]] = queue.Queue()
    threads: Threads[int] = Threads(4, lambda item: item % 2 == 0, lambda *what: said.put(what))
    for item in range(100):
        threads.submit(item)
    assert sorted(said.get(timeout=30) for _ in range(100)) == [(item, item % 2 == 0) for item in range(100)]
    threads.shutdown()


def test_no_more_run_at_a_time_than_there_are_threads() -> None:
    said: queue.Queue[tuple[int, bool]] = queue.Queue()
    gate, lock, under_way, most = threading.Event(), threading.Lock(), [0], [0]

    def work(_item: int) -> bool:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        gate.wait(30)
        with lock:
            under_way[0] -= 1
        return True

    threads: Threads[int] = Threads(3, work, lambda *what: said.put(what))
    for item in range(9):
        threads.submit(item)
    gate.set()
    for _ in range(9):
        said.get(timeout=30)
    assert 1 <= most[0] <= 3
    threads.shutdown()


def test_a_thread_goes_on_after_what_ended_its_work() -> None:
    said: queue.Queue[tuple[str, bool]] = queue.Queue()

    def work(item: str) -> bool:
        if item == "bad":
            raise SystemExit
        return True

    threads: Threads[str] = Threads(1, work, lambda *what: said.put(what))
    threads.submit("bad")
    threads.submit("good")
    assert [said.get(timeout=30) for _ in range(2)] == [("bad", False), ("good", True)]
    threads.shutdown()


def answering() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("answers-")}


def test_they_end_when_they_are_told_to() -> None:
    said: queue.Queue[tuple[int, bool]] = queue.Queue()
    before = answering()
    threads: Threads[int] = Threads(2, lambda _item: True, lambda *what: said.put(what))
    threads.submit(1)
    said.get(timeout=30)
    ours = answering() - before
    threads.shutdown()
    for thread in ours:
        thread.join(30)
    assert len(ours) == 2
    assert not any(thread.is_alive() for thread in ours)
