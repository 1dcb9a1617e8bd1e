"""Fetches side by side: one from each archive at a time, each with a lease that lasts as long as it takes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Self

import structlog

from clinical.clock import Clock
from clinical.errors import ClinicalError
from record_store import workitems
from record_store.audit import digest
from record_store.database import Database
from record_store.workitems import WorkitemRow

LEASE_S, RENEW_S = 120.0, 10.0
log = structlog.get_logger()


@dataclass(slots=True)
class Lanes:
    """Gives the loops of one process steps to fetch for. worker: our name."""

    db: Database
    now: Clock
    worker: str
    _busy: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def step(self) -> Iterator[WorkitemRow | None]:
        """Yield a step whose archive nobody asks just now, or None; until then nobody else asks that archive."""
        with self._lock:
            one = workitems.claim(
                self.db, (workitems.FETCHING,), self.now(), LEASE_S, self.worker, busy=tuple(self._busy)
            )
            source = one.source if one is not None else None
            if source is not None:
                self._busy.add(source)
        try:
            yield one
        finally:
            if source is not None:
                with self._lock:
                    self._busy.discard(source)


class Lease:
    """A step in hand for as long as this is entered. A slow archive may take longer than any fixed time."""

    def __init__(self, db: Database, one: WorkitemRow, worker: str, now: Clock, every_s: float = RENEW_S) -> None:
        self._db, self._one, self._worker, self._now, self._every_s = db, one, worker, now, every_s
        self._over, self._lost = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease of a step", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def is_kept(self) -> bool:
        """Tell whether the step was ours when the lease was last renewed."""
        return not self._lost.is_set()

    def renew(self) -> bool:
        """Renew now; return what `is_kept` says then."""
        until = self._now() + timedelta(seconds=LEASE_S)
        try:
            with self._db.write(durable=False) as conn:
                kept = workitems.renew(conn, self._one, self._worker, until)
        except ClinicalError:  # the database is away: nobody else can take the step meanwhile
            return self.is_kept()
        if not kept:
            log.info("workitem no longer in hand", workitem=digest(self._one.workitem_uid))
            self._lost.set()
        return kept

    def give_back(self) -> None:
        """Let somebody else look at the step now."""
        with self._db.write() as conn:
            workitems.give_back(conn, self._one, self._worker, self._now())

    def _run(self) -> None:
        while not self._over.wait(self._every_s) and self.renew():
            pass
