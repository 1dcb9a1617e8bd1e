"""Journal files in turns: one is written to while the objects of those before it become files (`settling`)."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from queue import Empty, SimpleQueue

import structlog

from clinical.errors import ClinicalError, Fault
from record_store.arrival_row import to_bytes
from record_store.instances import ReceivedInstance
from record_store.journal import LARGEST_BYTES, JournalFile
from record_store.parts import PartFile
from record_store.settling import Place

FIRST_FILES, MOST_FILES = 1, 3  # at the start; for a burst of 190 MB, before anything is written a second time
REST_S = 0.5  # after the last object its journal is settled, full or not
LOOK_S = 0.5  # how often that is looked at
AGAIN_S = 2.0  # after a failure
WAIT_S = 0.5  # for a place
_NICE = 5  # who settles gives way to who receives

log = structlog.get_logger()

Settle = Callable[[JournalFile, Sequence[Place]], None]
"""Makes what stands in a journal durable otherwise; raises ClinicalError when it cannot."""


class _Word(Enum):
    STOP = "stop"
    MORE = "make one more"


@dataclass(eq=False)
class _Turn:
    journal: JournalFile
    places: list[Place] = field(default_factory=list)
    used_at: float = 0.0
    is_broken: bool = False


class Keeping:
    """Keeps what is small in the journal that has its turn.

    Where there is no room for a while, because the other files have not settled yet, or none at all, because
    flushes failed, nothing is kept: whoever asks then makes files durable one by one.
    """

    def __init__(self, folder: Path, settle: Settle, *, at_once: bool = True) -> None:
        """Begin. at_once: make files at the start and not when something is to be kept for the first time."""
        self._folder, self._settle, self._at_once = folder, settle, at_once
        self._is_wanted = False  # one more file
        self._is_stuck = False  # none can be made or settled
        self._free: SimpleQueue[_Turn] = SimpleQueue()
        self._full: SimpleQueue[_Turn | _Word] = SimpleQueue()
        self._made: list[JournalFile] = []
        self._turn: _Turn | None = None
        self._offsets: Sequence[int] = ()  # of what was kept last
        # Of the turn, and held from `keep` to `done`: a journal whose rows are not committed yet is not settled.
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def start(self) -> None:
        """Make the files and begin, behind whoever calls."""
        self._thread.start()

    def stop(self) -> None:
        """Settle what is kept and take the files away; afterwards nothing is kept any more."""
        with self._lock:
            self._hand_on()
            self._stopping.set()
            self._full.put(_Word.STOP)
        if self._thread.is_alive():
            self._thread.join()

    def keep(self, parts: Sequence[PartFile], instances: Sequence[ReceivedInstance]) -> bool:
        """Return True when these are on the disk, False when there is no place for them.

        After True, `done` must be called when their rows are committed or given up. Raises what the disk said when
        it cannot be known whether they are; the file is not used again then.
        """
        if any(part.size > LARGEST_BYTES for part in parts):
            return False
        self._lock.acquire()
        kept = False
        try:
            kept = self._keep(parts, instances)
        finally:
            if not kept:
                self._lock.release()
        return kept

    def take_back(self, numbers: Sequence[int]) -> None:
        """Let some of those that were kept last count no more, before `done`. Raises what the disk said.

        numbers: their places among what `keep` was given.
        """
        turn = self._turn
        if turn is None:
            raise Fault("nothing was kept")
        try:
            turn.journal.take_back([self._offsets[number] for number in numbers])
        except ClinicalError:
            self._give_up(turn)
            raise

    def done(self) -> None:
        """Let what was kept last be settled."""
        self._lock.release()

    def _keep(self, parts: Sequence[PartFile], instances: Sequence[ReceivedInstance]) -> bool:
        turn = None if self._stopping.is_set() else self._with_room(parts)
        if turn is None:
            return False
        try:
            self._offsets = offsets = turn.journal.append(parts, [to_bytes(one) for one in instances])
        except ClinicalError:
            self._give_up(turn)
            raise
        turn.used_at = time.monotonic()
        if turn.journal.is_half_full and self._free.empty():
            self._want_one_more()
        turn.places += [
            Place(one.sop_instance_uid, one.sha256, offset, one.size)
            for one, offset in zip(instances, offsets, strict=True)
        ]
        return True

    def _give_up(self, turn: _Turn) -> None:
        # Its earlier entries are durable and still count; what is behind them nobody may rely on.
        turn.is_broken = True
        self._hand_on()
        log.error("journal not flushed")

    def _with_room(self, parts: Sequence[PartFile]) -> _Turn | None:
        if self._turn is not None and self._turn.journal.has_room(parts):
            return self._turn
        self._hand_on()
        if self._free.empty():
            self._want_one_more()
        try:
            # Waiting for a place costs less than a flush for each file, which would slow down who makes the place.
            turn = self._free.get(timeout=0 if self._is_stuck else WAIT_S)
        except Empty:
            return None
        self._turn = turn
        return turn if turn.journal.has_room(parts) else None

    def _want_one_more(self) -> None:
        if not self._is_wanted:
            self._is_wanted = True
            self._full.put(_Word.MORE)

    def _hand_on(self) -> None:
        if self._turn is not None:
            self._full.put(self._turn)
            self._turn = None

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        self._make(FIRST_FILES if self._at_once else 0)
        while True:
            try:
                turn = self._full.get(timeout=LOOK_S)
            except Empty:
                self._hand_on_what_rests()
                continue
            if turn is _Word.STOP:
                break
            if isinstance(turn, _Turn):
                self._empty(turn)
            else:
                self._make(1 if len(self._made) < MOST_FILES else 0)
                self._is_wanted = False
        for journal in self._made:
            journal.remove()

    def _make(self, count: int) -> None:
        try:
            for _ in range(count):
                self._made.append(JournalFile.new(self._folder))
                self._free.put(_Turn(self._made[-1]))
                self._is_stuck = False
        except ClinicalError as error:
            self._is_stuck = not self._made
            log.warning("no journal", why=error.message)

    def _hand_on_what_rests(self) -> None:
        if self._lock.acquire(blocking=False):
            try:
                turn = self._turn
                if turn is not None and turn.places and time.monotonic() - turn.used_at > REST_S:
                    self._hand_on()
            finally:
                self._lock.release()

    def _empty(self, turn: _Turn) -> None:
        """Settle a journal and let it be used again. While that fails it stays: readers find its objects there."""
        said = False
        while True:
            try:
                self._settle(turn.journal, turn.places)
                turn.places.clear()
                if not turn.is_broken:
                    turn.journal.clear()
            except Exception as error:  # noqa: BLE001 - this thread's edge: without it nothing settles any more
                if not said:
                    why = error.message if isinstance(error, ClinicalError) else type(error).__name__
                    log.error("journal not settled", why=why)  # noqa: TRY400
                said = self._is_stuck = True
                if self._stopping.wait(AGAIN_S):
                    turn.journal.close()  # for the next start to make its objects anew
                    self._made.remove(turn.journal)
                    return
            else:
                break
        self._is_stuck = False
        if turn.is_broken:
            self._made.remove(turn.journal)
            turn.journal.remove()
        else:
            self._free.put(turn)
