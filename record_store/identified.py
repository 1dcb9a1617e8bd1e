"""Which resources carry an identifier: many questions in one, for those who write what others have named."""

from collections import defaultdict
from collections.abc import Collection, Iterable

from sqlalchemy import Connection, select

from record_store.index_rows import fit
from record_store.tables import sp_reference, sp_token

Key = tuple[str, str, str]  # type, identifier system, identifier value

_MANY = 300


def identified(conn: Connection, wanted: Iterable[Key]) -> dict[Key, list[str]]:
    """Return the ids of the resources that have each identifier, sorted; keys that nobody has are left out."""
    by_type: dict[str, dict[tuple[str, str], Key]] = defaultdict(dict)
    for key in wanted:
        by_type[key[0]][fit(key[2]), fit(key[1])] = key
    found: dict[Key, set[str]] = defaultdict(set)
    table = sp_token.c
    for kind, keys in by_type.items():
        values = sorted({code for code, _ in keys})
        for start in range(0, len(values), _MANY):
            # Not by pairs of value and system: SQLite looks those up in no index.
            query = select(table.code, table.system, table.id).where(
                table.type == kind, table.param == "identifier", table.code.in_(values[start : start + _MANY])
            )
            for code, system, resource_id in conn.execute(query):
                if (code, system) in keys:
                    found[keys[code, system]].add(resource_id)
    return {key: sorted(ids) for key, ids in found.items()}


def linked(conn: Connection, ids: Collection[str]) -> set[str]:
    """Return those of the Patients that another Patient's `link` names."""
    table = sp_reference.c
    if not ids:
        return set()
    query = select(table.target_id).where(
        table.type == "Patient",
        table.param == "link",
        table.target_type == "Patient",
        table.target_id.in_(list(ids)),
    )
    return {row[0] for row in conn.execute(query)}
