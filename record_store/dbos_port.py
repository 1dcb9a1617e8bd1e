"""DBOS, set up the way we use it: JSON rows, a pinned version, no console, no network, our errors.

DBOS takes 0.7 s to import, so that happens in functions here. Our rows are JSON, but DBOS 3.4 still
unpickles a row that says it is a pickle: who can write the job tables can run code in the worker.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import make_url

from clinical.errors import Category, ClinicalError, Fault
from record_store.database import Database, open_database
from record_store.driver_errors import translated
from record_store.job_steps import Failure, failure_in

if TYPE_CHECKING:
    from dbos import Serializer

APPLICATION = "consilium"
# The number of the workflow's schema, not of the release: jobs of another number are never run. Raise it
# only when a recorded step could not be continued by the new code.
WORKFLOW_VERSION = "1"
_FAILURE = "consilium-failure"


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
        dbos.DBOS.migrate(url)


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
        "executor_id": executor_id,
        "application_version": WORKFLOW_VERSION,
        "serializer": json_serializer(),
        "log_level": "WARNING",
        "enable_otlp": False,
        # Queues are polled in any case; this saves a connection and works behind PgBouncer.
        "use_listen_notify": False,
        "sys_db_pool_size": slots + 4,
    }


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
