"""A model over studies that are stored. It may be cut off and started again: what is read is not read again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from clinical.clock import Clock
from clinical.errors import NotFound
from clinical.finding import ModelRef
from consilium.shadow.models import OneModel
from consilium.shadow.owners import free_what_is_left
from consilium.shadow.reading import LeftOff, ShadowReader
from record_store import shadows
from record_store.audit import append as append_audit
from record_store.database import Database
from record_store.study_history import find_study

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of the studies. read: now, and images of them; before: read already.

    failed: of those read now. not_tried: failed before, too often or just now, or another process has it.
    left: not looked at, because somebody ended it.
    """

    studies: int
    read: int
    images: int
    before: int
    failed: int
    not_tried: int
    left: int


@dataclass(frozen=True, slots=True)
class Replay:
    """actor: who asked, for the audit (`checked_operator`)."""

    db: Database
    reader: ShadowReader
    now: Clock
    actor: str

    def studies(
        self, model: OneModel, named: Sequence[str], since: datetime | None = None, until: datetime | None = None
    ) -> list[str]:
        """Return the UIDs of the studies that are meant: those named by UID or digest, or all that are stored.

        since, until: when their last object came. Raises NotFound for a name that no study has.
        """
        with self.db.read() as conn:
            if not named:
                return shadows.stored_between(conn, model.manifest().modalities, since, until)
            found = [find_study(conn, one) for one in named]
        if None in found:
            raise NotFound(f"no study has the UID or digest that is number {found.index(None) + 1} of those named")
        return [uid for uid in dict.fromkeys(found) if uid is not None]

    def run(
        self, model: OneModel, uids: Sequence[str], progress: Progress = lambda _done, _all: None, *, retry: bool
    ) -> Replayed:
        """Read studies one after the other. retry: also what has failed too often.

        Raises PreconditionMissing when other files have read under the model's version.
        """
        ref = model.manifest().ref
        with self.db.write() as conn:
            shadows.know(conn, ref)
            if retry:
                shadows.try_again(conn, ref)
        free_what_is_left(self.db, self.now)
        self._audit(ref.label, "begun", {"studies": len(uids)})
        read = images = failed = before = looked_at = 0
        try:
            for number, uid in enumerate(uids):
                progress(number, len(uids))
                outcome = self.reader.read(model, uid)
                looked_at = number + 1
                if outcome is None:
                    before += self._is_read(ref, uid)
                else:
                    read, images = read + 1, images + outcome.images
                    failed += bool(outcome.failures)
            progress(len(uids), len(uids))
        except LeftOff:
            pass
        not_tried, left = looked_at - read - before, len(uids) - looked_at
        made = Replayed(len(uids), read, images, before, failed, not_tried, left)
        self._audit(ref.label, "left-off" if made.left else "ended", {"read": read, "failed": failed})
        return made

    def _is_read(self, model: ModelRef, uid: str) -> bool:
        with self.db.read() as conn:
            row = shadows.row_of(conn, model, uid)
        return row is not None and row.state == shadows.DONE

    def forget(self, model: str, version: str) -> int:
        """Remove all that a model has read for nobody to see; return how many readings that were.

        Raises NotFound when it has read nothing: a misspelt version is not forgotten.
        """
        with self.db.read() as conn:
            if not shadows.is_known(conn, model, version):
                raise NotFound("nothing was read in shadow or a replay by a model of this name and version")
        gone, some = 0, shadows.FORGET_AT_ONCE
        while some == shadows.FORGET_AT_ONCE:
            with self.db.write() as conn:
                some = shadows.forget_some(conn, model, version)
            gone += some
        self._audit(f"{model} {version}", "forgotten", {"readings": gone})
        return gone

    def _audit(self, model: str, outcome: str, detail: dict[str, int]) -> None:
        with self.db.write() as conn:
            append_audit(
                conn,
                at=self.now(),
                action="shadow-replay",
                outcome=outcome,
                actor=self.actor,
                subject=f"model {model}",
                detail=detail,
            )
