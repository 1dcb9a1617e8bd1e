"""The audit row of an access is there when the answer goes out, or is written behind it."""

import json

from sqlalchemy import select, text

from clinical.errors import Busy
from record_store.accesses import AccessLog, Asker, row_of
from record_store.exchanges import Outcome, Trail
from record_store.tables import audit

ASKER = Asker("client:a", "a", "token-1", "TREAT", "", "192.0.2.1", "req-1")


def rows(db):
    with db.read() as conn:
        return [dict(row) for row in conn.execute(select(audit).order_by(audit.c.row)).mappings()]


def test_a_row_is_there_at_once(db, now):
    log = AccessLog(db, later=lambda row: None)
    log.add(row_of(ASKER, "read", at=now(), subject="Patient/p1", outcome=Outcome.MINOR, problem="not-found"))
    (row,) = rows(db)
    assert (row["action"], row["outcome"], row["actor"], row["subject"]) == (
        "access:read",
        "minor",
        "client:a",
        "Patient/p1",
    )
    assert json.loads(row["detail"]) == {
        "client_id": "a",
        "token_id": "token-1",
        "purpose": "TREAT",
        "address": "192.0.2.1",
        "request_id": "req-1",
        "problem": "not-found",
    }


def test_on_postgresql_only_that_statement_is_not_waited_for(db, now):
    AccessLog(db, later=lambda row: None).add(row_of(ASKER, "read", at=now(), subject="Patient/p1"))
    if db.dialect == "postgresql":
        with db.write() as conn:
            assert conn.execute(text("SHOW synchronous_commit")).scalar_one() == "on"


def test_what_cannot_be_written_at_once_is_written_behind(db, now, monkeypatch):
    trail = Trail(db, now)

    def busy(*_):
        raise Busy("another writer")

    with monkeypatch.context() as patched:
        patched.setattr(type(db), "add_one", busy)
        AccessLog(db, trail.keep).add(row_of(ASKER, "read", at=now(), subject="Patient/p1"))
    assert rows(db) == []
    trail.close(60)
    assert [row["subject"] for row in rows(db)] == ["Patient/p1"]
