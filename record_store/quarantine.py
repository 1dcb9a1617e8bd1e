"""Images that ended their decoder: after three tries one is set aside until a person lets it try again.

Counted in the audit, whose rows survive restarts and workers: one row for each try, one for a release. An image is
known by a digest of its bytes, so the same bytes sent again, or in another study, are still set aside. What is
refused when it comes is in `record_store.quarantine_folder`.
"""

from datetime import datetime

from sqlalchemy import Connection, func, select

from record_store.audit import append, digest
from record_store.tables import audit

STOPPED, RELEASED = "decoder-stopped", "image-released"
MOST_TRIES = 3


def tries(conn: Connection, sha256: str) -> int:
    """Return how often an image has ended its decoder since it was last released."""
    return _tries(conn, digest(sha256))


def record_try(conn: Connection, sha256: str, problem: str, now: datetime) -> int:
    """Note that an image ended its decoder; return how often it has. problem: without patient data."""
    subject = digest(sha256)
    count = _tries(conn, subject) + 1
    outcome = "quarantined" if count >= MOST_TRIES else "tried again"
    append(
        conn,
        at=now,
        action=STOPPED,
        outcome=outcome,
        actor="worker",
        subject=subject,
        detail={"reason": problem, "try": count},
    )
    return count


def quarantined(conn: Connection) -> list[str]:
    """Return the digests of the images that are set aside."""
    stopped = select(audit.c.subject).where(audit.c.action == STOPPED).distinct().order_by(audit.c.subject)
    return [one for one in conn.execute(stopped).scalars() if _tries(conn, one) >= MOST_TRIES]


def release(conn: Connection, image_digest: str, now: datetime, actor: str) -> bool:
    """Let an image be tried three times more; False when none that is set aside has this digest."""
    if _tries(conn, image_digest) < MOST_TRIES:
        return False
    append(conn, at=now, action=RELEASED, outcome="open", actor=actor, subject=image_digest)
    return True


def _tries(conn: Connection, subject: str) -> int:
    of_it = audit.c.subject == subject
    released = select(func.max(audit.c.row)).where(audit.c.action == RELEASED, of_it)
    since = conn.execute(released).scalar() or 0
    found = select(func.count()).where(audit.c.action == STOPPED, of_it, audit.c.row > since)
    return int(conn.execute(found).scalar_one())
