"""Results of hook calls, written with the card and filed as FHIR resources by the worker.

A row that waits holds who the patient is; a filed one only what the model read and said, so that it can be
computed again. What cannot be filed is removed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import orjson
from sqlalchemy import Connection, delete, select, update

from clinical.identity import PatientKey
from clinical.said import Said
from record_store.ledger import Row
from record_store.said_json import from_json, to_json
from record_store.tables import ai_result as table
from record_store.times import to_text

WAITING, FILED = "waiting", "filed"


@dataclass(frozen=True, slots=True)
class WaitingResult:
    """One result to be filed. keys: the patient's identifiers. chart: the Patient's id, where it is of ours."""

    row: int
    said: Said
    keys: tuple[PatientKey, ...] = field(repr=False)
    chart: str | None


def row_of(said: Said, keys: Sequence[PatientKey], chart: str | None, now: datetime) -> Row:
    """Return the row of a result for `record_store.ledger`."""
    return table, {
        "at": to_text(now),
        "state": WAITING,
        "model": said.model.name,
        "patient": orjson.dumps({"keys": [[key.system, key.value] for key in keys], "chart": chart}).decode(),
        "provenance": "",
        "body": to_json(said),
    }


def waiting(conn: Connection, limit: int) -> list[WaitingResult]:
    """Return results that wait, the oldest first."""
    query = select(table).where(table.c.state == WAITING).order_by(table.c.row).limit(limit)
    found = []
    for row in conn.execute(query):
        patient = orjson.loads(row.patient)
        keys = tuple(PatientKey(system, value) for system, value in patient["keys"])
        found.append(WaitingResult(row.row, from_json(row.body), keys, patient["chart"]))
    return found


def filed(conn: Connection, row: int, provenance_id: str) -> None:
    """Say that a result stands under the Provenance of this id; who the patient is stands there."""
    values = {"state": FILED, "provenance": provenance_id, "patient": ""}
    conn.execute(update(table).where(table.c.row == row).values(**values))


def remove(conn: Connection, row: int) -> None:
    """Remove a result that is not to be filed."""
    conn.execute(delete(table).where(table.c.row == row))


def said_of(conn: Connection, provenance_id: str) -> Said | None:
    """Return what stands under a Provenance, None when it is none of a hook's."""
    query = select(table.c.body).where(table.c.provenance == provenance_id).order_by(table.c.row).limit(1)
    body = conn.execute(query).scalar()
    return None if body is None or not provenance_id else from_json(body)
