"""The store as it was at a moment: of every resource the version that was current then, each exactly once.

Whatever is written meanwhile, pages of it agree with one another: what was current then is either current still
or in the history. Deletions are versions too.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, false, or_, select, true, tuple_

from record_store.criteria import Criterion
from record_store.reindexing import require_rows
from record_store.resource_search import condition
from record_store.resources import StoredResource
from record_store.tables import resource, resource_history, sp_reference

PAGE = 100  # resources held in memory at once
MOST_IDS = 1000  # in one statement

PastMatches = Callable[[Sequence[StoredResource]], set[str]]
"""Returns the ids of those versions that are wanted, of versions that nothing is indexed of any more."""


@dataclass(frozen=True, slots=True)
class About:
    """Resources that name a Patient. params: the parameters that say so ("" is the resource's own id).

    patients: which ones; None for any.
    """

    params: tuple[str, ...]
    patients: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Resources of a type as they were `at` (`times.to_text`), changed after `since`.

    any_of: sets of criteria, of which one holds; none for all resources. every: criteria that hold besides.
    """

    type: str
    at: str
    since: str = ""
    any_of: tuple[tuple[Criterion, ...], ...] = ()
    every: tuple[Criterion, ...] = ()
    about: About | None = None

    @property
    def is_narrowed(self) -> bool:
        """True when not every resource of the type is wanted."""
        return bool(self.any_of or self.every or self.about)


@dataclass(frozen=True, slots=True)
class Found:
    """One version; a deleted one has no body."""

    resource: StoredResource
    deleted: bool


def as_of(
    conn: Connection, wanted: Wanted, after: str, past: PastMatches, *, deletions: bool = False
) -> Iterator[Found]:
    """Yield what is wanted in the order of ids, those above `after`. deletions: what was deleted, and no other.

    Of what is gone nothing is indexed any more: the version before the deletion is what criteria are asked of.
    Raises Busy while the index rows that the criteria need are being made (`reindexing`).
    """
    require_rows(conn, wanted.type, (*wanted.every, *chain.from_iterable(wanted.any_of)))
    alive = resource.c.deleted == int(deletions)
    current = and_(resource.c.updated <= wanted.at, alive, true() if deletions else meets(wanted))
    columns = [resource.c[name] for name in ("type", "id", "version", "updated", "body", "deleted")]
    # Not a range of the index by time: every page would sort all that has changed since.
    changed = resource.c.updated.concat("") > wanted.since if wanted.since else true()
    query = select(*columns).where(resource.c.type == wanted.type, changed)
    query = query.where(or_(current, resource.c.updated > wanted.at)).order_by(resource.c.id).limit(PAGE)
    while True:
        rows = conn.execute(query.where(resource.c.id > after)).all()
        newer = [row.id for row in rows if row.updated > wanted.at]
        then = _then(conn, wanted, newer, past, deletions) if newer else {}
        found = [
            Found(_stored(row), bool(row.deleted)) if row.updated <= wanted.at else then[row.id]
            for row in rows
            if row.updated <= wanted.at or row.id in then
        ]
        yield from _were_wanted(conn, wanted, found, past) if deletions and wanted.is_narrowed else found
        if len(rows) < PAGE:
            return
        after = rows[-1].id


def meets(wanted: Wanted) -> ColumnElement[bool]:
    """Return "the current version is wanted", for a statement over `resource` rows of that type."""
    parts = [condition(wanted.type, wanted.every)]
    if wanted.any_of:
        parts.append(or_(*(condition(wanted.type, one) for one in wanted.any_of)))
    if wanted.about is not None:
        parts.append(_about(wanted.type, wanted.about))
    return and_(*parts)


def _about(resource_type: str, about: About) -> ColumnElement[bool]:
    if resource_type == "Patient":
        return true() if about.patients is None else _one_of(resource.c.id, about.patients)
    row = sp_reference.c
    named = and_(
        row.type == resource_type,
        row.id == resource.c.id,
        row.param.in_(about.params),
        row.target_type == "Patient",
        true() if about.patients is None else _one_of(row.target_id, about.patients),
    )
    return select(row.row).where(named).correlate(resource).exists()


def _one_of(column: ColumnElement[str], ids: frozenset[str]) -> ColumnElement[bool]:
    listed = sorted(ids)
    parts = [column.in_(listed[start : start + MOST_IDS]) for start in range(0, len(listed), MOST_IDS)]
    return or_(false(), *parts)


def _then(
    conn: Connection, wanted: Wanted, ids: Sequence[str], past: PastMatches, deletions: bool
) -> dict[str, Found]:
    """Return by id the versions that were current then, of resources that have newer ones."""
    table = resource_history.c
    columns = [table[name] for name in ("type", "id", "version", "updated", "body", "deleted")]
    query = select(*columns).where(table.type == wanted.type, table.id.in_(ids), table.updated <= wanted.at)
    newest = {row.id: row for row in conn.execute(query.order_by(table.id, table.version))}
    found = {
        name: Found(_stored(row), bool(row.deleted))
        for name, row in newest.items()
        if row.updated > wanted.since and bool(row.deleted) == deletions
    }
    if deletions or not found or not wanted.is_narrowed:
        return found
    kept = past([one.resource for one in found.values()])
    return {name: one for name, one in found.items() if name in kept}


def _were_wanted(conn: Connection, wanted: Wanted, found: Sequence[Found], past: PastMatches) -> list[Found]:
    """Return those deletions whose resource was wanted as it was before."""
    table = resource_history.c
    columns = [table[name] for name in ("type", "id", "version", "updated", "body", "deleted")]
    before = [(one.resource.id, one.resource.version - 1) for one in found]
    of_these = table.id.in_([name for name, _ in before]), tuple_(table.id, table.version).in_(before)
    query = select(*columns).where(table.type == wanted.type, table.deleted == 0, *of_these)
    kept = past([_stored(row) for row in conn.execute(query)]) if found else set()
    return [one for one in found if one.resource.id in kept]


def _stored(row: Row[Any]) -> StoredResource:
    return StoredResource(row.type, row.id, row.version, row.updated, bytes(row.body))
