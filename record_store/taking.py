"""The end of receiving: a part becomes a durable object with its row, for all who wait at once (group commit).

Files flushed, renamed, their folders flushed, then one transaction with all rows; then everybody answers. A part
whose flush failed fails alone; a transaction that failed fails those whose rows were in it, for whether they
are durable is not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from clinical.clock import Clock
from clinical.errors import Busy, ClinicalError, Fault
from record_store.blobs import Blobs, FaultPoint
from record_store.database import Database
from record_store.instances import ReceivedInstance, Taken, record_instances
from record_store.intents import Intents
from record_store.parts import PartFile
from record_store.turns import Turns

MOST_AT_ONCE = 64


class NotCommitted(Busy):
    """The object is stored and its row is not: the database is away."""


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """A complete part and the row for it, which carries the part's own sha256 and size."""

    part: PartFile
    instance: ReceivedInstance


class Taking:
    """Takes arrivals of all threads of one process. fault: called at "before-commit" and "after-commit"."""

    def __init__(self, db: Database, blobs: Blobs, now: Clock, fault: FaultPoint = lambda _point: None) -> None:
        self._db, self._blobs, self._now, self._fault = db, blobs, now, fault
        self._intents = Intents(blobs.staging)
        self._turns = Turns[Arrival, Taken](self._take_all, MOST_AT_ONCE)

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
            for one, error in zip(batch, self._blobs.adopt_all([one.part for one in batch]), strict=True):
                if error is None:
                    stored.append(one)
                else:
                    outcomes[one] = error
            self._commit(stored, outcomes)
            without_row |= {one.part.sha256 for one in batch if isinstance(outcomes[one], Exception)}
            self._fault("after-commit")
            self._forget_second_bytes(stored, outcomes)
        return [outcomes[one] for one in batch]

    def _commit(self, stored: Sequence[Arrival], outcomes: dict[Arrival, Taken | Exception]) -> None:
        if not stored:
            return
        try:
            with self._db.record() as run:
                rows = [one.instance for one in stored]
                taken = record_instances(run, self._db.dialect, rows, self._now())
                self._fault("before-commit")
        except Fault as error:
            if len(stored) > 1:  # one row that the database refuses is not the others' failure
                for one in stored:
                    self._commit([one], outcomes)
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
