"""The audit cannot be altered unseen: its rows are sealed one after another, each seal over all before it.

A seal is an HMAC-SHA-256 under a key that the database does not hold, over the seal before and the rows since: a
row that is changed, removed or slipped in among sealed ones breaks it. Sealing runs behind the writers, a few
seconds after them, so that none of them waits. Who removes the newest seals with their rows is found by a seal
that was noted elsewhere: `Verdict.head` is for that.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, func, insert, select, text

from clinical.clock import Clock
from record_store.database import Database
from record_store.tables import audit, audit_seal
from record_store.times import to_text

MOST_ROWS = 2000
ARCHIVED = "audit-archived"  # the action of the row that says that rows up to its subject are in an archive
_SEALERS_LOCK = 0x7365616C  # "seal": one at a time seals
FIRST = b"\0" * 32
COLUMNS = ("row", "at", "action", "outcome", "actor", "subject", "detail")

AuditRow = Mapping[str, Any]
Along = Callable[[Connection, list[AuditRow]], None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found. broken_at: the first row that is not under a good seal, None when all are.

    rows: under good seals. unsealed: younger than the last seal, which says nothing of them. head: the last good
    seal, in hexadecimal. archived_to: the last row that is in an archive and no longer here, 0 for none;
    archive_head: the seal that this archive ends with.
    """

    rows: int
    unsealed: int
    head: str
    broken_at: int | None
    archived_to: int = 0
    archive_head: str = ""


def seal(
    db: Database, key: bytes, now: Clock, along: Along = lambda _conn, _rows: None, *, most: int = MOST_ROWS
) -> int:
    """Seal what has been written since, at most `most` rows; return the number of rows.

    along: called with the sealed rows in the same transaction, so that what is made of them is made once.
    Raises Busy when the database is away.
    """
    settled = _settled(db)
    with db.write() as conn:
        if conn.dialect.name == "postgresql":
            conn.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _SEALERS_LOCK})
        last = conn.execute(select(audit_seal).order_by(audit_seal.c.last_row.desc()).limit(1)).mappings().first()
        first = int(last["last_row"]) + 1 if last else 1
        rows = rows_between(conn, first, settled)[:most]
        if not rows:
            return 0
        before = bytes.fromhex(str(last["seal"])) if last else FIRST
        made = seal_of(key, before, rows)
        values = {"last_row": rows[-1]["row"], "rows": len(rows), "seal": made.hex(), "sealed_at": to_text(now())}
        conn.execute(insert(audit_seal), values)
        along(conn, rows)
    return len(rows)


def verify(db: Database, key: bytes) -> Verdict:
    """Read everything again and tell whether it is what was sealed.

    What was archived is no longer here: a row in the chain must say so, or whoever can write the database could
    cut off its beginning.
    """
    before, first, good = FIRST, 1, 0
    with db.read() as conn:
        seals = list(conn.execute(select(audit_seal).order_by(audit_seal.c.last_row)).mappings())
        archived_to, archive_head = 0, ""
        if seals and not seals[0]["rows"]:
            archived_to, archive_head = int(seals[0]["last_row"]), str(seals.pop(0)["seal"])
            before, first = bytes.fromhex(archive_head), archived_to + 1
        told = not archived_to
        for one in seals:
            rows = rows_between(conn, first, int(one["last_row"]))
            made = seal_of(key, before, rows)
            if len(rows) != one["rows"] or not hmac.compare_digest(made.hex(), str(one["seal"])):
                return Verdict(good, 0, before.hex(), first, archived_to, archive_head)
            told = told or any(_tells(row, archived_to, archive_head) for row in rows)
            before, first, good = made, int(one["last_row"]) + 1, good + len(rows)
        unsealed = conn.execute(select(func.count()).select_from(audit).where(audit.c.row >= first)).scalar_one()
    return Verdict(good, unsealed, before.hex(), None if told else archived_to + 1, archived_to, archive_head)


def _tells(row: AuditRow, last_row: int, head: str) -> bool:
    return row["action"] == ARCHIVED and row["subject"] == str(last_row) and head in str(row["detail"])


def _settled(db: Database) -> int:
    """Return the newest row below which nothing can be written any more.

    PostgreSQL gives out numbers before their rows are committed: a moment without writers settles it. Whoever
    writes for long is not waited for, and nobody else waits behind us for longer than that.
    """
    with db.write(durable=False) as conn:
        if conn.dialect.name == "postgresql":
            conn.execute(text("SET LOCAL lock_timeout = '200ms'"))
            conn.execute(text("LOCK TABLE audit IN SHARE MODE"))
        newest: int = conn.execute(select(func.coalesce(func.max(audit.c.row), 0))).scalar_one()
        return newest


def rows_between(conn: Connection, first: int, last: int) -> list[AuditRow]:
    """Return the rows of one seal, in order."""
    query = select(audit).where(audit.c.row >= first, audit.c.row <= last).order_by(audit.c.row)
    return [dict(row) for row in conn.execute(query.limit(MOST_ROWS + 1)).mappings()]


def seal_of(key: bytes, before: bytes, rows: Iterable[AuditRow]) -> bytes:
    """Return the seal over the one before and these rows."""
    made = hmac.new(key, before, hashlib.sha256)
    for row in rows:
        written = orjson.dumps([row[name] for name in COLUMNS])
        made.update(len(written).to_bytes(4, "big") + written)
    return made.digest()
