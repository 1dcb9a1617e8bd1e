"""Who did what to what. Rows are only ever added.

A subject is an identifier that we made, or a digest of a patient object's UID; never a name or number.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import orjson
from sqlalchemy import Connection, insert

from clinical.uids import uid_digest
from record_store.ledger import Row
from record_store.tables import audit
from record_store.times import to_text

digest = uid_digest  # what a row calls an object by


def row_of(
    *,
    at: datetime,
    action: str,
    outcome: str,
    actor: str,
    subject: str,
    detail: Mapping[str, str | int | float | bool | None] | None = None,
) -> Row:
    """Return a row for `record_store.ledger`; the arguments are those of `append`."""
    return audit, {
        "at": to_text(at),
        "action": action,
        "outcome": outcome,
        "actor": actor[:128],
        "subject": subject[:256],
        "detail": orjson.dumps(dict(detail or {}), option=orjson.OPT_SORT_KEYS).decode(),
    }


def append(
    conn: Connection,
    *,
    at: datetime,
    action: str,
    outcome: str,
    actor: str,
    subject: str,
    detail: Mapping[str, str | int | float | bool | None] | None = None,
) -> None:
    """Add a row in the caller's transaction, so that an act and its record are both there or neither.

    action: what was done ("instance-received"). outcome: how it ended ("new", "denied").
    actor: who asked ("ae:PACS", "client:ehr"), at most 128 characters. subject: what it was done to.
    detail: more, as flat JSON; no patient data.
    """
    table, row = row_of(at=at, action=action, outcome=outcome, actor=actor, subject=subject, detail=detail)
    conn.execute(insert(table), row)


def append_all(conn: Connection, rows: Sequence[Row]) -> None:
    """Add rows that `row_of` made, as `append`."""
    if rows:
        conn.execute(insert(audit), [row for _, row in rows])
