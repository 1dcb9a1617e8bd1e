"""Whether a SQLite database is still the file that was opened.

A connection goes on with a file that was removed, renamed or replaced, and says of each transaction that it is
committed: after the next start none of it is there. SQLite notices that with a rollback journal, not in WAL mode.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog

from clinical.errors import Busy

log = structlog.get_logger()


class DatabaseFile:
    """The file at a path, as it was at the first use."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._used: tuple[int, int] | None = None

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Raise Busy when another file or none stands at the path before the block or after it.

        What the block has written by then may be in either file: nobody may be promised it.
        """
        if self._used is not None:
            self._check()
        yield
        self._check()

    def forget(self) -> None:
        """Take whatever file is there at the next use: the connections were closed."""
        self._used = None

    def _check(self) -> None:
        found = None
        with suppress(OSError):
            status = os.stat(self._path)  # noqa: PTH116 - in 1 us, for each transaction
            found = status.st_dev, status.st_ino
        if self._used is None:
            self._used = found
        if found is None or found != self._used:
            log.error("database file removed or replaced")
            raise Busy("the database's file was removed or replaced: put it back, or start anew")
