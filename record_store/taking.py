"""The end of receiving: a part becomes a durable object with its row, for all who wait at once (group commit).

Files flushed, renamed, their folders flushed, then one transaction with all rows; then everybody answers. A part
whose flush failed fails alone; a transaction that failed fails those whose rows were in it, for whether they
are durable is not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import structlog

from clinical.clock import Clock
from clinical.errors import Busy, ClinicalError, Fault
from record_store.arrival_row import to_bytes
from record_store.blobs import Blobs, FaultPoint, LocalBlobs
from record_store.database import Database
from record_store.instances import ReceivedInstance, Taken, record_instances
from record_store.intents import Intents
from record_store.keeping import Keeping
from record_store.parts import PartFile
from record_store.replay import replay
from record_store.turns import Turns

MOST_AT_ONCE = 64

log = structlog.get_logger()


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

    def start(self) -> None:
        """Restore what a loss of power took, and begin a journal where one is wanted.

        Raises Busy or Fault when a journal of before cannot be replayed.
        """
        if not isinstance(self._blobs, LocalBlobs):
            return
        self._blobs.prepare()
        restored = replay(self._db, self._blobs, self._now)
        if restored:
            log.warning("objects restored from the journal", count=restored)
        if self._flush is Flush.JOURNAL:
            self._keeping = Keeping(self._blobs.staging, self._settle)
            self._keeping.start()

    def stop(self) -> None:
        """Make durable what only the journal holds. Arrivals may still come, and are flushed as files."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.stop()

    def _settle(self, names: Sequence[str]) -> None:
        self._blobs.settle(names)
        self._db.settle()

    def take(self, part: PartFile, instance: ReceivedInstance) -> Taken:
        """Return when the object is durable and its study is queued; the part is closed then.

        Raises Busy or Fault when it is not for certain: NotCommitted when the database is away, else what the
        store said. The part's file may then still be there, for the caller to discard.
        """
        return self._turns.do(Arrival(part, instance))

    def _take_all(self, batch: Sequence[Arrival]) -> Sequence[Taken | Exception]:
        outcomes: dict[Arrival, Taken | Exception] = {}
        with self._intents.taking([one.part.sha256 for one in batch]) as without_row:
            stored = []
            parts = [one.part for one in batch]
            later = self._flush is Flush.NEVER or self._is_kept(batch)
            errors = self._blobs.place_all(parts) if later else self._blobs.adopt_all(parts)
            for one, error in zip(batch, errors, strict=True):
                if error is None:
                    stored.append(one)
                else:
                    outcomes[one] = error
            self._commit(stored, outcomes, durable=not later)
            without_row |= {one.part.sha256 for one in batch if isinstance(outcomes[one], Exception)}
            self._fault("after-commit")
            self._forget_second_bytes(stored, outcomes)
        return [outcomes[one] for one in batch]

    def _is_kept(self, batch: Sequence[Arrival]) -> bool:
        keeping = self._keeping
        if keeping is None or not keeping.keep(
            [one.part for one in batch], [to_bytes(one.instance) for one in batch]
        ):
            return False
        self._fault("after-journal")
        return True

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

    def _forget_second_bytes(self, stored: Sequence[Arrival], outcomes: dict[Arrival, Taken | Exception]) -> None:
        # These bytes name an instance whose row keeps its first ones, so nothing will ever refer to them. An
        # archive that corrects its headers and sends everything again must not fill the disk.
        for one in stored:
            if outcomes[one] is Taken.DIFFERENT:
                try:
                    self._blobs.remove(one.part.sha256)
                except ClinicalError as error:
                    outcomes[one] = error
