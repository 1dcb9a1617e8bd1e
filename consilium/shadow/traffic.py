"""What arrives, read by the models that the rules name under `shadow`: after the live ones, and apart from them.

Nobody tells this loop of a study: it looks for closed ones that a model has not read. So the live way knows
nothing of it, and what arrived while it was away is read when it is back, for CATCH_UP; older studies are for a
replay.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from clinical.clock import Clock
from clinical.errors import PreconditionMissing
from clinical.finding import ModelRef
from consilium.shadow.models import OneModel
from consilium.shadow.owners import free_what_is_left
from consilium.shadow.reading import LeftOff, ShadowReader
from record_store import shadows
from record_store.database import Database

CATCH_UP = timedelta(days=7)
AT_ONCE = 20
POLL_S = 1.0
LIVE_POLL_S = 0.1


def live_first(db: Database, now: Clock, stopping: threading.Event) -> Callable[[], bool]:
    """Return what waits while live jobs wait; it returns False once somebody wants the process to end."""

    def goes_on() -> bool:
        while not stopping.is_set():
            with db.read() as conn:
                waiting = shadows.live_jobs_waiting(conn, now())
            if not waiting:
                return True
            stopping.wait(LIVE_POLL_S)
        return False

    return goes_on


@dataclass(frozen=True, slots=True)
class Traffic:
    """models: those that the rules name."""

    db: Database
    reader: ShadowReader
    models: Sequence[OneModel]
    now: Clock
    _known: dict[ModelRef, datetime] = field(default_factory=dict, init=False)

    def once(self) -> int:
        """Read what waits, and return how many studies were read. One of them ends it when the process is to.

        Raises PreconditionMissing when a model is refused, after the others have read.
        """
        free_what_is_left(self.db, self.now)
        read, refused = 0, None
        for model in self.models:
            try:
                read += self._read(model)
            except PreconditionMissing as problem:
                refused = problem
        if refused is not None:
            raise refused  # whoever calls this each second says the same once a minute (`Attempts`)
        return read

    def _since(self, model: ModelRef) -> datetime:
        """Return since when a model reads what arrives; asked of the database once."""
        if model not in self._known:
            with self.db.write(durable=False) as conn:
                self._known[model] = shadows.reads_since(conn, model, self.now())
        return self._known[model]

    def _read(self, model: OneModel) -> int:
        manifest, now = model.manifest(), self.now()
        try:
            arrived = max(self._since(manifest.ref), now - CATCH_UP)
            with self.db.read() as conn:
                waiting = shadows.wanting(conn, manifest.ref, manifest.modalities, arrived, now, AT_ONCE)
            return sum(self.reader.read(model, uid) is not None for uid in waiting)
        except LeftOff:
            return 0
