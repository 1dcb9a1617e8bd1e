"""Rows that must be in the database before an answer leaves, written for all who wait at once.

A transaction costs more than the rows in it, and SQLite has one writer. Whoever comes to write takes along the
rows of all who are waiting by then, so that many callers cost little more than one. Not flushed to disk: a power
cut may take the last rows, a killed process does not.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Table

from clinical.errors import Busy, ClinicalError, Fault
from record_store.database import BUSY_TIMEOUT_S, Database
from record_store.sqlite_rows import AddRows

Row = tuple[Table, Mapping[str, object]]
"""Rows of one table have the same columns, all of those that they have values for."""


def always() -> None:
    """Be in time."""


@dataclass(slots=True, eq=False)
class _Entry:
    rows: Sequence[Row]
    check: Callable[[], None]
    within_s: float
    done: bool = False
    error: Exception | None = None

    def is_in_time(self) -> bool:
        try:
            self.check()
        except ClinicalError as error:
            self.error = error
        return self.error is None

    def settle(self) -> None:
        if self.error is not None:
            raise self.error
        if not self.done:
            raise Fault("rows were lost on the way to the database")


class Ledger:
    """Writes rows of many threads of one process together. Made after a fork, like what it is made for."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._waiting: list[_Entry] = []

    def write(
        self, rows: Sequence[Row], check: Callable[[], None] = always, *, within_s: float = BUSY_TIMEOUT_S
    ) -> None:
        """Return when the rows are committed, all of them or none.

        check: asked just before they are written; what it raises is raised here, and nothing is written.
        within_s: how long other writers may keep us waiting.

        Raises Busy when the database is away or locked, Fault when it refuses a row.
        """
        if not rows:
            check()
            return
        entry = _Entry(rows, check, within_s)
        with self._lock:
            self._waiting.append(entry)
        if self._turn.acquire(timeout=within_s):
            try:
                if not entry.done:
                    self._commit(self._taken())
            finally:
                self._turn.release()
        else:
            self._withdraw(entry)
        entry.settle()

    def _taken(self) -> list[_Entry]:
        with self._lock:
            batch, self._waiting = self._waiting, []
        return batch

    def _withdraw(self, entry: _Entry) -> None:
        with self._lock:
            if entry in self._waiting:
                self._waiting.remove(entry)
                entry.error = Busy("the database is busy with another writer")
                return
        with self._turn:  # it is being written, and whether it was is known in a moment
            pass

    def _commit(self, batch: Sequence[_Entry]) -> None:
        try:
            with self._db.append(max((entry.within_s for entry in batch), default=0.0)) as add:
                _insert(add, [entry for entry in batch if entry.is_in_time()])
        except Fault as error:
            if len(batch) > 1:
                # One row that the database refuses is not the others' failure.
                for entry in batch:
                    self._commit([entry])
                return
            batch[0].error = error
        except ClinicalError as error:
            for entry in batch:
                entry.error = entry.error or error
        for entry in batch:
            entry.done = True


def _insert(add: AddRows, entries: Sequence[_Entry]) -> None:
    by_table: dict[str, tuple[Table, list[Mapping[str, object]]]] = {}
    for table, values in (row for entry in entries for row in entry.rows):
        by_table.setdefault(table.name, (table, []))[1].append(values)
    for table, rows in by_table.values():
        add(table, rows)
