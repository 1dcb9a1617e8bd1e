"""Work of many threads done together by whichever of them comes first.

Who finds nobody at work does what is waiting, his own included; who comes meanwhile waits, and when the work is
done one of those who came does all of theirs. So a thread that is alone pays no hand-over to another one, and
many pay for one flush. Nobody waits for a later round than the one that holds his own work.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from clinical.errors import Fault

Work = TypeVar("Work")
Done = TypeVar("Done")


def _taken_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(slots=True, eq=False)
class _Entry(Generic[Work, Done]):
    work: Work
    # A bare lock that is taken until its owner is woken: a Semaphore is four objects of Python's own.
    woken: threading.Lock = field(default_factory=_taken_lock)
    finished: bool = False
    done: Done | None = None
    error: Exception | None = None

    def settle(self) -> Done:
        if self.error is not None:
            raise self.error
        if self.done is None:
            raise Fault("work was lost on its way to its turn")
        return self.done


class Turns(Generic[Work, Done]):
    """act: does the work of a round and returns for each what came of it, or the error to raise there.

    most: works in one round; the rest waits for the next.
    """

    def __init__(self, act: Callable[[Sequence[Work]], Sequence[Done | Exception]], most: int) -> None:
        self._act, self._most = act, most
        self._lock = threading.Lock()
        self._waiting: list[_Entry[Work, Done]] = []
        self._busy = False

    def do(self, work: Work) -> Done:
        """Return what came of this work, or raise its error."""
        entry = _Entry[Work, Done](work)
        with self._lock:
            self._waiting.append(entry)
            first, self._busy = not self._busy, True
        if not first:
            entry.woken.acquire()
        if not entry.finished:  # else somebody has done it; if not, it is our turn
            self._take_a_turn(entry)
        return entry.settle()

    def _take_a_turn(self, mine: _Entry[Work, Done]) -> None:
        with self._lock:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        try:
            for entry, done in zip(batch, self._act([entry.work for entry in batch]), strict=True):
                if isinstance(done, Exception):
                    entry.error = done
                else:
                    entry.done = done
        except Exception as error:  # noqa: BLE001 - each of them raises it, in his own thread
            for entry in batch:
                entry.error = error
        finally:
            for entry in batch:
                entry.finished = True
            with self._lock:
                following = self._waiting[0] if self._waiting else None
                self._busy = following is not None
            for entry in ([following] if following else []) + [one for one in batch if one is not mine]:
                entry.woken.release()
