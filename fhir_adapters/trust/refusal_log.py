"""What an operator is told of callers that were not let in: one audit row, without anything of the token itself.

Bounded: whoever knocks all day does not fill the disk. Of each kind of refusal so many a minute are written, and
of all together so many an hour; the next row of a kind says how many were left out.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from clinical.clock import Clock
from clinical.errors import ClinicalError
from fhir_adapters.trust.refusal import Refusal
from record_store import audit
from record_store.database import Database

ACTION = "token-refused"
ROWS_A_MINUTE = 10  # for each reason and issuer
ROWS_AN_HOUR = 300  # for all of them, of one process: a day of knocking is some 2 MB
KINDS = 256  # at a time: reasons times issuers; what comes on top waits for the next minute

log = structlog.get_logger()

Observe = Callable[[str, str], None]
"""Told (issuer's short name or "unknown", reason) of every refusal, for metrics. Both are bounded."""


def observe_nothing(_issuer: str, _reason: str) -> None:
    """Do nothing with a measurement."""


@dataclass(slots=True)
class _Kind:
    written: int = 0
    left_out: int = 0


class RefusalLog:
    """Writes refusals to the audit. Never raises: a record that fails lets nobody in, and keeps nobody out."""

    def __init__(
        self, db: Database, now: Clock, observe: Observe = observe_nothing, *, action: str = ACTION
    ) -> None:
        """action: what the rows are called, by which the doctors find them."""
        self._action = action
        self._db = db
        self._now = now
        self._observe = observe
        self._lock = threading.Lock()
        self._minute = self._hour = -1
        self._this_hour = 0
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def record(self, refused: Refusal, path: str) -> None:
        """Note a refusal. path: what was called, one of our routes and so bounded."""
        issuer = refused.profile.name if refused.profile else "unknown"
        self._observe(issuer, refused.reason.value)
        left_out = self._place(issuer, refused.reason.value)
        if left_out is None:
            return
        token = refused.token
        detail: dict[str, str | int] = {"reason": refused.reason.value}
        if refused.profile is not None:
            detail["iss"] = refused.profile.iss
        if token is not None:
            detail |= {
                "alg": token.algorithm.value,
                "kid": audit.digest(token.kid),
                "jti": audit.digest(token.jti),
            }
        if left_out:
            detail["left_out"] = left_out
        try:
            with self._db.write(durable=False) as conn:
                audit.append(
                    conn,
                    at=self._now(),
                    action=self._action,
                    outcome="denied",
                    actor=f"client:{issuer}",
                    subject=path,
                    detail=detail,
                )
        except ClinicalError as error:
            log.warning("a refusal was not recorded", category=error.category.value, reason=refused.reason.value)

    def _place(self, issuer: str, reason: str) -> int | None:
        """Return how many of this kind were left out before, or None when this one is left out too."""
        with self._lock:
            self._turn_pages()
            kind = self._kinds.get((issuer, reason))
            if kind is None:
                if len(self._kinds) >= KINDS:
                    return None
                kind = self._kinds[issuer, reason] = _Kind()
            if kind.written >= ROWS_A_MINUTE or self._this_hour >= ROWS_AN_HOUR:
                kind.left_out += 1
                return None
            left_out, kind.left_out = kind.left_out, 0
            kind.written += 1
            self._this_hour += 1
            return left_out

    def _turn_pages(self) -> None:
        """Begin to count anew when another minute or hour has begun; what was left out is still to be told."""
        minute = int(self._now().timestamp() // 60)
        if minute != self._minute:
            self._minute = minute
            self._kinds = {name: _Kind(0, kind.left_out) for name, kind in self._kinds.items() if kind.left_out}
        if minute // 60 != self._hour:
            self._hour, self._this_hour = minute // 60, 0
