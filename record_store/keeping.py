"""Two journal files in turns: one is written to while the other one's objects become durable as files and rows."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

import structlog

from clinical.errors import ClinicalError
from record_store.journal import LARGEST_BYTES, JournalFile
from record_store.parts import PartFile

log = structlog.get_logger()

Settle = Callable[[Sequence[str]], None]
"""Makes objects, by their sha256, and all committed rows durable; raises ClinicalError when it cannot."""


@dataclass(eq=False)
class _Turn:
    journal: JournalFile
    names: list[str] = field(default_factory=list)
    is_broken: bool = False


class Keeping:
    """Keeps what is small in the journal that has its turn.

    Where there is no room, because the other file has not settled yet, or none at all, because a flush failed,
    nothing is kept: whoever asks then makes files durable one by one, and nothing waits.
    """

    def __init__(self, folder: Path, settle: Settle) -> None:
        self._folder, self._settle = folder, settle
        self._free: SimpleQueue[_Turn] = SimpleQueue()
        self._full: SimpleQueue[_Turn | None] = SimpleQueue()
        self._turn: _Turn | None = None
        self._lock = threading.Lock()  # of the turn
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def start(self) -> None:
        """Make the files and begin, behind whoever calls."""
        self._thread.start()

    def stop(self) -> None:
        """Settle what is kept and take the files away; afterwards nothing is kept any more."""
        with self._lock:
            if self._turn is not None:
                self._full.put(self._turn)
            self._turn = None
            self._full.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def keep(self, parts: Sequence[PartFile], rows: Sequence[bytes]) -> bool:
        """Return True when these are on the disk, False when there is no place for them.

        Raises what the disk said when it cannot be known whether they are; the file is not used again then.
        """
        if any(part.size > LARGEST_BYTES for part in parts):
            return False
        with self._lock:
            return self._keep(parts, rows)

    def _keep(self, parts: Sequence[PartFile], rows: Sequence[bytes]) -> bool:
        turn = self._with_room(parts)
        if turn is None:
            return False
        try:
            turn.journal.append(parts, rows)
        except ClinicalError:
            # Its earlier entries are durable and still count; what is behind them nobody may rely on.
            self._turn, turn.is_broken = None, True
            self._full.put(turn)
            log.error("journal not flushed")  # noqa: TRY400 - the error is the sender's
            raise
        turn.names += [part.sha256 for part in parts]
        return True

    def _with_room(self, parts: Sequence[PartFile]) -> _Turn | None:
        if self._turn is not None and self._turn.journal.has_room(parts):
            return self._turn
        if self._free.empty():
            return None
        if self._turn is not None:
            self._full.put(self._turn)
        self._turn = self._free.get()
        return self._turn if self._turn.journal.has_room(parts) else None

    def _run(self) -> None:
        made: list[JournalFile] = []
        try:
            for _ in range(2):
                made.append(JournalFile.new(self._folder))
                self._free.put(_Turn(made[-1]))
        except ClinicalError as error:
            log.warning("no journal", why=error.message)
        while (turn := self._full.get()) is not None:
            try:
                self._settle(turn.names)
                turn.names.clear()
                if turn.is_broken:
                    made.remove(turn.journal)
                    turn.journal.remove()
                    continue
                turn.journal.clear()
            except ClinicalError as error:
                # It stays as it is, for the next start to make its objects anew.
                log.error("journal not settled", why=error.message)  # noqa: TRY400
                turn.journal.close()
                made.remove(turn.journal)
            else:
                self._free.put(turn)
        for journal in made:
            journal.remove()
