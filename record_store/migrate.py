"""Bring a database to the tables of this version. Alembic's scripts are packaged; no alembic.ini is needed."""

from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from record_store.database import BUSY_TIMEOUT_S, Database

if TYPE_CHECKING:
    from alembic.config import Config

# The newest revision, said here so that a process that finds it in the database need not load Alembic to start;
# a test holds it equal to the scripts.
HEAD = "0037"
# What another process migrates at this moment is waited for, however large it is: a role that gave up would end
# the whole server at its start, and the one that migrates with it.
_ANOTHERS_S = 3600.0
_LOCK = 0x636F6E73696C  # "consil": one number that all callers of migrate() share


def migrate(db: Database) -> tuple[str, ...]:
    """Apply what is pending, in one transaction, and return the revisions applied (oldest first).

    Simultaneous callers wait for one another, as long as that takes: PostgreSQL by an advisory lock, SQLite by its
    write lock. Raises Busy when the database is away, or a table is kept for longer than the busy timeout.
    """
    from alembic import command  # noqa: PLC0415 - 0.2 s that only start-up should pay

    with db.write(within_s=_ANOTHERS_S) as conn:
        if db.dialect == "postgresql":
            conn.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            conn.execute(text(f"SET LOCAL lock_timeout = '{BUSY_TIMEOUT_S:g}s'"))  # of tables
        before = _pending(conn)
        if before:
            config = _config()
            config.attributes["connection"] = conn
            command.upgrade(config, "head")
        return before


def migrate_if_needed(db: Database) -> tuple[str, ...]:
    """Do what `migrate` does, and nothing at all when the database is at this version already."""
    return () if is_current(db) else migrate(db)


def is_current(db: Database) -> bool:
    """Tell whether a database is at this version."""
    with db.read() as conn:
        if not inspect(conn).has_table("alembic_version"):
            return False
        return list(conn.execute(text("SELECT version_num FROM alembic_version")).scalars()) == [HEAD]


def pending_migrations(db: Database) -> tuple[str, ...]:
    """Return the revisions that `migrate` would apply, oldest first; empty when the database is current."""
    if is_current(db):
        return ()
    with db.read() as conn:
        return _pending(conn)


def _config() -> "Config":
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "record_store:migrations")
    config.set_main_option("path_separator", "os")
    return config


def _pending(conn: Connection) -> tuple[str, ...]:
    from alembic.migration import MigrationContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    done = MigrationContext.configure(conn).get_current_heads()
    steps = ScriptDirectory.from_config(_config()).iterate_revisions("heads", done or "base")
    return tuple(reversed([step.revision for step in steps]))
