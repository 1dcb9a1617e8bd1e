"""What is here of many resources, in one question each: for those who write what others have named.

Asked through the driver: SQLAlchemy's own making of such a statement takes longer than the database's answer, and
a message waits for a dozen of them.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection

from record_store.index_rows import fit
from record_store.resource_history import Version
from record_store.resources import StoredResource
from record_store.sql import placed

Key = tuple[str, str, str]  # type, identifier system, identifier value

_MANY = 300  # values in a question: SQLite takes 500 terms and 32,766 variables
_IDENTIFIERS = (
    "SELECT type, code, system, id FROM sp_token WHERE type = {} AND param = 'identifier' AND code IN ({})"
)
_VERSIONS = "SELECT type, id, version, updated, body, deleted, method FROM resource WHERE type = {} AND id IN ({})"
_LINKED = (
    "SELECT target_id FROM sp_reference WHERE type = {} AND param = 'link' AND target_type = 'Patient'"
    " AND target_id IN ({})"
)


def identified(conn: Connection, wanted: Iterable[Key]) -> dict[Key, list[str]]:
    """Return the ids of the resources that have each identifier, sorted; keys that nobody has are left out."""
    # Asked by value alone, and not by pairs of value and system: SQLite looks those up in no index.
    keys = {(key[0], fit(key[2]), fit(key[1])): key for key in wanted}
    values: dict[str, set[str]] = defaultdict(set)
    for kind, code, _ in keys:
        values[kind].add(code)
    found: dict[Key, set[str]] = defaultdict(set)
    for kind, code, system, resource_id in _asked(conn, _IDENTIFIERS, values):
        if (kind, code, system) in keys:
            found[keys[kind, code, system]].add(resource_id)
    return {key: sorted(ids) for key, ids in found.items()}


def versions(conn: Connection, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Version]:
    """Return the current versions, deleted or not, of those (type, id) that ever were."""
    ids: dict[str, set[str]] = defaultdict(set)
    for kind, resource_id in wanted:
        ids[kind].add(resource_id)
    found = {}
    for kind, one, number, updated, body, deleted, method in _asked(conn, _VERSIONS, ids):
        stored = StoredResource(kind, one, number, updated, bytes(body))
        found[kind, one] = Version(stored, bool(deleted), method)
    return found


def linked(conn: Connection, ids: Collection[str]) -> set[str]:
    """Return those of the Patients that another Patient's `link` names."""
    return {row[0] for row in _asked(conn, _LINKED, {"Patient": set(ids)})} if ids else set()


def _asked(conn: Connection, question: str, values: Mapping[str, set[str]]) -> Iterator[Any]:
    """Yield the answers to a question of each type and its values, asked at once."""
    mark = placed(conn, "?")
    parts: list[str] = []
    given: list[str] = []
    for kind, wanted in values.items():
        listed = sorted(wanted)
        for start in range(0, len(listed), _MANY):
            some = listed[start : start + _MANY]
            parts.append(question.format(mark, ",".join(mark for _ in some)))
            given += [kind, *some]
            if len(given) > 20 * _MANY:
                yield from conn.exec_driver_sql(" UNION ALL ".join(parts), tuple(given))
                parts, given = [], []
    if parts:
        yield from conn.exec_driver_sql(" UNION ALL ".join(parts), tuple(given))
