"""Old rows of the audit into a file, and then out of the database; the chain of seals goes on over both.

The file holds rows and seals as they stood (NDJSON), so that it can be verified by itself with the same key; the
last seal in it stays in the database as the beginning of the chain there. That rows were archived is itself a row,
and sealed before anything is deleted.
"""

import hashlib
import hmac
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, delete, func, insert, select

from clinical.clock import Clock
from clinical.errors import Busy, IncorrectInput, PreconditionMissing
from record_store import audit as audit_rows
from record_store.audit_chain import ARCHIVED, COLUMNS, FIRST, AuditRow, rows_between, seal_of, verify
from record_store.database import Database
from record_store.flush import flush
from record_store.tables import audit, audit_seal

_FORMAT = "consilium-audit-archive-1"


@dataclass(frozen=True, slots=True)
class Archived:
    """What a file holds. before, head: the seals before and at its end, hexadecimal. sha256: of the file."""

    rows: int
    last_row: int
    before: str
    head: str
    sha256: str


def archive(
    db: Database, key: bytes, older_than: str, path: Path, now: Clock, sealing: Callable[[], object]
) -> Archived | None:
    """Move rows that were sealed before `older_than` (`times.to_text`) into a new file; None when there are none.

    sealing: seals what is not yet, as the worker does, so that AuditEvents are made of it too.
    Raises PreconditionMissing when the audit is not whole: then nothing may be lost. IncorrectInput when the file
    is there, or cannot be written.
    """
    found = verify(db, key)
    if found.broken_at is not None:
        raise PreconditionMissing(
            f"the audit was altered at row {found.broken_at} or behind it: look into that first"
        )
    with db.read() as conn:
        every = list(conn.execute(select(audit_seal).order_by(audit_seal.c.last_row)).mappings())
        begun = every[:1] if every and not every[0]["rows"] else []
        old = [one for one in every[len(begun) :] if one["sealed_at"] < older_than]
        if not old:
            return None
        before = str(begun[0]["seal"]) if begun else FIRST.hex()
        first = int(begun[0]["last_row"]) + 1 if begun else 1
        _write(path, _lines(conn, old, first, before))
    made = verify_archive(path, key)
    with db.write() as conn:
        audit_rows.append(
            conn,
            at=now(),
            action=ARCHIVED,
            outcome="success",
            actor="operator",
            subject=str(made.last_row),
            detail={"head": made.head, "sha256": made.sha256, "rows": made.rows},
        )
    sealing()
    if not _is_sealed(db, made):
        raise Busy("that it is archived could not be sealed just now: nothing was removed, try again")
    _remove(db, made)
    return made


def _is_sealed(db: Database, made: Archived) -> bool:
    """Tell whether the row that says what was archived is under a seal: verification asks for it afterwards."""
    said = select(func.max(audit.c.row)).where(audit.c.action == ARCHIVED, audit.c.subject == str(made.last_row))
    with db.read() as conn:
        return bool(
            conn.execute(
                select(audit_seal.c.last_row).where(audit_seal.c.last_row >= said.scalar_subquery())
            ).first()
        )


def verify_archive(path: Path, key: bytes) -> Archived:
    """Read an archive again. Raises IncorrectInput where it is not what was sealed."""
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise IncorrectInput(f"the archive cannot be read ({exc.strerror})") from None
    try:
        lines = [orjson.loads(line) for line in data.splitlines()]
        return _judged(lines, key, hashlib.sha256(data).hexdigest())
    except (ValueError, KeyError, TypeError, IndexError):
        raise IncorrectInput("that is no archive of the audit, or it was altered") from None


def _judged(lines: Sequence[Any], key: bytes, sha256: str) -> Archived:
    if lines[0]["format"] != _FORMAT:
        raise ValueError
    before = seal_before = bytes.fromhex(lines[0]["before"])
    rows: list[AuditRow] = []
    count, last = 0, 0
    for line in lines[1:]:
        if isinstance(line, list):
            rows.append(dict(zip(COLUMNS, line, strict=True)))
            continue
        made = seal_of(key, before, rows)
        if not hmac.compare_digest(made.hex(), line["seal"]) or len(rows) != line["rows"]:
            raise IncorrectInput(f"the archive was altered among the rows up to {int(line['last_row'])}")
        before, count, last, rows = made, count + len(rows), int(line["last_row"]), []
    if rows or not count:
        raise ValueError
    return Archived(count, last, seal_before.hex(), before.hex(), sha256)


def _lines(conn: Connection, seals: Sequence[Any], first: int, before: str) -> Iterator[bytes]:
    yield orjson.dumps({"format": _FORMAT, "before": before})
    for one in seals:
        for row in rows_between(conn, first, int(one["last_row"])):
            yield orjson.dumps([row[name] for name in COLUMNS])
        yield orjson.dumps({name: one[name] for name in ("last_row", "rows", "seal", "sealed_at")})
        first = int(one["last_row"]) + 1


def _write(path: Path, lines: Iterator[bytes]) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for line in lines:
                file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        flush(path.parent)
    except FileExistsError:
        raise IncorrectInput("there is a file of that name already") from None
    except OSError as exc:
        raise IncorrectInput(f"the archive cannot be written ({exc.strerror})") from None


def _remove(db: Database, made: Archived) -> None:
    with db.write() as conn:
        conn.execute(delete(audit).where(audit.c.row <= made.last_row))
        kept = conn.execute(select(audit_seal).where(audit_seal.c.last_row == made.last_row)).mappings().one()
        conn.execute(delete(audit_seal).where(audit_seal.c.last_row <= made.last_row))
        conn.execute(insert(audit_seal).values(**dict(kept) | {"rows": 0}))
