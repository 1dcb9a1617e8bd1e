"""Writes down what peers tell of a study besides its objects: that a sender is done, what there is to come."""

from collections.abc import Collection
from dataclasses import dataclass

import structlog

from clinical.clock import Clock
from clinical.errors import Busy, Fault
from dicom_node.bearers import BearersEnd
from record_store import announcements
from record_store.announcements import Announcement
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.database import Database
from record_store.evidence import association_ended

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Witness:
    """Keeps evidence in the database. It is `dicom_node.announcing.Announcements`, and StorageScp's `ended`."""

    db: Database
    now: Clock

    def ended(self, end: BearersEnd) -> None:
        """Keep how the associations of some studies ended. Never raises: without it, the quiet time decides."""
        try:
            with self.db.write(durable=False) as conn:
                association_ended(conn, end.studies, self.now(), released=end.released)
        except (Busy, Fault) as error:
            log.warning("end of an association not written down", calling_ae=end.calling_ae, why=error.message)

    def announce(self, said: Announcement) -> bool:
        """Keep an announcement; False when there is one of this UID already. Raises Busy."""
        with self.db.write() as conn:
            new = announcements.announce(conn, said, self.now())
            if new:
                for study_uid in sorted(said.studies):
                    append_audit(
                        conn,
                        at=self.now(),
                        action="study-announced",
                        outcome=said.state.replace(" ", "-"),
                        actor=f"ae:{said.said_by}",
                        subject=digest(study_uid),
                        detail={"kind": said.kind, "objects": len(said.objects)},
                    )
        return new

    def state(self, uid: str) -> str | None:
        """Return where an announcement stands, None when there is none of this UID. Raises Busy."""
        with self.db.read() as conn:
            return announcements.state_of(conn, uid)

    def amend(self, uid: str, state: str, objects: Collection[str] | None) -> bool:
        """Change where an announcement stands, and what it lists unless that is None; False when it is final.

        Raises Busy.
        """
        with self.db.write() as conn:
            return announcements.amend(conn, uid, state, objects, self.now())
