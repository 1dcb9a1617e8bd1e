"""What a dead process has left in its journals is made durable otherwise, before who starts serves anybody.

Others may be serving meanwhile. A loss of power takes files and rows; a process that was killed leaves its rows,
and the senders of what has none yet may be bringing it again at this moment.

Every object that was answered with Success is in one of them or on the disk. One that was not answered may be
there too, whole: it is stored then, and its sender's next try finds it. One that was answered otherwise is not.
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import select

from clinical.clock import Clock
from clinical.errors import IncorrectInput
from record_store.also_sent import FETCHED
from record_store.arrival_row import from_bytes
from record_store.blobs import LocalBlobs
from record_store.database import Database
from record_store.instances import ReceivedInstance, Taken, record_instances
from record_store.intents import Intents
from record_store.journal import SUFFIX, UNFINISHED, Entry, JournalFile
from record_store.parts import PartFile
from record_store.tables import instance as instance_table

log = structlog.get_logger()


def replay(db: Database, blobs: LocalBlobs, now: Clock) -> int:
    """Store what is missing, make all of it durable and take the journals away; return how many were missing.

    Raises Busy or Fault when store or database is away; the journals stay then.
    """
    for path in blobs.staging.glob(f"*{UNFINISHED}"):
        _take_away(path)
    missing, intents = 0, Intents(blobs.staging)
    for path in sorted(blobs.staging.glob(f"*{SUFFIX}"), key=_written_at):
        journal = JournalFile.left_behind(path)
        if journal is None:
            continue
        try:
            missing += _Replay(journal, db, blobs, now, intents).run()
        finally:
            journal.close()
            intents.close()
        path.unlink(missing_ok=True)
    return missing


def _written_at(path: Path) -> float:
    # Of two contents under one UID the first counts.
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0


def _take_away(path: Path) -> None:
    """Remove a journal whose process was killed while it made it."""
    journal = JournalFile.left_behind(path)
    if journal is not None:
        journal.remove()


@dataclass(frozen=True, slots=True)
class _Replay:
    """Of one journal. intents: what is between its file and its row while this one is killed."""

    journal: JournalFile
    db: Database
    blobs: LocalBlobs
    now: Clock
    intents: Intents

    def run(self) -> int:
        """Settle all of it; return how much was missing."""
        missing, names = 0, []
        for entry in self.journal.entries():
            try:
                instance = from_bytes(entry.row)
            except IncorrectInput as error:
                # Never thrown away unseen: the file stays, under a name that no start looks at.
                self.journal.path.rename(self.journal.path.with_suffix(".unread"))
                log.error("journal not read", why=error.message)  # noqa: TRY400
                break
            missing += self._restore(entry, instance)
            names.append(instance.sha256)
        self.blobs.settle(names)
        self.db.settle()
        return missing

    def _restore(self, entry: Entry, instance: ReceivedInstance) -> bool:
        known, is_sent_too = self._known(instance)
        # Refused, as its UID had other bytes, or failed: a row that came of that all the same needs its file.
        if known != instance.sha256 and (known is not None or entry.is_taken_back):
            return False
        with self.intents.taking([instance.sha256]) as without_row:
            # Looked for when no sweep can take it any more: what a killed process has left has no row.
            is_here = self.blobs.has_whole_file(instance.sha256)
            if not is_here and not self._make_file(entry, instance):
                return False  # not whole, so its flush was never over and nobody was told of it
            if known is None or is_sent_too:
                with self.db.record() as run:
                    (taken,) = record_instances(run, self.db.dialect, [instance], self.now())
                if taken is Taken.DIFFERENT:  # its sender has just brought other bytes under this UID
                    without_row.add(instance.sha256)
                    return False
        return not is_here or known is None

    def _known(self, instance: ReceivedInstance) -> tuple[str | None, bool]:
        """Return the bytes that its row names, and whether it is not written there that they were sent, too."""
        table = instance_table.c
        query = select(table.sha256, table.fetched).where(table.sop_instance_uid == instance.sop_instance_uid)
        with self.db.read() as conn:
            row = conn.execute(query).one_or_none()
        return (row.sha256, row.fetched == FETCHED and not instance.fetched) if row is not None else (None, False)

    def _make_file(self, entry: Entry, instance: ReceivedInstance) -> bool:
        data = self.journal.read(entry)
        if hashlib.sha256(data).hexdigest() != instance.sha256:
            return False
        part = PartFile.new(self.blobs.staging)
        part.hold([data])
        (error,) = self.blobs.adopt_all([part])
        if error is not None:
            raise error
        return True
