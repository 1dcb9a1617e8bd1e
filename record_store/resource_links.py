"""References between resources, both ways, by their index rows; Busy while these are being made (`reindexing`)."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, select

from record_store.criteria import Criterion, RestrictionOf
from record_store.criteria_sql import matching
from record_store.reindexing import require_rows
from record_store.resources import STORED, StoredResource
from record_store.tables import resource, sp_reference

Key = tuple[str, str]  # type, id


def pointed_to(
    conn: Connection,
    resource_type: str,
    ids: Sequence[str],
    params: Iterable[str],
    target_types: Sequence[str] = (),
) -> list[Key]:
    """Return what references of these resources point to of ours, each once, in order.

    params: names of the index rows. target_types: only these; empty for any.
    """
    if not ids:
        return []
    names = sorted(set(params))
    require_rows(conn, resource_type, (), names)
    table = sp_reference.c
    wanted = select(table.target_type, table.target_id).where(
        table.type == resource_type,
        table.id.in_(ids),
        table.param.in_(names),
        table.target_type != "",
    )
    if target_types:
        wanted = wanted.where(table.target_type.in_(target_types))
    found = conn.execute(wanted.distinct().order_by(table.target_type, table.target_id))
    return [(str(kind), str(target_id)) for kind, target_id in found]


def pointing_at(
    conn: Connection, resource_type: str, params: Iterable[str], targets: Mapping[str, Sequence[str]]
) -> list[Key]:
    """Return the resources of a type whose references point to one of these ids (by type), each once, in order."""
    names = sorted(set(params))
    require_rows(conn, resource_type, (), names)
    found: set[str] = set()
    for target_type, ids in targets.items():
        table = sp_reference.c
        wanted = select(table.id).where(
            table.type == resource_type,
            table.param.in_(names),
            table.target_type == target_type,
            table.target_id.in_(ids),
        )
        found.update(conn.scalars(wanted.distinct()))
    return [(resource_type, one) for one in sorted(found)]


def read_all(conn: Connection, keys: Iterable[Key], allowed: RestrictionOf) -> list[StoredResource]:
    """Return the current versions of those that are not deleted and that may be seen, in the order of the keys."""
    ids: dict[str, list[str]] = {}
    for resource_type, resource_id in keys:
        ids.setdefault(resource_type, []).append(resource_id)
    found: list[StoredResource] = []
    for resource_type, wanted in ids.items():
        own = allowed(resource_type)
        criteria: tuple[Criterion, ...] = () if own is None else (own,)
        rows = select(*STORED).where(resource.c.id.in_(wanted))
        here = {
            row[1]: StoredResource(*row) for row in conn.execute(matching(rows, resource, resource_type, criteria))
        }
        found += [here[one] for one in dict.fromkeys(wanted) if one in here]
    return found
