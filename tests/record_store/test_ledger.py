"""Rows of many callers are written together, and each caller hears of its own."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select

from clinical.errors import Busy, ClinicalError, Fault
from record_store.audit import row_of
from record_store.database import open_database
from record_store.ledger import Ledger
from record_store.tables import audit
from record_store.testing import database

AT = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)


def row(number=0):
    return row_of(at=AT, action="tested", outcome="new", actor="client:x", subject=f"row:{number}")


BAD = (audit, row(0)[1] | {"at": None})


def until(happened):
    while not happened():
        time.sleep(0.001)


def subjects(db):
    with db.read() as conn:
        rows = select(audit.c.subject).where(audit.c.action == "tested").order_by(audit.c.row)
        return list(conn.execute(rows).scalars())


def test_what_is_written_is_there_when_it_returns(db):
    Ledger(db).write([row(1), row(2)])
    assert subjects(db) == ["row:1", "row:2"]


def test_a_caller_s_rows_are_all_there_or_none(db):
    with pytest.raises(Fault):
        Ledger(db).write([row(1), BAD])
    assert subjects(db) == []


def test_those_who_wait_are_written_in_one_transaction(db, monkeypatch):
    ledger, writes, gate = Ledger(db), [], threading.Event()
    real = db.append

    def counted(within_s):
        writes.append(within_s)
        gate.wait(10)
        return real(within_s)

    monkeypatch.setattr(db, "append", counted)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(ledger.write, [row(0)])
        until(lambda: writes)
        others = [pool.submit(ledger.write, [row(number)]) for number in range(1, 9)]
        until(lambda: len(ledger._waiting) == 8)
        gate.set()
        for one in (first, *others):
            one.result()
    assert len(writes) == 2
    assert sorted(subjects(db)) == [f"row:{number}" for number in range(9)]


def test_a_row_that_is_refused_is_one_caller_s_failure_alone(db, monkeypatch):
    ledger, gate, entered = Ledger(db), threading.Event(), threading.Event()
    real = db.append

    def held(within_s):
        entered.set()
        gate.wait(10)
        return real(within_s)

    monkeypatch.setattr(db, "append", held)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(ledger.write, [row(0)])
        entered.wait(10)
        bad = pool.submit(ledger.write, [BAD])
        good = [pool.submit(ledger.write, [row(number)]) for number in (1, 2)]
        until(lambda: len(ledger._waiting) == 3)
        gate.set()
        assert isinstance(bad.exception(), Fault)
        assert [one.exception() for one in (first, *good)] == [None] * 3
    assert sorted(subjects(db)) == ["row:0", "row:1", "row:2"]


def test_what_comes_too_late_is_not_written(db):
    def late():
        raise Busy("too late")

    for rows in ([row(1)], []):
        with pytest.raises(Busy):
            Ledger(db).write(rows, check=late)
    assert subjects(db) == []


def test_a_database_that_is_away_is_said_to_everybody():
    away = open_database("sqlite:////nonexistent/folder/x.db")
    ledger = Ledger(away)
    with ThreadPoolExecutor(4) as pool:
        errors = [one.exception() for one in [pool.submit(ledger.write, [row(n)]) for n in range(4)]]
    assert all(isinstance(error, ClinicalError) for error in errors)


def test_no_row_is_lost_or_doubled_among_many_threads(db):
    ledger = Ledger(db)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: ledger.write([row(number)]), range(200)))
    with db.read() as conn:
        count = conn.execute(select(func.count(), func.count(audit.c.subject.distinct()))).one()
    assert tuple(count) == (200, 200)


def test_another_writer_keeps_nobody_waiting_longer_than_said(db):
    ledger = Ledger(db)
    started = threading.Event()
    leave = threading.Event()

    def hold():
        with db.write() as conn:
            conn.execute(insert(audit), row(0)[1])
            if db.dialect == "postgresql":  # whose writers wait for each other at a table lock only
                conn.exec_driver_sql("LOCK TABLE audit")
            started.set()
            leave.wait(60)

    with ThreadPoolExecutor(1) as pool:
        holder = pool.submit(hold)
        started.wait(60)
        with pytest.raises(Busy):
            ledger.write([row(1)], within_s=0.1)
        assert not holder.done()  # who wrote is still there: it was not waited for
        leave.set()
        holder.result()
    ledger.write([row(2)])
    assert subjects(db) == ["row:0", "row:2"]


def test_who_has_given_up_is_not_written_by_another(db, monkeypatch):
    ledger, gate, entered = Ledger(db), threading.Event(), threading.Event()
    real = db.append

    def held(within_s):
        entered.set()
        gate.wait(10)
        return real(within_s)

    monkeypatch.setattr(db, "append", held)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ledger.write, [row(0)])
        entered.wait(10)
        with pytest.raises(Busy):
            ledger.write([row(1)], within_s=0.02)
        gate.set()
        first.result()
    ledger.write([row(2)])
    assert subjects(db) == ["row:0", "row:2"]


def test_an_error_in_between_leaves_nothing_and_holds_up_nobody(db):
    def fail():
        with db.append() as add:
            add(audit, [row(1)[1]])
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    with db.write() as conn:
        conn.execute(insert(audit), row(2)[1])
    Ledger(db).write([row(3)])
    assert subjects(db) == ["row:2", "row:3"]


def test_sqlite_is_opened_anew_after_an_error_and_never_made(tmp_path):
    path = tmp_path / "late.db"
    late = open_database(f"sqlite:///{path}")
    with pytest.raises(Busy):
        Ledger(late).write([row(1)])
    assert not path.exists()
    made = database(tmp_path)
    made.dispose()
    Path(made.url.removeprefix("sqlite:///")).rename(path)
    Ledger(late).write([row(2)])
    assert subjects(late) == ["row:2"]
    late.dispose()
