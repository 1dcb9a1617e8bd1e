"""FHIR resources: bytes, versions, and the narrow index rows that searches read (`resource_search`).

What a row means (which element is a `date`, what a token matches) is decided in `fhir_adapters/search`.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, text

from clinical.errors import Busy
from record_store import outbox, subscriptions
from record_store.index_rows import IndexRows, delete_rows, insert_rows
from record_store.sql import placed
from record_store.tables import resource

MAX_HOT_CODE_BYTES = 256
# Of the table of search parameters: with another one, what is stored has to be indexed again (`reindexing`).
INDEX_VERSION = 1
_PUBLISH_LOCK = 0x6668697270756273  # "fhirpubs": one number for all writers that look before they write


@dataclass(frozen=True, slots=True)
class StoredResource:
    """One version as it is served; body is exactly what was stored."""

    type: str
    id: str
    version: int
    updated: str
    body: bytes


@dataclass(frozen=True, slots=True)
class NewResource:
    """One version to store.

    version: 1 for a new resource, else the stored one plus 1. updated: `times.to_text`.
    patient: id of the Patient it is about. code: `hot_code` when it has exactly one coding, else None.
    date_lo: start of its main date. These three are the hot columns; they must agree with the index.
    method: the HTTP method that made it, for the history. deleted: it says that the resource is gone (no body).
    aside: of a Subscription that a client writes, what is kept beside it (`subscriptions.want`).
    """

    type: str
    id: str
    version: int
    updated: str
    body: bytes
    index: IndexRows
    patient: str | None = None
    code: str | None = None
    date_lo: str | None = None
    method: str = ""
    deleted: bool = False
    aside: subscriptions.Wanted | None = None

    @property
    def stored(self) -> StoredResource:
        """It as it will be served."""
        return StoredResource(self.type, self.id, self.version, self.updated, self.body)


STORED = (resource.c.type, resource.c.id, resource.c.version, resource.c.updated, resource.c.body)
_ALIVE = resource.c.deleted == 0


def lock_writers(conn: Connection) -> None:
    """Make this transaction the only one that looks and then writes (upsert) until it ends.

    SQLite's write transaction is exclusive already; PostgreSQL takes an advisory lock.
    """
    if conn.dialect.name == "postgresql":
        conn.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _PUBLISH_LOCK})


def lock_key(conn: Connection, key: str) -> None:
    """Let one transaction at a time look and then write under this key (a resource, a condition), until it ends.

    SQLite's write transaction is exclusive already; PostgreSQL takes an advisory lock of 64 bits of its digest.
    """
    if conn.dialect.name == "postgresql":
        number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big", signed=True)
        conn.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": number})


def condition_key(resource_type: str, used: Iterable[tuple[str, str]]) -> str:
    """Return the key for `lock_key` of a condition: search parameters with their values, in any order."""
    return f"{resource_type}?{sorted(used)}"


def put(conn: Connection, new: NewResource) -> None:
    """Store one version in the caller's transaction; as `put_all`."""
    put_all(conn, [new])


def put_all(conn: Connection, news: Sequence[NewResource]) -> None:
    """Store versions in the caller's transaction: first ones are inserted, later ones replace.

    Superseded versions move to the history, and each version is told in the outbox. Raises Busy when another
    writer was quicker with a version.
    """
    for batch in _each_once(news):
        later = [new for new in batch if new.version > 1]
        if later:
            _replace(conn, later)
        first = [_resource_row(new) for new in batch if new.version == 1]
        if first:
            conn.execute(insert(resource), first)
        insert_rows(conn, [(new.type, new.id, new.index) for new in batch])
    for new in news:
        if new.aside is not None:
            subscriptions.want(conn, new.id, new.version, new.aside, new.updated)
    outbox.add(conn, [(new.type, new.id, new.version) for new in news])


def read(conn: Connection, resource_type: str, resource_id: str) -> StoredResource | None:
    """Return the current version, or None."""
    row = conn.execute(
        select(*STORED).where(resource.c.type == resource_type, resource.c.id == resource_id, _ALIVE)
    ).first()
    return None if row is None else StoredResource(*row)


def _each_once(news: Sequence[NewResource]) -> Iterator[Sequence[NewResource]]:
    """Yield the versions in their order, so parted that each resource is in a part once."""
    seen: set[tuple[str, str]] = set()
    begun = 0
    for number, new in enumerate(news):
        if (new.type, new.id) in seen:
            yield news[begun:number]
            begun = number
            seen.clear()
        seen.add((new.type, new.id))
    yield news[begun:]


# With "?" for a value, which psycopg writes "%s".
_KEEP = (
    "INSERT INTO resource_history (type, id, version, updated, deleted, body, method)"
    " SELECT type, id, version, updated, deleted, body, method FROM resource"
    " WHERE type = ? AND id = ? AND version = ?"
)
_BECOME = (
    "UPDATE resource SET version = ?, updated = ?, patient = ?, code = ?, date_lo = ?, body = ?, method = ?,"
    " deleted = ?, indexed = ? WHERE type = ? AND id = ? AND version = ?"
)


def _replace(conn: Connection, news: Sequence[NewResource]) -> None:
    """Move the versions before to the history and put these in their place; each resource once.

    One statement for all of them: a client's bundle of a hundred updates is not a thousand ways to the database.
    """
    before = [(new.type, new.id, new.version - 1) for new in news]
    become = [
        (
            *(new.version, new.updated, new.patient, new.code, new.date_lo or "", new.body, new.method),
            *(int(new.deleted), INDEX_VERSION, *own),
        )
        for new, own in zip(news, before, strict=True)
    ]
    conn.exec_driver_sql(placed(conn, _KEEP), before)
    if conn.exec_driver_sql(placed(conn, _BECOME), become).rowcount != len(news):
        raise Busy("another writer changed this resource first", retry_after_s=1)
    delete_rows(conn, [(new.type, new.id) for new in news])


def _resource_row(new: NewResource) -> dict[str, Any]:
    return {
        "type": new.type,
        "id": new.id,
        "version": new.version,
        "updated": new.updated,
        "patient": new.patient,
        "code": new.code,
        "date_lo": new.date_lo or "",
        "body": new.body,
        "method": new.method,
        "deleted": int(new.deleted),
        "indexed": INDEX_VERSION,
    }


def hot_code(system: str | None, code: str | None) -> str | None:
    """Return what the hot code column holds for a coding, or None when it cannot hold it unmistakably."""
    if not system or code is None or "|" in system:
        return None
    joined = f"{system}|{code}"
    return joined if len(joined.encode()) <= MAX_HOT_CODE_BYTES else None
