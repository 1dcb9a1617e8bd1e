"""The end of receiving: a part becomes a durable object with its row, for all who wait at once (group commit).

Small ones into a journal and flushed, or files flushed, renamed, their folders flushed; then one transaction
with all rows; then everybody answers. A file whose flush failed fails alone; a transaction that failed fails those
whose rows were in it, for whether they are durable is not known.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum

import structlog
from sqlalchemy import bindparam, select

from clinical.clock import Clock
from clinical.errors import Busy, ClinicalError, Fault
from record_store.blobs import Blobs, FaultPoint, LocalBlobs
from record_store.database import Database
from record_store.instances import ReceivedInstance, Taken, record_instances
from record_store.intents import Intents
from record_store.journal import JournalFile
from record_store.keeping import Keeping
from record_store.parts import PartFile
from record_store.replay import replay
from record_store.settling import Place, settle
from record_store.tables import result_object
from record_store.turns import Turns

MOST_AT_ONCE = 64
_SUCCESS = (Taken.NEW, Taken.SAME)

_RESULT = select(result_object.c.sha256).where(result_object.c.sop_instance_uid == bindparam("uid"))

log = structlog.get_logger()


class _TakenBack(Exception):
    """What was written is not to be committed."""


class NotCommitted(Busy):
    """The object is stored and its row is not: the database is away."""


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """A complete part and the row for it, which carries the part's own sha256 and size."""

    part: PartFile
    instance: ReceivedInstance


class Flush(StrEnum):
    """What is on the disk before an arrival is taken."""

    JOURNAL = "journal"  # small objects and their rows in one preallocated file; larger ones as FILES
    FILES = "files"  # each file, its folder and the database's log
    NEVER = "never"  # nothing: a loss of power takes the last seconds. For measuring.


class Taking:
    """Takes arrivals of all threads of one process.

    fault: called at "before-commit" and "after-commit", with a journal at "after-journal". A journal is used
    between `start` and `stop`, in a local store.
    """

    def __init__(
        self,
        db: Database,
        blobs: Blobs,
        now: Clock,
        fault: FaultPoint = lambda _point: None,
        flush: Flush = Flush.FILES,
    ) -> None:
        self._db, self._blobs, self._now, self._fault = db, blobs, now, fault
        self._flush = flush
        self._keeping: Keeping | None = None
        self._intents = Intents(blobs.staging)
        self._turns = Turns[Arrival, Taken](self._take_all, MOST_AT_ONCE)

    def start(self, *, at_once: bool = True) -> None:
        """Restore what a loss of power took, and begin a journal where one is wanted: at once, or at first need.

        Raises Busy or Fault when a journal of before cannot be replayed.
        """
        if not isinstance(self._blobs, LocalBlobs):
            return
        self._blobs.prepare()
        restored = replay(self._db, self._blobs, self._now)
        if restored:
            log.warning("objects restored from the journal", count=restored)
        if self._flush is Flush.JOURNAL:
            blobs = self._blobs

            def settled(journal: JournalFile, places: Sequence[Place]) -> None:
                settle(journal, places, self._db, blobs)

            self._keeping = Keeping(blobs.staging, settled, at_once=at_once)
            self._keeping.start()

    def stop(self) -> None:
        """Make durable what only the journal holds. Arrivals may still come, and are flushed as files."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.stop()

    def take(self, part: PartFile, instance: ReceivedInstance) -> Taken:
        """Return when the object is durable and its study is queued; the part is closed then.

        Raises Busy or Fault when it is not for certain: NotCommitted when the database is away, else what the
        store said. The part's file may then still be there, for the caller to discard.
        """
        return self._turns.do(Arrival(part, instance))

    def rehearse(self, part: PartFile, instance: ReceivedInstance) -> Taken:
        """Do what `take` does with rows, and take it back; nothing is kept in a journal.

        On SQLite; a PostgreSQL would count the audit row that is taken back.
        """
        if self._db.dialect == "sqlite":
            with suppress(_TakenBack), self._db.record(durable=False) as run:
                for one in (instance, replace(instance, sop_instance_uid=f"{instance.sop_instance_uid}.1")):
                    record_instances(run, self._db.dialect, [one], self._now())  # a study's first, and another
                raise _TakenBack
        part.discard()
        return Taken.NEW

    def _take_all(self, batch: Sequence[Arrival]) -> Sequence[Taken | Exception]:
        keeping, parts = self._keeping, [one.part for one in batch]
        if keeping is None or not keeping.keep(parts, [one.instance for one in batch]):
            return self._take_files(batch, later=self._flush is Flush.NEVER)
        try:
            self._fault("after-journal")
            taken = self._take_kept(batch)
            # Else who makes rows anew after a loss of power may meet these before what was taken under their UID,
            # also when they failed: their sender may bring it corrected.
            refused = [number for number, what in enumerate(taken) if what not in _SUCCESS]
            if refused:
                keeping.take_back(refused)
        finally:
            keeping.done()
        for part in parts:
            part.close()
        return taken

    def _take_kept(self, batch: Sequence[Arrival]) -> Sequence[Taken | Exception]:
        if not all(one.part.is_held for one in batch):
            return self._take_files(batch, later=True)
        outcomes: dict[Arrival, Taken | Exception] = {}
        self._commit(batch, outcomes, durable=False)
        self._fault("after-commit")
        return [outcomes[one] for one in batch]

    def _take_files(self, batch: Sequence[Arrival], *, later: bool) -> Sequence[Taken | Exception]:
        """Take those that are files, or become some now. later: others make them durable."""
        outcomes: dict[Arrival, Taken | Exception] = {}
        with self._intents.taking([one.part.sha256 for one in batch]) as without_row:
            stored = []
            parts = [one.part for one in batch]
            errors = self._blobs.place_all(parts) if later else self._blobs.adopt_all(parts)
            for one, error in zip(batch, errors, strict=True):
                if error is None:
                    stored.append(one)
                else:
                    outcomes[one] = error
            self._commit(stored, outcomes, durable=not later)
            without_row.update(one.part.sha256 for one in batch if isinstance(outcomes[one], Exception))
            self._fault("after-commit")
            without_row.update(self._not_forgotten(stored, outcomes))
        return [outcomes[one] for one in batch]

    def _commit(
        self, stored: Sequence[Arrival], outcomes: dict[Arrival, Taken | Exception], *, durable: bool
    ) -> None:
        if not stored:
            return
        try:
            with self._db.record(durable=durable) as run:
                rows = [one.instance for one in stored]
                taken = record_instances(run, self._db.dialect, rows, self._now())
                self._fault("before-commit")
        except Fault as error:
            if len(stored) > 1:  # one row that the database refuses is not the others' failure
                for one in stored:
                    self._commit([one], outcomes, durable=durable)
            else:
                outcomes[stored[0]] = error
        except Busy as error:
            outcomes.update(dict.fromkeys(stored, NotCommitted(error.message)))
        else:
            outcomes.update(zip(stored, taken, strict=True))

    def _not_forgotten(self, stored: Sequence[Arrival], outcomes: dict[Arrival, Taken | Exception]) -> set[str]:
        """Remove second bytes, and return those that are left to the sweep.

        They name an instance whose row keeps its first bytes. An archive that corrects its headers and sends all
        again must not fill the disk. But they may be a result of ours, of which it sent a changed one first.
        """
        left = set()
        for one in stored:
            if outcomes[one] is Taken.DIFFERENT:
                try:
                    with self._db.read() as conn:
                        ours = conn.execute(_RESULT, {"uid": one.instance.sop_instance_uid}).scalar()
                    if ours != one.part.sha256:
                        self._blobs.remove(one.part.sha256)
                except ClinicalError as error:
                    log.warning("second bytes not removed", why=error.message)
                    left.add(one.part.sha256)
        return left
