"""Accesses to the FHIR API, as audit rows: one for each request, each entry of a bundle and each resource written.

A write's rows stand in the transaction that writes. A read's row is one insert, before the answer goes out, that
does not wait for the disk; where another writer holds the database for longer than a moment, the row waits in
memory and is written behind the answer (`exchanges.Trail`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection

from clinical.errors import Busy
from record_store.database import Database
from record_store.exchanges import Outcome
from record_store.sql import placed
from record_store.tables import audit
from record_store.times import to_text

ACTION = "access:"  # before the interaction, in the column `action`
WAIT_S = 0.05
MAX_TEXT = 4096  # of a query, in characters

_COLUMNS = ("at", "action", "outcome", "actor", "subject", "detail")
_INSERT = f"INSERT INTO audit ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608

AuditRow = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asker:
    """Who makes a request. who: from configuration. address: of the other end of the connection.

    request_id: X-Request-Id as it was sent, "" for none. patient: whom its token is for, "" for nobody.
    """

    who: str
    client_id: str = ""
    token_id: str = ""
    purpose: str = ""
    patient: str = ""
    address: str = ""
    request_id: str = ""

    def facts(self) -> dict[str, str]:
        """Return what there is of it, for a row."""
        named = {
            "client_id": self.client_id,
            "token_id": self.token_id,
            "purpose": self.purpose,
            "address": self.address,
            "request_id": self.request_id,
        }
        return {name: value for name, value in named.items() if value}


def row_of(
    asker: Asker,
    interaction: str,
    *,
    at: datetime,
    subject: str,
    outcome: Outcome = Outcome.SUCCESS,
    patient: str = "",
    version: int | None = None,
    query: str = "",
    problem: str = "",
) -> AuditRow:
    """Return the audit row of an access.

    interaction: R4's code, or an operation's. subject: "Type/id", "Type", or an operation's address. patient: id
    of the Patient whom what was accessed is about, where known. query: the request as it was sent. problem:
    the issue code of a refusal.
    """
    named = {"patient": patient or asker.patient, "query": query[:MAX_TEXT], "problem": problem}
    detail: dict[str, Any] = asker.facts() | {name: value for name, value in named.items() if value}
    if version is not None:
        detail["version"] = version
    return {
        "at": to_text(at),
        "action": f"{ACTION}{interaction}"[:64],
        "outcome": outcome.value,
        "actor": asker.who[:128],
        "subject": subject[:256],
        "detail": orjson.dumps(detail).decode(),
    }


def add_all(conn: Connection, rows: Sequence[AuditRow]) -> None:
    """Add rows in the caller's transaction. Plain tuples through the driver: compiling costs more than writing."""
    conn.exec_driver_sql(placed(conn, _INSERT), [tuple(row[name] for name in _COLUMNS) for row in rows])


class AccessLog:
    """Writes the rows of reads and refusals. later: takes a row that cannot be written at once."""

    def __init__(self, db: Database, later: Callable[[AuditRow], None]) -> None:
        self._db = db
        self._later = later

    def add(self, row: AuditRow) -> None:
        """Add a row. Never raises for want of the database."""
        try:
            self._db.add_one(audit, row, WAIT_S)
        except Busy:
            self._later(row)
