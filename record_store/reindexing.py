"""Resources whose index rows were made by an earlier table of search parameters, until they are made anew.

`resource.indexed` says by which table. A search that needs rows of a later one is refused with Busy while such a
resource is there: an answer without it would be wrong, and would not say so. What the earlier rows hold too
(`_BEFORE`) is answered meanwhile.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, literal_column, select, tuple_

from clinical.errors import Busy
from record_store.criteria import (
    AllOf,
    AnyOf,
    Chained,
    Criterion,
    DateIn,
    Has,
    IdIn,
    Not,
    PatientIn,
    ReferenceIn,
    StringStarts,
    TokenIn,
)
from record_store.index_rows import IndexRows, delete_rows, insert_rows
from record_store.resources import INDEX_VERSION, StoredResource
from record_store.sql import placed
from record_store.tables import resource

RETRY_S = 30
# Written out, not bound: the partial index is used for what is written as it is.
_STALE = resource.c.indexed < literal_column(str(INDEX_VERSION))

# What rows of version 0 hold, by type: the parameters that mean the same now.
_ALWAYS = frozenset({"_tag", "_security", "_lastUpdated"})
_BEFORE = {
    "AuditEvent": "action address agent agent-name agent-role altid date entity entity-role entity-type outcome"
    " source subtype type",
    "Device": "device-name identifier location manufacturer model organization patient status type",
    "DiagnosticReport": "based-on category code conclusion date encounter identifier issued media performer result"
    " results-interpreter specimen status subject",
    "ImagingStudy": "basedon bodysite dicom-class encounter endpoint identifier instance interpreter modality"
    " performer reason referrer series started status subject",
    "Observation": "based-on category code component-code data-absent-reason date derived-from device encounter"
    " focus has-member identifier method part-of performer specimen status subject value-concept",
    "Patient": "active birthdate death-date family gender general-practitioner given identifier link name"
    " organization",
    "Provenance": "agent agent-role agent-type entity location recorded target when",
    "RiskAssessment": "condition date encounter identifier method performer risk subject",
    "ServiceRequest": "authored body-site category code encounter identifier intent requester status subject",
}
_HELD_BEFORE = {kind: frozenset(names.split()) | _ALWAYS for kind, names in _BEFORE.items()}


@dataclass(frozen=True, slots=True)
class Reindexed:
    """What of a version can be found by the present table, as `NewResource` has it."""

    stored: StoredResource
    index: IndexRows
    patient: str | None = None
    code: str | None = None
    date_lo: str | None = None


def stale_count(conn: Connection) -> int:
    """Return how many resources wait for their rows."""
    return int(conn.execute(select(func.count()).select_from(resource).where(_STALE)).scalar_one())


def stale_batch(conn: Connection, after: tuple[str, str], limit: int) -> list[StoredResource]:
    """Return such resources in order of type and id, those beyond `after`. A deleted one has no body."""
    table = resource.c
    rows = conn.execute(
        select(table.type, table.id, table.version, table.updated, table.body)
        .where(_STALE, tuple_(table.type, table.id) > tuple_(*after))
        .order_by(table.type, table.id)
        .limit(limit)
    )
    return [StoredResource(*row) for row in rows]


def rewrite(conn: Connection, done: Sequence[Reindexed]) -> int:
    """Replace the rows of these, in the caller's transaction, and return of how many.

    done: in order of type and id. One that was written meanwhile has its rows already and is left alone.
    """
    if not done:
        return 0
    table, ends = resource.c, (done[0].stored, done[-1].stored)
    first, last = (tuple_(one.type, one.id) for one in ends)
    waiting = (
        select(table.type, table.id, table.version)
        .where(_STALE, tuple_(table.type, table.id).between(first, last))
        # What another transaction is writing is left to it: who waits for nobody is in no deadlock.
        .with_for_update(skip_locked=True)
    )
    there = {tuple(row) for row in conn.execute(waiting)}
    due = [one for one in done if (one.stored.type, one.stored.id, one.stored.version) in there]
    if due:
        values = [
            (INDEX_VERSION, one.patient, one.code, one.date_lo or "", one.stored.type, one.stored.id)
            for one in due
        ]
        conn.exec_driver_sql(placed(conn, _INDEXED), values)
        delete_rows(conn, [(one.stored.type, one.stored.id) for one in due])
        insert_rows(conn, [(one.stored.type, one.stored.id, one.index) for one in due])
    return len(due)


_INDEXED = "UPDATE resource SET indexed = ?, patient = ?, code = ?, date_lo = ? WHERE type = ? AND id = ?"


def require_rows(
    conn: Connection, resource_type: str, criteria: Iterable[Criterion], sorted_by: Iterable[str] = ()
) -> None:
    """Raise Busy when the criteria need rows that some resource does not have yet.

    sorted_by: the parameters whose rows order the answer.
    """
    needed = {kind for criterion in criteria for kind in _needed(resource_type, criterion)}
    if any(not _holds(resource_type, param) for param in sorted_by):
        needed.add(resource_type)
    for kind in sorted(needed):
        if conn.execute(select(resource.c.id).where(resource.c.type == kind, _STALE).limit(1)).first():
            raise Busy(
                f"the index of {kind} is being made anew; what was asked needs it whole", retry_after_s=RETRY_S
            )


def _holds(kind: str, param: str) -> bool:
    """Tell whether rows of version 0 answer for a parameter ("a|b": for both)."""
    return frozenset(param.split("|")) <= _HELD_BEFORE.get(kind, frozenset())


def _needed(kind: str, criterion: Criterion) -> Iterator[str]:
    """Yield the types of which every resource must have its rows."""
    match criterion:
        case IdIn() | PatientIn():
            return
        case TokenIn() | ReferenceIn() | StringStarts() | DateIn():
            if not _holds(kind, criterion.param):
                yield kind
        case AllOf(several) | AnyOf(several):
            for one in several:
                yield from _needed(kind, one)
        case Not(inner):
            yield from _needed(kind, inner)
        case Chained(param, other, inner, hot):
            yield from _needed(other, inner)
            if not hot and not _holds(kind, param):
                yield kind
        case Has(other, param, inner, hot):
            yield from _needed(other, inner)
            if not hot and not _holds(other, param):
                yield other
        case _:
            yield kind
