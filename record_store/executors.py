"""Which workers are alive: a row each, with the database's clock, so that machines need not agree on the time."""

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from record_store.sql import insert_once
from record_store.tables import executor, job_start

_TAKE_OVER_LOCK = 0x74616B65  # "take": one supervisor at a time


def beat(conn: Connection, executor_id: str) -> float:
    """Say that this worker is alive; return when, by the database's clock."""
    now = _now(conn)
    statement = update(executor).where(executor.c.executor_id == executor_id).values(beat_at=now)
    beat_at = conn.execute(statement.returning(executor.c.beat_at)).scalar()
    if beat_at is None:
        first = insert(executor).values(executor_id=executor_id, beat_at=now)
        beat_at = conn.execute(first.returning(executor.c.beat_at)).scalar_one()
    return float(beat_at)


def heard(conn: Connection, executor_id: str, silence_s: float) -> float | None:
    """Return the last beat of a worker that was heard within `silence_s` seconds."""
    query = select(executor.c.beat_at).where(
        executor.c.executor_id == executor_id, executor.c.beat_at >= _now(conn) - silence_s
    )
    return conn.execute(query).scalar_one_or_none()


def leave(conn: Connection, executor_id: str) -> None:
    """Say that this worker has ended in order; what it may have left behind is taken over at once."""
    conn.execute(delete(executor).where(executor.c.executor_id == executor_id))


def alive(conn: Connection, silence_s: float) -> set[str]:
    """Return the ids of the workers that were heard within `silence_s` seconds."""
    query = select(executor.c.executor_id).where(executor.c.beat_at >= _now(conn) - silence_s)
    return set(conn.execute(query).scalars())


def lock_take_over(conn: Connection) -> bool:
    """Take the supervisors' lock until the transaction ends; False when another one has it.

    SQLite: a write transaction holds it already.
    """
    if conn.dialect.name == "sqlite":
        return True
    return bool(conn.execute(select(sa.func.pg_try_advisory_xact_lock(_TAKE_OVER_LOCK))).scalar())


def starts(conn: Connection, job_key: str, step: str) -> int:
    """Return how often a job's step was begun since the step before it ended."""
    query = select(job_start.c.starts).where(job_start.c.job_key == job_key, job_start.c.step == step)
    return conn.execute(query).scalar_one_or_none() or 0


def count_start(conn: Connection, job_key: str, step: str) -> None:
    """Count a beginning of a job's step."""
    first = {"job_key": job_key, "step": step, "starts": 1}
    if insert_once(conn, job_start, first, ["job_key"]):
        return
    same = sa.case((job_start.c.step == step, job_start.c.starts + 1), else_=1)
    conn.execute(update(job_start).where(job_start.c.job_key == job_key).values(starts=same, step=step))


def forget_starts(conn: Connection, job_key: str) -> None:
    """Forget a job's beginnings: it is done, or a person wants it tried again."""
    conn.execute(delete(job_start).where(job_start.c.job_key == job_key))


def _now(conn: Connection) -> ColumnElement[float]:
    if conn.dialect.name == "sqlite":
        return sa.literal_column("(julianday('now') - 2440587.5) * 86400.0", sa.Float)
    return sa.literal_column("extract(epoch from clock_timestamp())::float8", sa.Float)
