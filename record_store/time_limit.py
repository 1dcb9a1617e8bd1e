"""How long one search may keep the database busy: a question that takes longer is told so, and not waited for."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from clinical.errors import IncorrectInput

_QUERY_CANCELED = "57014"  # PostgreSQL, appendix A
_STEPS = 20_000  # of SQLite's machine between two looks at the clock: some tenths of a millisecond


@contextmanager
def within(conn: Connection, seconds: float) -> Iterator[None]:
    """Bound the time of what is asked here (PostgreSQL: of each statement).

    Raises IncorrectInput when it is up.
    """
    try:
        if conn.dialect.name == "sqlite":
            with _watched(conn, time.monotonic() + seconds):
                yield
        else:
            conn.exec_driver_sql(f"SET LOCAL statement_timeout = {max(1, int(seconds * 1000))}")
            yield
    except DBAPIError as error:
        interrupted = isinstance(error.orig, sqlite3.OperationalError) and "interrupted" in str(error.orig)
        if interrupted or getattr(error.orig, "sqlstate", None) == _QUERY_CANCELED:
            raise too_long(seconds) from None
        raise


def too_long(seconds: float) -> IncorrectInput:
    """Return the error of a question whose time is up."""
    return IncorrectInput(f"the search takes more than {seconds:g} s: narrow it")


@contextmanager
def _watched(conn: Connection, until: float) -> Iterator[None]:
    driver = conn.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        raise TypeError(driver)
    driver.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)
