"""HL7 v2 messages as they were received, each once by its digest, and what became of them.

A message stands in the database and not among the blobs: it is small, and so it is there in the very transaction
that stores what it says, or neither is.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, func, select, update

from clinical.errors import IncorrectInput, NotFound
from record_store.database import Database
from record_store.tables import hl7_message
from record_store.times import to_text

STORED, QUARANTINED, DROPPED = "stored", "quarantined", "dropped"
MOST_QUARANTINED = 10_000
PURGE_STEP = 1000  # rows a transaction, so that no purge keeps a message waiting
_SHORTEST_NAME = 8
_KNOWN = "SELECT sha256, state, answers, attempts FROM hl7_message WHERE sha256 IN ("
_MANY = 500


def digest_of(data: bytes) -> str:
    """Return the name of a message: the sha256 of its bytes."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of a message that came before. answers: as they were sent, joined by NUL."""

    state: str
    answers: bytes
    attempts: int


@dataclass(frozen=True, slots=True)
class Kept:
    """One message. sender: MSH-3 and MSH-4. kind: MSH-9, "ORU^R01". peer: the address that it came from.

    code: of table 0357, 0 when it was stored. problem: place and reason; no patient data.
    """

    sha256: str
    sender: str
    control_id: str
    kind: str
    peer: str
    state: str
    code: int
    problem: str | None
    attempts: int
    answers: bytes
    body: bytes
    received_at: str
    settled_at: str

    def __repr__(self) -> str:
        # A repr lands in logs and tracebacks; the message must not.
        return f"Kept({self.sha256[:12]!r}, {self.state!r})"


def known(conn: Connection, digests: Sequence[str]) -> dict[str, Told]:
    """Return what is known of those messages that came before."""
    found: dict[str, Told] = {}
    mark = "%s" if conn.dialect.name == "postgresql" else "?"
    for start in range(0, len(digests), _MANY):
        some = tuple(digests[start : start + _MANY])
        # Through the driver: each message waits for this.
        asked = _KNOWN + ",".join(mark for _ in some) + ")"
        found |= {row[0]: Told(row[1], bytes(row[2]), row[3]) for row in conn.exec_driver_sql(asked, some)}
    return found


def keep(conn: Connection, messages: Sequence[Kept], again: frozenset[str] = frozenset()) -> None:
    """Write messages; those in `again` (digests) are here already and get their new state."""
    first = [_values(one) for one in messages if one.sha256 not in again]
    if first:
        mark = "%s" if conn.dialect.name == "postgresql" else "?"
        conn.exec_driver_sql(f"{_INSERT} VALUES ({','.join(mark for _ in _NAMES)})", first)
    later = [_change(one) for one in messages if one.sha256 in again]
    if later:
        conn.execute(
            update(hl7_message)
            .where(hl7_message.c.sha256 == bindparam("of"))
            .values({name: bindparam(f"new_{name}") for name in _CHANGING}),
            later,
        )


def full(conn: Connection) -> bool:
    """Tell whether the quarantine holds as many as it may: a peer that sends nonsense must not fill the disk."""
    query = select(func.count()).where(hl7_message.c.state == QUARANTINED)
    return int(conn.execute(query).scalar_one()) >= MOST_QUARANTINED


def quarantined(conn: Connection, limit: int = 1000) -> list[Kept]:
    """Return the messages that are set aside, oldest first."""
    query = select(*_COLUMNS).where(hl7_message.c.state == QUARANTINED).order_by(hl7_message.c.row).limit(limit)
    return [_kept(row) for row in conn.execute(query)]


def named(conn: Connection, name: str) -> Kept:
    """Return the message whose digest begins so. Raises IncorrectInput, NotFound."""
    if len(name) < _SHORTEST_NAME or set(name) - set("0123456789abcdef"):
        raise IncorrectInput(f"a message is named by the first {_SHORTEST_NAME} or more digits of its sha256")
    matching = hl7_message.c.sha256.between(name, name + "g")
    rows = conn.execute(select(*_COLUMNS).where(matching).limit(2)).all()
    if len(rows) != 1:
        raise NotFound("no message has this digest" if not rows else "several messages have digests that begin so")
    return _kept(rows[0])


def purge(db: Database, before: datetime) -> int:
    """Remove messages that were stored before then; those in quarantine wait for an operator. Return how many."""
    removed, count = 0, PURGE_STEP
    old = (
        select(hl7_message.c.row)
        .where(hl7_message.c.state == STORED, hl7_message.c.settled_at < to_text(before))
        .order_by(hl7_message.c.row)
        .limit(PURGE_STEP)
    )
    while count == PURGE_STEP:
        with db.write() as conn:
            count = conn.execute(delete(hl7_message).where(hl7_message.c.row.in_(old))).rowcount
        removed += count
    return removed


def counts(conn: Connection) -> dict[str, int]:
    """Return how many messages there are of each state."""
    query = select(hl7_message.c.state, func.count()).group_by(hl7_message.c.state)
    return {row[0]: int(row[1]) for row in conn.execute(query)}


_NAMES = tuple(Kept.__dataclass_fields__)
_COLUMNS = tuple(hl7_message.c[name] for name in _NAMES)
_INSERT = f"INSERT INTO hl7_message ({', '.join(_NAMES)})"
_CHANGING = ("state", "code", "problem", "attempts", "answers", "settled_at")


def _values(one: Kept) -> tuple[object, ...]:
    cut = {"sender": 512, "control_id": 256, "kind": 32}
    return tuple(getattr(one, name)[: cut[name]] if name in cut else getattr(one, name) for name in _NAMES)


def _change(one: Kept) -> dict[str, object]:
    row = asdict(one)
    return {"of": one.sha256} | {f"new_{name}": row[name] for name in _CHANGING}


def _kept(row: Sequence[object]) -> Kept:
    values = dict(zip(_NAMES, row, strict=True))
    return Kept(**{name: bytes(one) if isinstance(one, memoryview) else one for name, one in values.items()})  # type: ignore[arg-type]
