"""DBOS, set up the way we use it: JSON rows, a pinned version, no console, no network, our errors.

DBOS takes 0.7 s to import, so that happens in functions here. Our rows are JSON, but DBOS 3.4 still
unpickles a row that says it is a pickle: who can write the job tables can run code in the worker.
"""

import logging
import math
import os
import re
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import Engine, event, make_url

from clinical.errors import Busy, Category, ClinicalError, Fault
from record_store.changes import Changes
from record_store.database import Database, open_database
from record_store.driver_errors import translated
from record_store.job_steps import Failure, failure_in

if TYPE_CHECKING:
    from dbos import Serializer

APPLICATION = "consilium"
# The number of the workflow's schema, not of the release: jobs of another number are never run. Raise it
# only when a recorded step could not be continued by the new code.
WORKFLOW_VERSION = "1"
LOOK_S = 5.0  # what a change that DBOS failed to act on may wait
_FAILURE = "consilium-failure"
_DBOS_LOCK = 1234567890  # DBOS's own number, of all that migrate its tables
_SESSION_LOCK = re.compile(r"pg_(try_advisory_lock|advisory_unlock)\(")
_MIGRATING_S, _TURN_S = 30.0, 0.2


class JobFailed(ClinicalError):
    """What ends a workflow whose job is parked: the failure of its step."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def jobs_url(db: Database) -> str:
    """Return where DBOS keeps its tables: schema "dbos" of the same PostgreSQL database, or jobs.db beside
    the SQLite file (a second file, so that polling does not wait for the record store's writer)."""
    url = make_url(db.url)
    if db.dialect == "sqlite":
        url = url.set(database=str(Path(url.database or "").with_name("jobs.db")))
    return url.render_as_string(hide_password=False)


def prepare_jobs(db: Database) -> None:
    """Create or migrate DBOS's tables; simultaneous callers are fine. Raises Busy when the database is away."""
    dbos = load_dbos()
    url = jobs_url(db)
    if db.dialect == "sqlite":
        # DBOS leaves the journal mode alone. Our connections set WAL, and it stays with the file.
        file = open_database(url)
        with file.read():
            pass
        file.dispose()
    with our_errors():
        pooled = db.pooled()
        if pooled is None:
            dbos.DBOS.migrate(url)
        else:
            _migrate_pooled(db, pooled)


def _migrate_pooled(db: Database, engine: Engine) -> None:
    """Do as DBOS.migrate does. That holds a lock by its session: behind a pooler another one may give it back.

    A transaction holds the same lock meanwhile, so whoever migrates past the pooler takes turns with us.
    """
    until = time.monotonic() + _MIGRATING_S
    while time.monotonic() < until:
        with db.write() as conn:
            # Asked for and not waited for, and without a parameter, which would be sent by itself: both leave a
            # snapshot open, and what builds an index beside the writers waits until there is none.
            if conn.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({_DBOS_LOCK})").scalar():
                _migrate_on(engine)
                return
        time.sleep(_TURN_S)
    raise Busy("another process makes the job tables")


def _migrate_on(engine: Engine) -> None:
    from dbos._sys_db import SystemDatabase  # noqa: PLC0415

    ours = engine.execution_options()  # with events of its own
    event.listen(ours, "before_cursor_execute", _without_session_lock, retval=True)
    system = SystemDatabase.create(
        system_database_url="postgresql://",
        engine_kwargs={},
        engine=ours,
        schema="dbos",
        serializer=json_serializer(),
        executor_id=None,
        use_listen_notify=False,
    )
    try:
        system.run_migrations()
    finally:
        system.destroy()


def _without_session_lock(_conn: Any, _cursor: Any, statement: str, given: Any, *_more: Any) -> tuple[str, Any]:  # noqa: ANN401
    return _SESSION_LOCK.sub("0 < (", statement), given


def load_dbos() -> Any:  # noqa: ANN401 - a module, imported late
    # DBOS Cloud and Conductor are switched on by the environment; this server calls nobody.
    os.environ["DBOS__CLOUD"] = "false"
    import dbos  # noqa: PLC0415 - 0.7 s that only a worker should pay

    quiet_logger()
    return dbos


def quiet_logger() -> None:
    """Take DBOS's console handler away: what it has to say goes where our logs go, from WARNING up."""
    logger = logging.getLogger("dbos")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.addFilter(_is_news)
    logger.propagate = True
    logger.setLevel(logging.WARNING)


def _is_news(record: logging.LogRecord) -> bool:
    # A parked job has been logged by the time DBOS writes its traceback.
    return not (record.exc_info and isinstance(record.exc_info[1], JobFailed))


def engine_config(db: Database, executor_id: str, slots: int) -> dict[str, Any]:
    return {
        "name": APPLICATION,
        "system_database_url": jobs_url(db),
        "system_database_engine": db.pooled(),
        "executor_id": executor_id,
        "application_version": WORKFLOW_VERSION,
        "serializer": json_serializer(),
        "log_level": "WARNING",
        "enable_otlp": False,
        # Queues are polled in any case; this saves a connection and works behind PgBouncer.
        "use_listen_notify": False,
        "sys_db_pool_size": slots + 4,
    }


def look_after_changes(launched: Any, changed: Changes, look_s: float = LOOK_S) -> None:  # noqa: ANN401 - DBOS
    """Let a launched DBOS ask for queued jobs when something has changed, else every `look_s`.

    It reads its queue's row and tries to claim in three statements each time it looks, and each second it looks
    for new queues, for jobs whose delay is over and for such as took too long. Ours have neither delay nor limit.
    What it asks first is whether there is anything to claim in; that is where it is told that there is not.
    """
    system, lock = launched._sys_db, threading.Lock()  # noqa: SLF001
    running = launched._active_workflows_set.count_for_queue  # noqa: SLF001
    asked = system.dequeue_scopes
    looks: dict[str, Look] = {}

    def scopes(queue: str) -> Any:  # noqa: ANN401
        with lock:
            try:
                seen: Hashable = changed()
            except ClinicalError:
                seen = object()  # DBOS meets it as well, and says so
            if not looks.setdefault(queue, Look(look_s)).is_due((seen, running(queue)), time.monotonic()):
                return []
        return asked(queue)

    system.dequeue_scopes = scopes
    system.get_queue, system.list_queues = (
        said_again(one, look_s) for one in (system.get_queue, system.list_queues)
    )
    system.transition_delayed_workflows = seldom(system.transition_delayed_workflows, look_s, instead=None)
    system.cancel_timed_out_workflows = seldom(system.cancel_timed_out_workflows, look_s, instead=[])


def said_again(read: Callable[..., Any], for_s: float, now: Callable[[], float] = time.monotonic) -> Any:  # noqa: ANN401
    """Return what gives the last answer to the same question again, for so long."""
    said: dict[Hashable, tuple[float, Any]] = {}

    def answer(*of: Hashable, **named: Hashable) -> Any:  # noqa: ANN401
        asked = of, tuple(sorted(named.items()))
        at, found = said.get(asked, (-math.inf, None))
        if now() - at >= for_s:
            found = read(*of, **named)
            said[asked] = now(), found
        return found

    return answer


def seldom(
    work: Callable[..., Any],
    every_s: float,
    *,
    instead: Any,  # noqa: ANN401
    now: Callable[[], float] = time.monotonic,
) -> Callable[..., Any]:
    """Return what works no more often than that, and gives `instead` between."""
    at = -math.inf

    def answer(*of: Any, **named: Any) -> Any:  # noqa: ANN401
        nonlocal at
        if now() - at < every_s:
            return instead
        at = now()
        return work(*of, **named)

    return answer


class Look:
    """When a queue is to be looked at: after a change, and `look_s` after the last look all the same."""

    def __init__(self, look_s: float = LOOK_S) -> None:
        self._look_s = look_s
        self._seen: Hashable = None
        self._at = -math.inf

    def is_due(self, seen: Hashable, now: float) -> bool:
        """Tell whether to look now. seen: other than before when anything has changed.

        It is taken before the look: what changes meanwhile is looked for again.
        """
        if seen == self._seen and now - self._at < self._look_s:
            return False
        self._seen, self._at = seen, now
        return True


def json_serializer() -> "Serializer":
    from dbos import Serializer  # noqa: PLC0415

    class JsonSerializer(Serializer):
        """JSON for arguments and results, and for the one error that ends our workflows."""

        def name(self) -> str:
            return "consilium_json"

        def serialize(self, data: Any) -> str:  # noqa: ANN401 - DBOS's signature
            if isinstance(data, JobFailed):
                data = {_FAILURE: data.failure.as_json()}
            elif isinstance(data, BaseException):
                data = {_FAILURE: Failure(Category.FAULT, f"the engine raised {type(data).__name__}").as_json()}
            return orjson.dumps(data).decode()

        def deserialize(self, serialized_data: str) -> Any:  # noqa: ANN401
            data = orjson.loads(serialized_data)
            if isinstance(data, dict) and _FAILURE in data:
                failure = failure_in(data[_FAILURE])
                return JobFailed(failure) if failure else data
            return data

    return JsonSerializer()


@contextmanager
def our_errors() -> Iterator[None]:
    """Turn DBOS's and the driver's errors into ours."""
    from dbos import error  # noqa: PLC0415

    with translated():
        try:
            yield
        except error.DBOSException as exc:
            raise Fault(f"the job engine refused ({type(exc).__name__})") from None
