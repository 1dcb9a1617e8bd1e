"""Asks the interlocks about a study that is about to be closed; what a person has released is not asked again."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from clinical.errors import IncorrectInput, NotFound
from consilium.interlocks import Interlocks, why_held
from consilium.selection import Selecting
from dicom_node.header import Header
from record_store.audit import digest
from record_store.database import Database
from record_store.instances import InstanceRow, instances_of
from record_store.tables import audit
from record_store.times import from_text


@dataclass(frozen=True, slots=True)
class Holding:
    """Reads the headers of a study's images and says why it must be held."""

    db: Database
    selecting: Selecting
    interlocks: Interlocks

    def reason(self, study_uid: str, modalities: Collection[str]) -> str | None:
        """Return why the study must be held, or None. modalities: of the images that models read."""
        with self.db.read() as conn:
            rows = instances_of(conn, study_uid)
            released = _released_at(conn, study_uid)
        headers = [header for header in map(self._header, rows) if header and header.modality in modalities]
        seen = {row.sop_instance_uid for row in rows if released is not None and row.received_at <= released}
        return why_held(self.interlocks, headers, frozenset(seen))

    def _header(self, row: InstanceRow) -> Header | None:
        try:
            return self.selecting.image(row).header
        except (NotFound, IncorrectInput):
            return None  # its job will fail and say so


def _released_at(conn: Connection, study_uid: str) -> datetime | None:
    # The audit is the record of who looked, in the transaction that released the study.
    query = select(func.max(audit.c.at)).where(
        audit.c.action == "study-released", audit.c.subject == digest(study_uid)
    )
    found = conn.execute(query).scalar_one()
    return None if found is None else from_text(found)
