"""A database before its first migration, and a clock."""

from datetime import UTC, datetime, timedelta

import pytest

from record_store.database import open_database
from record_store.testing import postgres_absent, postgres_url

START = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


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


@pytest.fixture(params=["sqlite", "postgresql"])
def own_db(request):
    """A migrated database of the test's own: workers leave more in it than rows."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_db")
        return
    with postgres_url(request.getfixturevalue("postgres_template")) as url:
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
