"""Calls that wait for the same graph are run together: one run of eight rows costs little more than one of one.

For graphs whose manifest says so (`batch_rows`). Every run has exactly so many rows, a lone one filled up with
copies of itself: kernels choose their order of additions, and where they vectorise, by the length, so only runs of
one length give the same bits (a sigmoid of 1 and of 16 rows differs in its last one). The load has proved that a
row's answer depends neither on its place nor on its neighbours.

One batch runs at a time, and whoever comes while it runs is in the next one, so nobody waits for a batch to fill.
Only the first of the next batch waits a moment, for those who were answered just now and are about to ask again:
else two groups of callers take turns for ever, and each waits for the other's run. That moment is a small share of
what a run takes, and a lone caller never waits.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from clinical.errors import Busy, Fault
from model_runtime.outputs import Array
from model_runtime.session import DeviceLost
from model_runtime.turns import MAX_WAITING

Arrays = Mapping[str, Array]
WAIT_SHARE = 0.2  # of the last run's time
LONGEST_WAIT_S = 0.01


@dataclass(eq=False)
class _Call:
    """One caller's rows. turn: notified when he is to lead, or is answered."""

    inputs: Arrays
    rows: int
    turn: threading.Condition
    taken: bool = False
    outputs: Arrays | None = field(default=None, repr=False)
    error: BaseException | None = None

    @property
    def answered(self) -> bool:
        return self.outputs is not None or self.error is not None

    def answer(self) -> Arrays:
        if self.error is not None:
            raise self.error
        if self.outputs is None:
            raise Fault("a batch ended without an answer")
        return self.outputs


class Batcher:
    """The queue in front of one graph."""

    def __init__(
        self,
        model: str,
        run: Callable[[Arrays], Arrays],
        length: int,
        *,
        max_waiting: int = MAX_WAITING,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """model: for the error's text. run: runs the graph once. length: rows of every run."""
        self._model = model
        self._run = run
        self._length = length
        self._max_waiting = max_waiting
        self._now = now
        self._lock = threading.Lock()
        self._waiting: deque[_Call] = deque()
        self._busy = False
        self._gathering: _Call | None = None
        self._callers = 1
        self._last_s = 0.0

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return len(self._waiting)

    def run(self, inputs: Arrays, deadline: float | None) -> Arrays:
        """Return the outputs of these rows. deadline: on `now`, None waits for a turn as long as it takes.

        Raises Busy when too many wait, or no turn came in time; else what `run` raises for these rows: the failure
        of a neighbour is his own.
        """
        rows = len(next(iter(inputs.values())))
        if rows > self._length:
            return self._in_parts(inputs, rows, deadline)
        call = _Call(inputs, rows, threading.Condition(self._lock))
        with self._lock:
            if len(self._waiting) >= self._max_waiting:
                raise Busy(f"too many requests wait for model {self._model}")
            self._waiting.append(call)
            if self._gathering is not None and len(self._waiting) >= self._wanted():
                self._gathering.turn.notify()
            if not self._leads(call, deadline):
                return call.answer()
            batch = self._take(call, deadline)
        self._work(batch)
        return call.answer()

    def _in_parts(self, inputs: Arrays, rows: int, deadline: float | None) -> Arrays:
        starts = range(0, rows, self._length)
        parts = [
            self.run({name: values[start : start + self._length] for name, values in inputs.items()}, deadline)
            for start in starts
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _leads(self, call: _Call, deadline: float | None) -> bool:
        """Wait for a turn, or for an answer in somebody else's batch; tell which. Holds the lock."""
        while not call.answered:
            if not call.taken and not self._busy and self._waiting[0] is call:
                self._busy = True
                return True
            # Whoever is in a running batch gets its answer: nothing can be taken back from it.
            left = None if deadline is None or call.taken else deadline - self._now()
            if left is not None and left <= 0:
                self._waiting.remove(call)
                self._wake_next()
                raise Busy(f"model {self._model} did not become free in time")
            call.turn.wait(left)
        return False

    def _take(self, call: _Call, deadline: float | None) -> list[_Call]:
        """Return the batch that `call` leads, after the moment that it waits for others. Holds the lock."""
        until = self._now() + min(LONGEST_WAIT_S, WAIT_SHARE * self._last_s)
        if deadline is not None:
            until = min(until, deadline - self._last_s)
        self._gathering = call
        while len(self._waiting) < self._wanted() and (left := until - self._now()) > 0:
            call.turn.wait(left)
        self._gathering = None
        batch, room = [], self._length
        while self._waiting and self._waiting[0].rows <= room:
            one = self._waiting.popleft()
            one.taken = True
            room -= one.rows
            batch.append(one)
        return batch

    def _wanted(self) -> int:
        """Return how many calls are worth waiting for: those who were answered just now or waited then."""
        return min(self._callers, self._length)

    def _work(self, batch: list[_Call]) -> None:
        """Run a batch and hand out what came of it, then give the turn to the next. Without the lock."""
        started = self._now()
        try:
            _answer_together(self._run_filled, batch)
        finally:
            with self._lock:
                self._callers, self._last_s = len(batch) + len(self._waiting), self._now() - started
                self._busy = False
                for one in batch[1:]:
                    if not one.answered:
                        one.error = Fault(f"model {self._model} failed while running")
                    one.turn.notify()
                self._wake_next()

    def _run_filled(self, inputs: Arrays) -> Arrays:
        """Run rows filled up to the length of every run, with copies of the first."""
        rows = len(next(iter(inputs.values())))
        short = self._length - rows
        filled = {name: np.concatenate([values, values[:1].repeat(short, 0)]) for name, values in inputs.items()}
        return {name: values[:rows] for name, values in self._run(filled).items()}

    def _wake_next(self) -> None:
        if self._waiting and not self._busy:
            self._waiting[0].turn.notify()


def _answer_together(run: Callable[[Arrays], Arrays], batch: list[_Call]) -> None:
    if len(batch) == 1:
        _answer_alone(run, batch[0])
        return
    joined = {name: np.concatenate([one.inputs[name] for one in batch]) for name in batch[0].inputs}
    try:
        outputs = run(joined)
    except DeviceLost as lost:
        for one in batch:
            one.error = lost
        return
    except Exception:  # noqa: BLE001 - one caller's rows may have broken it
        _find_out_whose(run, batch)
        return
    start = 0
    for one in batch:
        # Copies: a view would keep everybody's rows alive, and let one caller write into another's.
        one.outputs = {name: values[start : start + one.rows].copy() for name, values in outputs.items()}
        start += one.rows


def _find_out_whose(run: Callable[[Arrays], Arrays], batch: list[_Call]) -> None:
    """Run each caller's rows alone. When the first two fail it is the model: the others do not wait for more."""
    for number, one in enumerate(batch):
        if number == 2 and batch[0].error is not None and batch[1].error is not None:
            for other in batch[2:]:
                other.error = batch[1].error
            return
        _answer_alone(run, one)


def _answer_alone(run: Callable[[Arrays], Arrays], call: _Call) -> None:
    try:
        call.outputs = run(call.inputs)
    except Exception as error:  # noqa: BLE001 - it is raised where the caller waits
        call.error = error
