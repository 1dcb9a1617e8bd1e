"""What the database drivers raise, in our words. Their texts may quote stored values, so they end here."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from clinical.errors import Busy, ClinicalError, Fault
from record_store.pooler import BY_STATEMENT, SESSION_NEEDED

# What will pass: busy, locked, I/O, full, cannot open, locking protocol (sqlite.org/rescode.html).
_SQLITE_PASSING = {5, 6, 10, 13, 14, 15}
# Connection, rollback (serialisation, deadlock), resources, operator intervention, system error,
# lock not available (PostgreSQL, Appendix A).
_POSTGRES_PASSING = ("08", "40", "53", "57", "58", "55P03")

log = structlog.get_logger()


@contextmanager
def translated() -> Iterator[None]:
    """Turn the drivers' errors into Busy (what will pass) and Fault (what will not)."""
    try:
        yield
    except PoolTimeout:
        raise Busy("the database has no connection left") from None
    except DBAPIError as exc:
        raise _meaning(exc.orig, exc.statement, lost=exc.connection_invalidated) from None
    except sqlite3.Error as exc:
        raise _meaning(exc, None, lost=False) from None


def _meaning(exc: BaseException | None, statement: str | None, *, lost: bool) -> ClinicalError:
    if SESSION_NEEDED in str(exc):
        return Fault(BY_STATEMENT)
    kind = type(exc).__name__
    code = getattr(exc, "sqlite_errorcode", None) or getattr(exc, "sqlstate", None)
    if isinstance(code, int):
        passing = code & 0xFF in _SQLITE_PASSING  # the low byte is the primary result code
    elif isinstance(code, str):
        passing = code.startswith(_POSTGRES_PASSING)
    else:
        passing = lost or kind in {"OperationalError", "ConnectionTimeout", "InterfaceError"}
    log.warning("database error", kind=kind, code=code, passing=passing, statement=statement)
    if passing:
        return Busy("the database is away, locked or full")
    return Fault(f"the database refused a statement ({kind} {code})")
