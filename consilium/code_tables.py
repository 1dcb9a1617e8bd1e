"""The site's table of codes: CONSILIUM_CODES_FILE and the store's ConceptMaps, read again when they change."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import structlog
from sqlalchemy import func, select

from clinical.codes import Coding
from clinical.errors import ClinicalError, IncorrectInput
from fhir_adapters.standardise import EMPTY, CodeTable, from_concept_maps, from_csv, joined
from record_store.database import Database
from record_store.tables import resource

LOOK_AGAIN_S = 2.0
MOST_MAPS = 200

log = structlog.get_logger()


class CodeTables:
    """One table of both, the file first. What cannot be read leaves the table as it was, and is logged."""

    def __init__(self, db: Database, file: Path | None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._db, self._file, self._monotonic = db, file, monotonic
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._of_file = _Part(self._state_of_file, lambda: _of_file(file))
        self._of_store = _Part(self._state_of_store, lambda: _of_store(db)[0])
        self._table = EMPTY

    def codes(self, system: str, code: str) -> tuple[Coding, ...]:
        """Return the standard codes that mean the same, of the table as it was last looked at."""
        return self._table.codes(system, code)

    def table(self) -> CodeTable:
        """Return the table, looked at again when it is time."""
        with self._lock:
            if self._monotonic() - self._looked_at >= LOOK_AGAIN_S:
                self._looked_at = self._monotonic()
                self._look()
            return self._table

    def _look(self) -> None:
        parts = (self._of_file, self._of_store)
        new = [part.look() for part in parts]  # each of them: one that cannot be read does not hide the other
        if any(new):
            self._table = joined([part.table for part in parts])
            log.info("table of codes read", codes=len(self._table))

    def _state_of_file(self) -> object:
        if self._file is None:
            return None
        about = self._file.stat()
        return about.st_ino, about.st_mtime_ns, about.st_size

    def _state_of_store(self) -> object:
        table = resource.c
        with self._db.read() as conn:
            # Not the newest time: who began first and ends last is older than what was seen already.
            query = select(func.count(), func.sum(table.version)).where(table.type == "ConceptMap")
            return tuple(conn.execute(query).one())


def table_now(db: Database, file: Path | None) -> CodeTable:
    """Return the table of both as it is now, or nothing: for who must not go on with half of it.

    Raises IncorrectInput for a file that is no table, and for more ConceptMaps than are read; Busy.
    """
    try:
        of_file = _of_file(file)
    except UnicodeDecodeError:
        raise IncorrectInput("CONSILIUM_CODES_FILE: expected a file in UTF-8") from None
    except OSError as error:
        raise IncorrectInput(f"CONSILIUM_CODES_FILE: {error.strerror}") from None
    except IncorrectInput as error:
        raise IncorrectInput(f"CONSILIUM_CODES_FILE: {error.message}") from None
    of_store, whole = _of_store(db)
    if not whole:
        raise IncorrectInput(f"expected at most {MOST_MAPS} ConceptMaps; delete those that are not meant")
    return joined([of_file, of_store])


def _of_file(file: Path | None) -> CodeTable:
    return EMPTY if file is None else from_csv(file.read_text(encoding="utf-8-sig"))


def _of_store(db: Database) -> tuple[CodeTable, bool]:
    """Return the table of the ConceptMaps, and whether all of them were read."""
    table = resource.c
    query = select(table.body).where(table.type == "ConceptMap", table.deleted == 0).order_by(table.id)
    with db.read() as conn:
        rows = conn.execute(query.limit(MOST_MAPS + 1)).all()
    if len(rows) > MOST_MAPS:
        log.warning("there are more ConceptMaps than are read; the rest counts for nothing", count=MOST_MAPS)
    return from_concept_maps([orjson.loads(row[0]) for row in rows[:MOST_MAPS]]), len(rows) <= MOST_MAPS


class _Part:
    """The file, or the store: its table as it was last read. state: tells whether it has changed since."""

    def __init__(self, state: Callable[[], object], read: Callable[[], CodeTable]) -> None:
        self._state, self._read = state, read
        self._seen: object = None
        self.table = EMPTY

    def look(self) -> bool:
        """Read it when it has changed; False when there is nothing new, or it cannot be read."""
        state = self._seen
        try:
            state = self._state()
            if state == self._seen:
                return False
            self.table = self._read()
        except (UnicodeDecodeError, IncorrectInput) as error:  # what it says: told once
            problem = error.message if isinstance(error, IncorrectInput) else type(error).__name__
            log.error("the table of codes cannot be used; the old one counts on", problem=problem)  # noqa: TRY400
            self._seen = state
            return False
        except (OSError, ClinicalError) as error:  # it is away: the next look may find it
            problem = error.message if isinstance(error, ClinicalError) else type(error).__name__
            log.error("the table of codes cannot be read; the old one counts on", problem=problem)  # noqa: TRY400
            return False
        self._seen = state
        return True
