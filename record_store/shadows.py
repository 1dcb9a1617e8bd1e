"""Models whose readings nobody is shown, and which studies they have read: in shadow, and over what is stored.

A study and a model version are one row, taken by one process at a time for LEASE. A process that ends leaves its
row taken; whoever comes after that takes it, up to MOST_ATTEMPTS times, and what it had read of the study is kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson
from sqlalchemy import ColumnElement, Connection, Select, and_, delete, exists, func, or_, select, update

from clinical.errors import PreconditionMissing
from clinical.finding import ModelRef
from record_store.instances import CLOSED
from record_store.readings import FAILED as FAILED_JOB
from record_store.readings import QUEUED
from record_store.sql import insert_once
from record_store.tables import instance, prior, shadow_model, shadow_reading, shadow_study, study, study_job
from record_store.times import from_text, to_text

READING, DONE, FAILED = STATES = "reading", "done", "failed"
LEASE = timedelta(minutes=5)  # longer than a model may take for one image
REST = timedelta(minutes=1)  # before what failed is tried again
MOST_ATTEMPTS = 3
FORGET_AT_ONCE = 500
LIVE_PATIENCE = timedelta(minutes=10)  # a live job that waits longer than this waits for something else


@dataclass(frozen=True, slots=True)
class ShadowStudy:
    """What became of a study and a model. left_out, failures: reason -> how many images.

    state: reading, done or failed. revision: of the study, when it was taken last.
    """

    model: str
    version: str
    study_uid: str
    revision: int
    state: str
    attempts: int
    images: int
    left_out: Mapping[str, int]
    failures: Mapping[str, int]
    leased_until: datetime

    def ended_short(self, now: datetime) -> bool:
        """Tell whether its process ended while it was reading, as often as that is tried."""
        return self.state == READING and self.attempts >= MOST_ATTEMPTS and self.leased_until < now


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done to a study: images read now or before, and why others were not."""

    images: int
    left_out: Mapping[str, int]
    failures: Mapping[str, int]


def know(conn: Connection, model: ModelRef) -> None:
    """Note a model.

    Raises PreconditionMissing when other files have read under this version: their readings would be mixed up.
    """
    values = {"model": model.name, "version": model.version, "digest": model.digest}
    insert_once(conn, shadow_model, values, ["model", "version"])
    if conn.execute(select(shadow_model.c.digest).where(_is(model))).scalar_one() != model.digest:
        raise PreconditionMissing(
            f"other files have read in shadow as {model.name} {model.version}: give these a version of their own,"
            " or forget what those read (consilium study replay --forget)"
        )


def reads_since(conn: Connection, model: ModelRef, now: datetime) -> datetime:
    """Return since when a model reads what arrives: since it was asked for the first time. Raises as `know`."""
    know(conn, model)
    first = update(shadow_model).where(_is(model), shadow_model.c.since.is_(None))
    conn.execute(first.values(since=to_text(now)))
    return from_text(conn.execute(select(shadow_model.c.since).where(_is(model))).scalar_one())


def is_known(conn: Connection, model: str, version: str) -> bool:
    """Tell whether a model has read anything, or was about to, and is not forgotten."""
    query = select(shadow_model.c.digest).where(shadow_model.c.model == model, shadow_model.c.version == version)
    return conn.execute(query).first() is not None


def forget_some(conn: Connection, model: str, version: str) -> int:
    """Remove FORGET_AT_ONCE readings of a model, so that no writer waits for long; return how many that were.

    With the last of them the model goes, and which studies it has read: until then its version is no other files'.
    """
    mine = (shadow_reading.c.model == model, shadow_reading.c.version == version)
    some = select(shadow_reading.c.reading_id).where(*mine).limit(FORGET_AT_ONCE)
    gone = conn.execute(delete(shadow_reading).where(shadow_reading.c.reading_id.in_(some))).rowcount
    if gone < FORGET_AT_ONCE:
        for table in (shadow_study, shadow_model):
            conn.execute(delete(table).where(table.c.model == model, table.c.version == version))
    return gone


def wanting(
    conn: Connection, model: ModelRef, modalities: Sequence[str], received_from: datetime, now: datetime, most: int
) -> list[str]:
    """Return closed studies that arrived since then and that this model has not read as they are, oldest first."""
    settled = exists().where(
        shadow_study.c.study_uid == study.c.study_uid,
        shadow_study.c.model == model.name,
        shadow_study.c.version == model.version,
        shadow_study.c.revision == study.c.revision,
        ~_may_be_taken(now),
    )
    query = _meant(modalities).where(study.c.last_received_at >= to_text(received_from), ~settled)
    return list(conn.execute(query.limit(most)).scalars())


def stored_between(
    conn: Connection, modalities: Sequence[str], since: datetime | None, until: datetime | None
) -> list[str]:
    """Return the closed studies with images of these modalities that arrived in [since, until), oldest first."""
    query = _meant(modalities)
    if since is not None:
        query = query.where(study.c.last_received_at >= to_text(since))
    if until is not None:
        query = query.where(study.c.last_received_at < to_text(until))
    return list(conn.execute(query).scalars())


def _meant(modalities: Sequence[str]) -> Select[str]:
    """Select the studies that models read: closed, no priors, with an image of these modalities."""
    of_them = exists().where(instance.c.study_uid == study.c.study_uid, instance.c.modality.in_(tuple(modalities)))
    fetched = exists().where(prior.c.prior_uid == study.c.study_uid)
    query = select(study.c.study_uid).where(study.c.state == CLOSED, of_them, ~fetched)
    return query.order_by(study.c.last_received_at, study.c.study_uid)


def take(conn: Connection, model: ModelRef, study_uid: str, owner: str, now: datetime) -> bool:
    """Take a study as it is now. False: it is read, another process has it, or it failed too often."""
    revision = conn.execute(select(study.c.revision).where(study.c.study_uid == study_uid)).scalar_one_or_none()
    if revision is None:
        return False
    values = {
        "revision": revision,
        "state": READING,
        "owner": owner,
        "leased_until": to_text(now + LEASE),
        "settled_at": to_text(now),
    }
    empty = {"attempts": 1, "images": 0, "left_out": "{}", "failures": "{}"}
    named = {"model": model.name, "version": model.version, "study_uid": study_uid}
    if insert_once(conn, shadow_study, named | values | empty, ["model", "version", "study_uid"]):
        return True
    changed, mine = shadow_study.c.revision != revision, update(shadow_study).where(_same(model, study_uid))
    if conn.execute(mine.where(changed, _free(now)).values(**values, attempts=1)).rowcount == 1:
        return True
    again = mine.where(~changed, _may_be_taken(now)).values(**values, attempts=shadow_study.c.attempts + 1)
    return conn.execute(again).rowcount == 1


def keep(conn: Connection, model: ModelRef, study_uid: str, owner: str, now: datetime) -> None:
    """Say that a study is still being read."""
    mine = update(shadow_study).where(_same(model, study_uid), shadow_study.c.owner == owner)
    conn.execute(mine.values(leased_until=to_text(now + LEASE)))


def settle(conn: Connection, model: ModelRef, study_uid: str, owner: str, outcome: Outcome, now: datetime) -> None:
    """Write down what became of a study; it failed when an image did."""
    values = {
        "state": FAILED if outcome.failures else DONE,
        "images": outcome.images,
        "left_out": orjson.dumps(dict(outcome.left_out)).decode(),
        "failures": orjson.dumps(dict(outcome.failures)).decode(),
        "settled_at": to_text(now),
        "leased_until": to_text(now),
    }
    mine = update(shadow_study).where(_same(model, study_uid), shadow_study.c.owner == owner)
    conn.execute(mine.values(**values))


def give_back(conn: Connection, model: ModelRef, study_uid: str, owner: str, now: datetime) -> None:
    """Let go of a study that was not read to its end: it counts as not tried."""
    mine = update(shadow_study).where(_same(model, study_uid), shadow_study.c.owner == owner)
    values = {"leased_until": to_text(now), "attempts": shadow_study.c.attempts - 1}
    conn.execute(mine.values(**values))


def owners(conn: Connection) -> set[str]:
    """Return who has taken studies that are not settled."""
    return set(conn.execute(select(shadow_study.c.owner).where(shadow_study.c.state == READING)).scalars())


def end_of(conn: Connection, owner: str, now: datetime) -> int:
    """Say that a process is gone: what it had taken may be taken at once. Return how many studies that are."""
    its = (
        shadow_study.c.owner == owner,
        shadow_study.c.state == READING,
        shadow_study.c.leased_until > to_text(now),
    )
    return conn.execute(update(shadow_study).where(*its).values(leased_until=to_text(now))).rowcount


def try_again(conn: Connection, model: ModelRef) -> int:
    """Let what failed, or ended its process, be tried again at once; return how many studies."""
    again = and_(shadow_study.c.model == model.name, shadow_study.c.version == model.version)
    open_ = update(shadow_study).where(again, shadow_study.c.state != DONE)
    return conn.execute(open_.values(attempts=0, settled_at="")).rowcount


def row_of(conn: Connection, model: ModelRef, study_uid: str) -> ShadowStudy | None:
    """Return what became of a study and a model, or None."""
    rows = _rows(conn, _same(model, study_uid))
    return rows[0] if rows else None


def shadows_of(conn: Connection, study_uid: str) -> list[ShadowStudy]:
    """Return what models did to a study that nobody is shown, by their names and versions."""
    return _rows(conn, shadow_study.c.study_uid == study_uid)


def of_model(conn: Connection, model: str, version: str) -> list[ShadowStudy]:
    """Return the studies that a model has taken, by their UIDs."""
    return _rows(conn, and_(shadow_study.c.model == model, shadow_study.c.version == version))


def counts(conn: Connection) -> list[tuple[str, str, str, int]]:
    """Return model, version, state and how many studies are in it."""
    columns = (shadow_study.c.model, shadow_study.c.version, shadow_study.c.state)
    return [tuple(row) for row in conn.execute(select(*columns, func.count()).group_by(*columns))]


def live_jobs_waiting(conn: Connection, now: datetime) -> int:
    """Return how many jobs of live models are not finished and not older than LIVE_PATIENCE."""
    young = (study_job.c.state == QUEUED, study_job.c.created_at >= to_text(now - LIVE_PATIENCE))
    return int(conn.execute(select(func.count()).select_from(study_job).where(*young)).scalar_one())


def live_failures(conn: Connection, model: str, version: str) -> list[tuple[str, str]]:
    """Return (study UID, reason) of the failed jobs of a live model."""
    mine = (study_job.c.model == model, study_job.c.model_version == version, study_job.c.state == FAILED_JOB)
    query = select(study_job.c.study_uid, study_job.c.reason).where(*mine)
    return [(uid, reason or "") for uid, reason in conn.execute(query)]


def _is(model: ModelRef) -> ColumnElement[bool]:
    return and_(shadow_model.c.model == model.name, shadow_model.c.version == model.version)


def _same(model: ModelRef, study_uid: str) -> ColumnElement[bool]:
    table = shadow_study.c
    return and_(table.model == model.name, table.version == model.version, table.study_uid == study_uid)


def _free(now: datetime) -> ColumnElement[bool]:
    return or_(shadow_study.c.state != READING, shadow_study.c.leased_until <= to_text(now))


def _may_be_taken(now: datetime) -> ColumnElement[bool]:
    """Say of a row whose study is as it was: its turn is over, or it failed a while ago, and not too often."""
    table = shadow_study.c
    over = and_(table.state == READING, table.leased_until <= to_text(now))
    failed = and_(table.state == FAILED, table.settled_at <= to_text(now - REST))
    return and_(or_(over, failed), table.attempts < MOST_ATTEMPTS)


def _rows(conn: Connection, where: ColumnElement[bool]) -> list[ShadowStudy]:
    order = (shadow_study.c.model, shadow_study.c.version, shadow_study.c.study_uid)
    return [
        ShadowStudy(
            model=row.model,
            version=row.version,
            study_uid=row.study_uid,
            revision=row.revision,
            state=row.state,
            attempts=row.attempts,
            images=row.images,
            left_out=orjson.loads(row.left_out),
            failures=orjson.loads(row.failures),
            leased_until=from_text(row.leased_until),
        )
        for row in conn.execute(select(shadow_study).where(where).order_by(*order))
    ]
