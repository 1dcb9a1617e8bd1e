"""Behind the sealing of the audit: accesses to the FHIR API become AuditEvents in it."""

from base64 import b64decode
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, select, tuple_

from fhir_adapters.access.refusals import ACTION as REFUSED
from fhir_adapters.resources.access_event import AccessFacts, access_event, patient_in_query
from fhir_adapters.search.index import index_of
from fhir_adapters.search.parameters import TYPES
from record_store.accesses import ACTION
from record_store.audit_chain import AuditRow
from record_store.exchanges import Outcome
from record_store.resource_history import version
from record_store.resources import NewResource, put_all
from record_store.tables import resource
from record_store.times import to_text

Key = tuple[str, str]

_TOLD = ("query", "client_id", "token_id", "purpose", "address", "request_id")


def publish_accesses(conn: Connection, rows: Sequence[AuditRow], base_url: str, now: datetime) -> None:
    """Write the AuditEvents of those rows that are accesses, in the caller's transaction; each row once.

    base_url: of the FHIR API.
    """
    facts = [(row, facts_of(row)) for row in rows if _is_access(row)]
    if not facts:
        return
    patients = _patients(conn, {(one.resource_type, one.resource_id) for _, one in facts if one.resource_id})
    updated = to_text(now)
    put_all(conn, [_stored(row, one, patients, base_url, updated) for row, one in facts])


def _is_access(row: AuditRow) -> bool:
    return row["action"] == REFUSED or str(row["action"]).startswith(ACTION)


def facts_of(row: AuditRow) -> AccessFacts:
    """Return what a row of `record_store.accesses` says, or one of who was not let in."""
    told: dict[str, Any] = orjson.loads(row["detail"])
    kind, _, name = str(row["subject"]).partition("/")
    known = kind in TYPES
    refused = row["action"] == REFUSED
    return AccessFacts(
        interaction="$authenticate" if refused else str(row["action"]).removeprefix(ACTION),
        outcome=Outcome.SERIOUS if refused else row["outcome"],
        at=row["at"],
        who=row["actor"],
        subject=row["subject"],
        resource_type=kind if known else "",
        resource_id=name if known else "",
        version=told.get("version"),
        problem=told.get("reason", told.get("problem", "")),
        **{field: told.get(field, "") for field in _TOLD},
    )


def _stored(
    row: AuditRow, facts: AccessFacts, patients: dict[Key, str], base_url: str, updated: str
) -> NewResource:
    patient = orjson.loads(row["detail"]).get("patient") or patients.get((facts.resource_type, facts.resource_id))
    if patient is None and facts.query:
        request = b64decode(facts.query).decode(errors="replace")
        patient = patient_in_query(facts, request, base_url)
    own = f"access-{row['row']}"
    event = access_event(facts, resource_id=own, base_url=base_url, patient_id=patient)
    meta = {**event.get("meta", {}), "versionId": "1", "lastUpdated": updated}
    body = {"resourceType": "AuditEvent", "id": own, "meta": meta} | {
        name: value for name, value in event.items() if name not in ("resourceType", "id", "meta")
    }
    indexed = index_of(body, base_url)
    return NewResource(
        type="AuditEvent",
        id=own,
        version=1,
        updated=updated,
        body=orjson.dumps(body),
        index=indexed.rows,
        patient=indexed.patient,
        code=indexed.code,
        date_lo=indexed.date_lo,
        method="POST",
    )


def _patients(conn: Connection, keys: set[Key]) -> dict[Key, str]:
    """Return the patients whom resources are about, by (type, id); of a deleted one, whom it was about."""
    found = {(kind, name): name for kind, name in keys if kind == "Patient"}
    for row in _rows(conn, keys - found.keys()):
        patient = _before(conn, row.type, row.id, row.version) if row.deleted else row.patient
        if patient:
            found[row.type, row.id] = patient
    return found


def _rows(conn: Connection, keys: Iterable[Key]) -> Iterable[Any]:
    columns = (resource.c.type, resource.c.id, resource.c.version, resource.c.deleted, resource.c.patient)
    wanted = sorted(keys)
    return (
        conn.execute(select(*columns).where(tuple_(resource.c.type, resource.c.id).in_(wanted))).all()
        if wanted
        else []
    )


def _before(conn: Connection, kind: str, name: str, number: int) -> str | None:
    earlier = version(conn, kind, name, number - 1)
    return None if earlier is None or earlier.deleted else index_of(orjson.loads(earlier.stored.body), "").patient
