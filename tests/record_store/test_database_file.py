"""The file of a SQLite database removed or replaced under a server: nothing is promised, nothing is shown."""

import pytest
from sqlalchemy import insert, select

from clinical.errors import Busy
from record_store.tables import revoked_token
from record_store.testing import database

ROW = {"token_id": "1", "expires_at": "2026-11-27T10:00:00.000000Z"}


def by_write(db):
    with db.write() as conn:
        conn.execute(insert(revoked_token), ROW)


def by_append(db):
    with db.append() as add:
        add(revoked_token, [ROW])


def by_record(db):
    with db.record() as run:
        run(insert(revoked_token), ROW)


def by_add_one(db):
    db.add_one(revoked_token, ROW)


def by_add_once(db):
    db.add_once(revoked_token, ROW, ["token_id"])


def by_read(db):
    with db.read() as conn:
        conn.execute(select(revoked_token)).all()


def by_rows_of(db):
    db.rows_of("SELECT token_id FROM revoked_token WHERE token_id = ?", ("1",))


def by_settle(db):
    db.settle()


@pytest.mark.parametrize(
    "use", [by_write, by_append, by_record, by_add_one, by_add_once, by_read, by_rows_of, by_settle]
)
def test_every_use_of_a_database_whose_file_was_replaced_is_busy(sqlite_db, tmp_path, use):
    by_rows_of(sqlite_db)
    (tmp_path / "consilium.db").unlink()
    database(tmp_path).dispose()
    with pytest.raises(Busy, match="put it back, or start anew"):
        use(sqlite_db)


def write_and_lose(db, file):
    with db.write() as conn:
        conn.execute(insert(revoked_token), ROW)
        file.unlink()


def test_what_is_written_while_the_file_is_removed_is_promised_to_nobody(sqlite_db, tmp_path):
    by_read(sqlite_db)
    with pytest.raises(Busy):
        write_and_lose(sqlite_db, tmp_path / "consilium.db")


def test_after_its_connections_were_closed_the_file_that_is_there_is_used(sqlite_db, tmp_path):
    by_write(sqlite_db)
    sqlite_db.dispose()
    (tmp_path / "consilium.db").unlink()
    database(tmp_path).dispose()
    by_write(sqlite_db)
