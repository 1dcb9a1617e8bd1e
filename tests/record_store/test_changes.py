"""Whether anything was committed since: seen by who only asks that, on both databases."""

from contextlib import ExitStack, closing

import pytest
from sqlalchemy import make_url

from clinical.errors import Busy
from record_store import executors
from record_store.changes import changes_of
from record_store.testing import database


def beat(db, name="w1"):
    with db.write() as conn:
        executors.beat(conn, name)


@pytest.fixture
def seeing():
    with ExitStack() as stack:

        def make(url):
            return stack.enter_context(closing(changes_of(url)))

        yield make


def test_a_commit_is_seen_whoever_makes_it_and_how_durable_it_is(db, seeing):
    changed = seeing(db.url)
    before = changed()
    beat(db)
    after = changed()
    assert after != before
    with db.write(durable=False) as conn:
        executors.beat(conn, "w2")
    assert changed() != after


def test_reading_is_no_change(tmp_path, seeing):
    db = database(tmp_path)  # PostgreSQL's moves with other tests' writes
    changed = seeing(db.url)
    before = changed()
    with db.read() as conn:
        executors.alive(conn, 5)
    with db.write() as conn:
        executors.alive(conn, 5)
    assert changed() == before
    db.dispose()


def test_what_is_not_committed_yet_is_seen_when_it_is(db, seeing):
    changed = seeing(db.url)
    with db.write() as conn:
        executors.beat(conn, "w1")
        during = changed()
    assert changed() != during


def test_a_database_that_was_put_in_the_place_of_another_is_a_change_and_one_that_is_gone_is_said(
    tmp_path, seeing
):
    for name in "ab":
        (tmp_path / name).mkdir()
    db, other = database(tmp_path / "a"), database(tmp_path / "b")
    db.dispose()
    other.dispose()
    changed = seeing(db.url)
    before = changed()
    (tmp_path / "b" / "consilium.db").replace(tmp_path / "a" / "consilium.db")
    assert changed() != before
    (tmp_path / "a" / "consilium.db").unlink()
    with pytest.raises(Busy):
        changed()


@pytest.mark.postgres
def test_a_lost_connection_is_said_once_and_made_anew(postgres_db, seeing):
    changed = seeing(postgres_db.url)
    changed()
    with postgres_db.write() as conn:
        ours = "pid <> pg_backend_pid() AND datname = current_database() AND query LIKE '%%pg_current_snapshot%%'"
        conn.exec_driver_sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}").all()
    with pytest.raises(Busy):
        changed()
    assert changed() is not None


@pytest.mark.postgres
def test_an_address_that_the_pool_understands_is_understood(postgres_db, seeing):
    url = make_url(postgres_db.url)
    place = f"{url.host}:{url.port}"
    several = url.set(host=None, port=None, query={"host": (place, place), "connect_timeout": "3"})
    spaced = url.set(password="two words")
    for one in (several, spaced):
        assert seeing(one.render_as_string(hide_password=False))() is not None
