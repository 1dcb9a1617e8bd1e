"""One suite for both databases: the fixture `db` runs every test on SQLite and on PostgreSQL."""

import shutil
from datetime import UTC, datetime, timedelta

import pytest

from record_store import testing
from record_store.database import open_database
from record_store.testing import database, empty_all_tables, postgres_absent, postgres_url

START = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sqlite")
    database(folder).dispose()
    return folder / "consilium.db"


@pytest.fixture(scope="session")
def migrated_postgres():
    if reason := postgres_absent():
        pytest.skip(reason)
    with testing.migrated_postgres() as db:
        yield db


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request, tmp_path):
    if request.param == "postgresql":
        db = request.getfixturevalue("migrated_postgres")
        empty_all_tables(db)
        yield db
        return
    copy = tmp_path / "consilium.db"
    shutil.copy(request.getfixturevalue("migrated_sqlite"), copy)
    db = open_database(f"sqlite:///{copy}")
    yield db
    db.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request, tmp_path):
    """A database without tables."""
    if request.param == "sqlite":
        db = open_database(f"sqlite:///{tmp_path / 'empty.db'}")
        yield db
        db.dispose()
        return
    if reason := postgres_absent():
        pytest.skip(reason)
    with postgres_url() as url:
        db = open_database(url)
        yield db
        db.dispose()


@pytest.fixture
def now():
    """A clock that stands still until it is told: now(), now.advance(seconds)."""
    return StandingClock()


class StandingClock:
    def __init__(self):
        self.at = START

    def __call__(self):
        return self.at

    def advance(self, seconds):
        self.at += timedelta(seconds=seconds)
        return self.at
