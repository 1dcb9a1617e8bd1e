"""A role brings the database up in a process of its own, whose words it repeats when that fails."""

import os

import pytest

from clinical.errors import Busy, Fault
from consilium import migrating
from consilium.migrating import migrate_apart
from record_store.database import open_database
from record_store.migrate import is_current

pytestmark = pytest.mark.slow


@pytest.fixture
def db(tmp_path):
    made = open_database(f"sqlite:///{tmp_path}/new.db")
    yield made
    made.dispose()


def test_a_new_database_is_brought_up_and_another_time_nothing_is_forked(db, tmp_path, monkeypatch):
    migrate_apart(db, tmp_path)
    assert is_current(db)
    monkeypatch.delattr(os, "fork")
    migrate_apart(db, tmp_path)


def test_why_it_could_not_be_done_is_said_by_who_asked(db, tmp_path, monkeypatch):
    def locked(_db):
        raise Busy("the database is away, locked or full")

    monkeypatch.setattr(migrating, "migrate", locked)
    with pytest.raises(Busy, match="away, locked or full"):
        migrate_apart(db, tmp_path)


def test_a_mistake_of_ours_is_a_traceback_and_no_success(db, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(migrating, "migrate", lambda _db: 1 / 0)
    with pytest.raises(Fault, match="tables of this version"):
        migrate_apart(db, tmp_path)
    assert "ZeroDivisionError" in capfd.readouterr().err
