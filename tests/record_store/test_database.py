"""Transactions, their errors, and the tables that migrations make."""

import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, select, text

from clinical.errors import Busy, Fault, IncorrectInput
from record_store.database import open_database
from record_store.migrate import HEAD, migrate, migrate_if_needed, pending_migrations
from record_store.tables import audit, executor, metadata

EVERY_REVISION = tuple(f"{number:04}" for number in range(1, int(HEAD) + 1))


def row(name):
    return {"executor_id": name, "beat_at": 1.0}


def beat(conn, name):
    conn.execute(insert(executor).values(row(name)))


def names(db):
    with db.read() as conn:
        return list(conn.execute(select(executor.c.executor_id).order_by(executor.c.executor_id)).scalars())


def test_a_write_is_kept_when_the_block_ends_and_undone_when_an_error_leaves_it(db):
    with db.write() as conn:
        beat(conn, "kept")
    with pytest.raises(Fault), db.write() as conn:
        conn.execute(insert(executor), [row("undone"), row("undone")])
    assert names(db) == ["kept"]


def test_a_read_sees_one_snapshot_while_others_write(db):
    with db.read() as conn:
        before = conn.execute(select(executor)).all()
        with db.write() as other:
            beat(other, "later")
        assert conn.execute(select(executor)).all() == before == []
    assert names(db) == ["later"]


def test_a_read_refuses_to_write_and_the_next_write_is_not_disturbed(db):
    with pytest.raises(Fault), db.read() as conn:
        beat(conn, "smuggled")
    with db.write() as conn:
        beat(conn, "honest")
    assert names(db) == ["honest"]


def test_a_refused_statement_tells_no_value(db):
    with pytest.raises(Fault) as caught, db.write() as conn:
        conn.execute(insert(executor), [row("ZZCANARY-4711"), row("ZZCANARY-4711")])
    assert "ZZCANARY" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_database_that_is_away_is_busy(tmp_path):
    for url in (f"sqlite:///{tmp_path}/absent/x.db", "postgresql+psycopg://127.0.0.1:1/nowhere"):
        db = open_database(url)
        with pytest.raises(Busy), db.write() as conn:
            conn.execute(text("SELECT 1"))
        db.dispose()


def test_a_row_that_another_transaction_holds_is_busy_and_not_waited_for_without_end(
    migrated_postgres, monkeypatch
):
    monkeypatch.setattr("record_store.database.BUSY_TIMEOUT_S", 0.2)
    impatient = open_database(migrated_postgres.url)
    with migrated_postgres.write() as conn:
        conn.execute(text("LOCK TABLE instance"))
        with pytest.raises(Busy), impatient.write() as other:
            other.execute(text("SELECT 1 FROM instance"))
    impatient.dispose()


def test_sqlite_locked_by_another_writer_is_busy(tmp_path):
    db = open_database(f"sqlite:///{tmp_path}/x.db")
    with db.write(), pytest.raises(Busy), db.write(within_s=0.05):
        pass
    db.dispose()


def test_a_new_sqlite_file_is_waited_for_while_another_process_makes_it(tmp_path):
    """When all processes of a first start open it at once: SQLite itself refuses there and waits for nothing."""
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    made = threading.Timer(0.3, other.commit)
    made.start()
    db = open_database(f"sqlite:///{tmp_path}/x.db")
    with db.read() as conn:
        assert conn.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    made.join()
    db.dispose()
    other.close()


def test_a_new_sqlite_file_that_stays_locked_is_busy(tmp_path, monkeypatch):
    monkeypatch.setattr("record_store.database.BUSY_TIMEOUT_S", 0.2)
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    db = open_database(f"sqlite:///{tmp_path}/x.db")
    with pytest.raises(Busy), db.read():
        pass
    db.dispose()
    other.close()


@pytest.mark.parametrize("url", ["", "sqlite://", "sqlite:///relative.db", "mysql://u:secret@h/x", "nonsense"])
def test_other_urls_are_refused_without_being_repeated(url):
    with pytest.raises(IncorrectInput) as caught:
        open_database(url)
    assert "secret" not in str(caught.value)


def test_sqlite_keeps_commits_over_a_power_loss(tmp_path):
    db = open_database(f"sqlite:///{tmp_path}/x.db")
    with db.write() as conn:
        pragmas = {
            name: conn.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    db.dispose()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}


def test_a_write_that_need_not_be_durable_leaves_the_next_one_durable(db):
    setting = "PRAGMA synchronous" if db.dialect == "sqlite" else "SHOW synchronous_commit"
    found = []
    for durable in (True, False, True):
        with db.write(durable=durable) as conn:
            beat(conn, f"{len(found)}")
            found.append(conn.exec_driver_sql(setting).scalar())
    relaxed = 1 if db.dialect == "sqlite" else "off"
    assert [value == relaxed for value in found] == [False, True, False]
    assert names(db) == ["0", "1", "2"]


def test_concurrent_writers_wait_for_one_another(db):
    def write(number):
        with db.write() as conn:
            beat(conn, f"{number:02}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(24)))
    assert len(names(db)) == 24


def test_threads_that_use_it_first_at_the_same_time_share_what_each_of_them_opens(db):
    db.dispose()
    together = threading.Barrier(8)

    def use(number):
        together.wait()
        db.add_once(executor, row(f"once {number}"), ["executor_id"])
        with db.record() as run:
            run(insert(executor), row(f"record {number}"))
        with db.write() as conn:
            beat(conn, f"write {number}")
        return len(db.rows_of("SELECT executor_id FROM executor WHERE executor_id = ?", [f"write {number}"]))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, range(8))) == [1] * 8
    assert len(names(db)) == 24


@pytest.mark.slow
def test_a_forked_child_uses_connections_of_its_own(db):
    with db.write() as conn:
        beat(conn, "parent")
    child = os.fork()
    if child == 0:
        try:
            with db.write() as conn:
                beat(conn, "child")
            db.dispose()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    with db.write() as conn:
        beat(conn, "parent again")
    assert names(db) == ["child", "parent", "parent again"]


def test_migrations_make_exactly_the_tables_of_the_code(empty_database):
    migrate(empty_database)
    with empty_database.read() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_what_is_pending_is_told_and_applied_once(empty_database):
    assert pending_migrations(empty_database) == EVERY_REVISION
    assert migrate(empty_database) == EVERY_REVISION
    assert migrate(empty_database) == migrate_if_needed(empty_database) == ()
    with empty_database.read() as conn:
        assert conn.execute(text("SELECT version_num FROM alembic_version")).scalar() == HEAD
    assert pending_migrations(empty_database) == ()


@pytest.mark.slow
def test_simultaneous_migrations_wait_for_one_another(empty_database):
    barrier = threading.Barrier(4)

    def run(_):
        barrier.wait()
        return migrate(empty_database)

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(run, range(4))) == [(), (), (), EVERY_REVISION]


@pytest.mark.parametrize("db", ["postgresql"], indirect=True)
def test_what_was_written_at_once_is_planned_for_at_once(db):
    counted = text("SELECT reltuples FROM pg_class WHERE relname = 'audit'")
    row = {"at": "2026", "action": "a", "outcome": "o", "actor": "x", "subject": "s", "detail": "{}"}
    with db.write() as conn:
        conn.execute(insert(audit), [row] * 50)
    db.count_rows()
    with db.read() as conn:
        assert conn.execute(counted).scalar_one() == 50
