"""Which tokens were used already: a token of the hooks lets in one call, whichever worker it reaches.

One row a token, kept until the token could not be used any more. A row that is there already is a replay; the
database decides, so workers, machines and restarts all answer alike.
"""

import hashlib
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select

from clinical.errors import Busy
from record_store.database import Database
from record_store.tables import seen_token
from record_store.times import to_text

# A machine whose clock runs behind still takes a token that another one has begun to call expired.
KEPT_AFTER_EXPIRY = timedelta(minutes=10)
WAIT_S = 1.0  # for another writer: a hook has half a second in all
_PURGE_EVERY = 64  # inserts; each purge removes at most twice as many rows as were added since the last one


def token_key(issuer: str, jti: str) -> str:
    """Return what a token is known by: a digest of who issued it and its `jti` (RFC 7519 4.1.7).

    The issuer's length stands in front, so that no two pairs read the same. Neither can be read back.
    """
    return hashlib.sha256(f"{len(issuer)}:{issuer}{jti}".encode()).hexdigest()


class SeenTokens:
    """The tokens that were used. Safe for threads and processes."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._inserts = 0

    def first_use(self, issuer: str, jti: str, *, expires_at: datetime, now: datetime) -> bool:
        """Note that a token is used; return False when it was used before.

        expires_at: when nobody takes the token any more, leeway included.

        Raises Busy when the store is away, Fault when it refuses: what cannot be noted must not be admitted.
        """
        row = {"token_key": token_key(issuer, jti), "expires_at": to_text(expires_at)}
        # Not waiting for the disk: the row survives our death; docs/decisions/021 says what a power cut may do.
        first = self._db.add_once(seen_token, row, ("token_key",), within_s=WAIT_S)
        self._inserts += first
        if first and self._inserts % _PURGE_EVERY == 1:
            self._purge(now)
        return first

    def count(self) -> int:
        """Return how many tokens are remembered."""
        with self._db.read() as conn:
            return int(conn.execute(select(func.count()).select_from(seen_token)).scalar_one())

    def _purge(self, now: datetime) -> None:
        # A bounded number at a time, so that no caller waits for the sweep of a busy hour; SKIP LOCKED because
        # two workers that delete the same rows in different orders would block each other (PostgreSQL).
        old = (
            select(seen_token.c.token_key)
            .where(seen_token.c.expires_at < to_text(now - KEPT_AFTER_EXPIRY))
            .order_by(seen_token.c.expires_at)
            .limit(2 * _PURGE_EVERY)
            .with_for_update(skip_locked=True)
        )
        try:
            with self._db.write(durable=False, within_s=WAIT_S) as conn:
                conn.execute(delete(seen_token).where(seen_token.c.token_key.in_(old)))
        except Busy:
            return  # the token is noted, and what is left over goes another time
