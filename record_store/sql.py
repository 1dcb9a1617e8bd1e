"""The few statements that SQLAlchemy writes differently for each database."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Executable, Table
from sqlalchemy.dialects import sqlite

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

Run = Callable[[Executable, Mapping[str, Any]], Sequence[Sequence[Any]]]
"""Runs a statement in an open transaction and returns its rows."""


def run_on(conn: Connection) -> Run:
    """Return what runs statements on a connection of SQLAlchemy's."""

    def run(statement: Executable, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        result = conn.execute(statement, values)
        return list(result) if result.returns_rows else []

    return run


def placed(conn: Connection, statement: str) -> str:
    """Return a statement of ours with the driver's mark for a value in place of "?"."""
    return statement if conn.dialect.name == "sqlite" else statement.replace("?", "%s")


def insert_once(conn: Connection, table: Table, values: Mapping[str, Any], key: Sequence[str]) -> bool:
    """Insert a row unless one with the same `key` columns exists; return True when it was inserted.

    A concurrent insert of the same key is waited for, so False means that the other row is committed.
    """
    return conn.execute(inserting_once(conn.dialect.name, table, tuple(key)), dict(values)).first() is not None


@cache  # building the statement costs more than running it
def inserting_once(dialect: str, table: Table, key: tuple[str, ...]) -> Executable:
    """Return the statement of `insert_once`, which returns a row when it has inserted one."""
    statement = _insert(dialect, table).on_conflict_do_nothing(index_elements=list(key))
    # RETURNING and not rowcount: for an INSERT the PostgreSQL dialect reports -1 rows.
    return statement.returning(table.c[key[0]])


def insert_missing(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]], key: Sequence[str]) -> None:
    """Insert those rows of which no row with the same `key` columns exists, in one round."""
    if rows:
        insert = _insert(conn.dialect.name, table)
        conn.execute(insert.on_conflict_do_nothing(index_elements=list(key)), [dict(row) for row in rows])


def _insert(dialect: str, table: Table) -> "sqlite.Insert | postgresql.Insert":
    if dialect == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - 2 MB that who has SQLite saves

    return postgresql.insert(table)
