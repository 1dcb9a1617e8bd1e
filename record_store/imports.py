"""What was imported from files, by their digests: an import goes on where it ended, and does nothing twice."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update

from record_store.sql import insert_once
from record_store.tables import fhir_import
from record_store.times import to_text

HERE = ""  # the target that is this store


@dataclass(frozen=True, slots=True)
class Imported:
    """How far a file has come. done: resources from its start. refused: how many of them were."""

    done: int = 0
    refused: int = 0
    finished: bool = False


def imported(conn: Connection, digest: str, target: str = HERE) -> Imported:
    """Return how far the file of this sha256 has come."""
    row = conn.execute(
        select(fhir_import.c.done, fhir_import.c.refused, fhir_import.c.finished_at).where(
            fhir_import.c.digest == digest, fhir_import.c.target == target
        )
    ).first()
    return Imported() if row is None else Imported(row[0], row[1], row[2] is not None)


def note(conn: Connection, digest: str, now: datetime, so_far: Imported, target: str = HERE) -> None:
    """Keep how far a file has come, in the transaction of what was written."""
    at = to_text(now)
    values = {
        "done": so_far.done,
        "refused": so_far.refused,
        "updated_at": at,
        "finished_at": at if so_far.finished else None,
    }
    own = {"digest": digest, "target": target}
    if not insert_once(conn, fhir_import, own | values, ("digest", "target")):
        where = (fhir_import.c.digest == digest, fhir_import.c.target == target)
        conn.execute(update(fhir_import).where(*where).values(values))
