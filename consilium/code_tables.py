"""The site's table of codes: CONSILIUM_CODES_FILE and the store's ConceptMaps, read again when they change."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import structlog
from sqlalchemy import func, select

from clinical.codes import Coding
from clinical.errors import ClinicalError
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
        self._seen: tuple[object, object] = (None, None)
        self._of_file, self._of_store, self._table = EMPTY, EMPTY, EMPTY

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
        before, seen = self._seen, list(self._seen)
        try:
            seen[0] = self._state_of_file()
            if seen[0] != before[0] and self._file is not None:
                self._of_file = from_csv(self._file.read_text(encoding="utf-8-sig"))
            seen[1] = self._state_of_store()
            if seen[1] != before[1]:
                self._of_store = from_concept_maps(self._maps())
        except (OSError, UnicodeDecodeError) as error:
            log.error("the table of codes cannot be read; the old one counts on", problem=type(error).__name__)  # noqa: TRY400
        except ClinicalError as error:
            log.error("the table of codes cannot be used; the old one counts on", problem=error.message)  # noqa: TRY400
        self._seen = (seen[0], seen[1])
        if self._seen != before:
            self._table = joined((self._of_file, self._of_store))
            log.info("table of codes read", codes=len(self._table))

    def _state_of_file(self) -> object:
        if self._file is None:
            return None
        about = self._file.stat()
        return about.st_ino, about.st_mtime_ns, about.st_size

    def _state_of_store(self) -> object:
        table = resource.c
        with self._db.read() as conn:
            query = select(func.count(), func.max(table.updated)).where(table.type == "ConceptMap")
            return tuple(conn.execute(query).one())

    def _maps(self) -> list[dict[str, object]]:
        table = resource.c
        query = select(table.body).where(table.type == "ConceptMap", table.deleted == 0).order_by(table.id)
        with self._db.read() as conn:
            return [orjson.loads(row[0]) for row in conn.execute(query.limit(MOST_MAPS))]
