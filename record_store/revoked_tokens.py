"""Access tokens that were called back before they expired.

A token is checked without a look here; each process reads the whole list, which is short (tokens live minutes),
every few seconds.
"""

import threading
import time
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import delete, select

from clinical.clock import Clock
from record_store.database import Database
from record_store.tables import revoked_token
from record_store.times import to_text

READ_EVERY_S = 2.0


class RevokedTokens:
    """The list, as this process knows it. Safe for threads and over a fork."""

    def __init__(self, db: Database, now: Clock, clock: Callable[[], float] = time.monotonic) -> None:
        self._db, self._now, self._clock = db, now, clock
        self._known: frozenset[str] = frozenset()
        self._read_at = float("-inf")
        self._lock = threading.Lock()

    def add(self, token_id: str, expires_at: datetime) -> None:
        """Call a token back. Raises Busy when the database is away."""
        now = self._now()
        with self._db.write() as conn:
            conn.execute(delete(revoked_token).where(revoked_token.c.expires_at < to_text(now)))
        self._db.add_once(revoked_token, {"token_id": token_id, "expires_at": to_text(expires_at)}, ("token_id",))
        self._read_at = float("-inf")

    def __contains__(self, token_id: str) -> bool:
        """Tell whether a token was called back, some READ_EVERY_S ago or earlier. Raises Busy."""
        if self._clock() - self._read_at >= READ_EVERY_S:
            with self._lock:
                now = self._clock()  # before the look: what is called back during it is known in time too
                if now - self._read_at >= READ_EVERY_S:
                    with self._db.read() as conn:
                        self._known = frozenset(conn.execute(select(revoked_token.c.token_id)).scalars())
                    self._read_at = now
        return token_id in self._known
