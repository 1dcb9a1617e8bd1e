"""Which UID of ours stands behind which pseudonym, for each destination that is sent pseudonyms.

A pseudonym does not lead back by itself (it is a keyed hash), so what comes back is looked up here.
"""

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, select

from record_store.sql import insert_once
from record_store.tables import pseudonym

_AT_ONCE = 500  # parameters of one statement


def remember(conn: Connection, destination: str, uids: Mapping[str, str]) -> None:
    """Write down original -> pseudonym for a destination, in the caller's transaction; safe to repeat."""
    for original, made in uids.items():
        row = {"destination": destination, "pseudonym": made, "original": original}
        insert_once(conn, pseudonym, row, ["destination", "pseudonym"])


def originals(conn: Connection, destination: str, pseudonyms: Collection[str]) -> dict[str, str]:
    """Return pseudonym -> original of those that this destination was sent."""
    found: dict[str, str] = {}
    wanted = sorted(set(pseudonyms))
    table = pseudonym.c
    for start in range(0, len(wanted), _AT_ONCE):
        part = wanted[start : start + _AT_ONCE]
        query = select(table.pseudonym, table.original).where(
            table.destination == destination, table.pseudonym.in_(part)
        )
        found |= {row[0]: row[1] for row in conn.execute(query)}
    return found


def destination_of(conn: Connection, made: str) -> str | None:
    """Return the destination that was sent this pseudonym, or None. No two share one: each has its own key."""
    query = select(pseudonym.c.destination).where(pseudonym.c.pseudonym == made)
    return conn.execute(query).scalar()
