"""Behind PgBouncer: in its transaction mode all is as with the server itself; its statement mode is refused."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager

import psycopg
import pytest

from clinical.errors import Fault
from record_store import executors
from record_store.changes import changes_of
from record_store.database import open_database
from record_store.jobs import JobClient, JobEngine
from record_store.migrate import migrate
from record_store.testing import postgres_absent, postgres_url
from tests.pooler import pooler

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

WAIT_S = 60
LOCKS = (
    "SELECT count(*) FROM pg_locks JOIN pg_database ON oid = database"
    " WHERE locktype = 'advisory' AND datname = current_database()"
)


@pytest.fixture
def server():
    """The address of an empty database."""
    if reason := postgres_absent():
        pytest.skip(reason)
    with postgres_url() as url:
        yield url


@contextmanager
def opened(url):
    db = open_database(url)
    try:
        yield db
    finally:
        db.dispose()


@pytest.fixture(params=["transaction", "session"])
def address(request, tmp_path, postgres_template):
    """The address of a migrated database behind a pooler."""
    with postgres_url(postgres_template) as url, pooler(tmp_path, url, request.param) as address:
        yield address


def plainly(url, statement):
    """Ask once, on a connection of one's own."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as conn:
        return conn.execute(statement).fetchone()[0]


def test_what_is_asked_again_and_again_is_answered_whichever_session_it_comes_to(address):
    with opened(address) as db, closing(changes_of(address)) as changed:
        with db.read() as one, db.read() as other:  # so that the pooler has two
            executors.alive(one, 5)
            executors.alive(other, 5)
        for number in range(12):  # psycopg prepares what it is asked for the sixth time
            before = changed()
            with db.write() as conn:
                executors.beat(conn, f"w{number}")
            assert changed() != before
        with db.read() as conn:
            assert len(executors.alive(conn, 3600)) == 12


@pytest.mark.parametrize("address", ["transaction"], indirect=True)
def test_how_long_a_lock_is_waited_for_holds_in_the_transaction_and_stays_in_no_session(address):
    with opened(address) as db:
        with db.write(within_s=2) as short, db.write() as usual:
            shown = [conn.exec_driver_sql("SHOW lock_timeout").scalar() for conn in (short, usual)]
        assert shown == ["2s", "5s"]
        with closing(JobClient(db)) as client:
            assert client.stats()["queued"] == 0
    for name in ("lock_timeout", "idle_in_transaction_session_timeout"):
        assert {plainly(address, f"SHOW {name}") for _ in range(8)} == {"0"}


def test_the_job_tables_are_made_by_several_at_once_and_no_session_keeps_the_lock(server, tmp_path):
    done = threading.Event()

    def step(_job, _before):
        done.set()
        return {}

    with ExitStack() as stack:
        address = stack.enter_context(pooler(tmp_path, server, "transaction"))
        dbs = [stack.enter_context(opened(address)) for _ in range(2)]
        clients = [stack.enter_context(closing(JobClient(db))) for db in dbs]
        migrate(dbs[0])
        with ThreadPoolExecutor(2) as callers:
            list(callers.map(lambda client: client.enqueue("job", {}), clients))
        assert plainly(server, LOCKS) == 0
        engine = JobEngine(dbs[0], "w1", [("read", step)], lambda *_: None, poll_s=0.02)
        engine.start()
        stack.callback(engine.stop, drain_s=1)
        assert done.wait(WAIT_S)


def test_a_pooler_that_has_no_transactions_is_refused_and_what_to_set_is_said(server, tmp_path):
    with (
        pooler(tmp_path, server, "statement") as address,
        opened(address) as db,
        pytest.raises(Fault, match="set pool_mode=transaction"),
    ):
        migrate(db)
