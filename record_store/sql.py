"""The few statements that SQLAlchemy writes differently for each database."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_once(conn: Connection, table: Table, values: Mapping[str, Any], key: Sequence[str]) -> bool:
    """Insert a row unless one with the same `key` columns exists; return True when it was inserted.

    A concurrent insert of the same key is waited for, so False means that the other row is committed.
    """
    insert = sqlite.insert if conn.dialect.name == "sqlite" else postgresql.insert
    statement = insert(table).values(dict(values)).on_conflict_do_nothing(index_elements=list(key))
    # RETURNING and not rowcount: for an INSERT the PostgreSQL dialect reports -1 rows.
    return conn.execute(statement.returning(table.c[key[0]])).first() is not None
