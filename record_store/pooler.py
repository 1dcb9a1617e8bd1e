"""A pooler (PgBouncer) between us and PostgreSQL: in its transaction mode no session is one's own.

Found out and not set. What it changes is decided where it matters: `record_store.database` and `changes`.
"""

from typing import Any

SESSION_NEEDED = "pooling mode"  # as PgBouncer says it when a transaction begins in its statement mode
BY_STATEMENT = (
    "PgBouncer stands before the database with pool_mode=statement, which has no transactions: set"
    " pool_mode=transaction (or session) for it, or name the PostgreSQL server itself in the database URL"
)


def is_pooled(connection: Any) -> bool:  # noqa: ANN401 - psycopg's connection, whatever its rows
    """Tell whether the server process that answers is another one than the connection was told at its start.

    PgBouncer makes up a number for each client, in its session mode too; which of the modes it has cannot be seen.
    """
    answering = connection.execute("SELECT pg_backend_pid()").fetchone()
    return bool(answering[0] != connection.info.backend_pid)
