"""Versions of FHIR resources, superseded and deleted ones included: what was stored, newest first."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, literal, select, tuple_, union_all

from record_store.criteria import Criterion
from record_store.database import Database
from record_store.resource_search import condition
from record_store.resources import StoredResource
from record_store.tables import resource, resource_history

_CURRENT = "SELECT type, id, version, updated, body, deleted, method FROM resource WHERE type = ? AND id = ?"


@dataclass(frozen=True, slots=True)
class Version:
    """One version. method: the HTTP method that made it. A deleted one has no body."""

    stored: StoredResource
    deleted: bool
    method: str

    @property
    def place(self) -> tuple[str, str, str]:
        """Where it stands in a history, to continue from."""
        return self.stored.updated, self.stored.id, f"{self.stored.version:010d}"


def latest(conn: Connection, resource_type: str, resource_id: str) -> Version | None:
    """Return the current version, deleted or not; None when there never was one."""
    row = conn.execute(
        _columns(resource).where(resource.c.type == resource_type, resource.c.id == resource_id)
    ).first()
    return None if row is None else _version(row)


def current(db: Database, resource_type: str, resource_id: str) -> Version | None:
    """Return what `latest` does, to who asks nothing else of the same snapshot: a read by id is mostly this."""
    for row in db.rows_of(_CURRENT, (resource_type, resource_id)):
        return _version(row)
    return None


def latest_all(conn: Connection, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Version]:
    """Return the current versions, deleted or not, of those (type, id) that ever were."""
    ids: dict[str, list[str]] = {}
    for resource_type, resource_id in keys:
        ids.setdefault(resource_type, []).append(resource_id)
    found: dict[tuple[str, str], Version] = {}
    for resource_type, wanted in ids.items():
        rows = _columns(resource).where(resource.c.type == resource_type, resource.c.id.in_(wanted))
        versions = [_version(row) for row in conn.execute(rows)]
        found |= {(one.stored.type, one.stored.id): one for one in versions}
    return found


def version(conn: Connection, resource_type: str, resource_id: str, number: int) -> Version | None:
    """Return one version, whatever became of it since."""
    for table in (resource, resource_history):
        own = (table.c.type == resource_type, table.c.id == resource_id, table.c.version == number)
        row = conn.execute(_columns(table).where(*own)).first()
        if row is not None:
            return _version(row)
    return None


def history(
    conn: Connection,
    resource_type: str,
    resource_id: str | None = None,
    *,
    since: str | None = None,
    before: Sequence[str] | None = None,
    limit: int = 50,
    within: Criterion | None = None,
) -> list[Version]:
    """Return versions of one resource, or of all of a type, newest first.

    since: `times.to_text`; only those of then or later. before: `Version.place` of the last one seen.
    within: only of resources that meet it now; what each version said is not asked.
    """
    parts = [_columns(table).where(*_wanted(table, resource_type, resource_id, since)) for table in _BOTH]
    if within is not None:
        now = select(resource.c.id).where(
            resource.c.type == resource_type, resource.c.deleted == 0, condition(resource_type, (within,))
        )
        parts = [part.where(table.c.id.in_(now)) for part, table in zip(parts, _BOTH, strict=True)]
    every = union_all(*parts).subquery("every_version")
    found = select(every)
    if before is not None:
        here = tuple_(every.c.updated, every.c.id, every.c.version)
        found = found.where(here < tuple_(literal(before[0]), literal(before[1]), literal(int(before[2]))))
    newest = found.order_by(every.c.updated.desc(), every.c.id.desc(), every.c.version.desc())
    return [_version(row) for row in conn.execute(newest.limit(limit))]


_BOTH = (resource, resource_history)


def _columns(table: Table) -> Select[tuple[object, ...]]:
    names = ("type", "id", "version", "updated", "body", "deleted", "method")
    return select(*(table.c[name] for name in names))


def _wanted(
    table: Table, resource_type: str, resource_id: str | None, since: str | None
) -> list[ColumnElement[bool]]:
    wanted = [and_(table.c.type == resource_type)]
    if resource_id is not None:
        wanted.append(table.c.id == resource_id)
    if since is not None:
        wanted.append(table.c.updated >= since)
    return wanted


def _version(row: Sequence[object]) -> Version:
    kind, resource_id, number, updated, body, deleted, method = row
    stored = StoredResource(str(kind), str(resource_id), int(str(number)), str(updated), bytes(body))  # type: ignore[call-overload]
    return Version(stored, bool(deleted), str(method) or ("POST" if stored.version == 1 else "PUT"))
