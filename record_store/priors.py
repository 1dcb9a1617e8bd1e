"""Which earlier studies of a patient were asked for, and what became of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, or_, select, update

from record_store.also_sent import FETCHED as BY_RETRIEVE
from record_store.instances import CLOSED, OPEN
from record_store.sql import insert_once
from record_store.tables import instance, prior, study, study_header
from record_store.times import from_text, to_text

ASKING, ASKED, FAILED, WANTED, FETCHING, FETCHED = "asking", "asked", "failed", "wanted", "fetching", "fetched"
ASK_FOR = timedelta(hours=1)  # since a study's last object; later its priors are of no use any more
ASK_AGAIN = timedelta(minutes=1)
LEASE = timedelta(minutes=10)  # a worker that was asking or fetching for longer has ended
MOST_ATTEMPTS = 3
CUT_OFF = "the worker that fetched it ended before it had come"


@dataclass(frozen=True, slots=True)
class Current:
    """A study whose priors may be wanted; what its index row says ("" where nothing)."""

    study_uid: str
    patient_id: str
    issuer_of_patient_id: str
    patient_birth_date: str
    study_date: str
    modalities: frozenset[str]
    senders: frozenset[str]


@dataclass(frozen=True, slots=True)
class PriorRow:
    """What became of a prior, or of the question for them (prior_uid is "" then)."""

    study_uid: str
    prior_uid: str
    archive: str
    rule: str
    state: str
    problem: str | None
    objects: int
    attempts: int
    at: datetime


def unasked(conn: Connection, now: datetime, limit: int) -> list[Current]:
    """Return studies of the last hour whose priors nobody has asked for, or whose question failed a while ago.

    Only those that name a patient and are in the index of headers; a prior has no priors.
    """
    header, question = study_header.c, prior.alias()
    fetched_as_prior = select(prior.c.prior_uid).where(prior.c.prior_uid == study.c.study_uid).exists()
    query = (
        select(
            header.study_uid,
            header.patient_id,
            header.issuer_of_patient_id,
            header.patient_birth_date,
            header.study_date,
            header.modalities_in_study,
            header.senders,
        )
        .join(study, study.c.study_uid == header.study_uid)
        .outerjoin(question, and_(question.c.study_uid == header.study_uid, question.c.prior_uid == ""))
        .where(
            study.c.state.in_((OPEN, CLOSED)),
            study.c.last_received_at >= to_text(now - ASK_FOR),
            study.c.patient_value.is_not(None),
            header.patient_id != "",
            ~fetched_as_prior,
            or_(question.c.state.is_(None), _stale(question, now)),
        )
        .order_by(study.c.last_received_at)
        .limit(limit)
    )
    return [
        Current(*row[:5], frozenset(filter(None, row[5].split("\\"))), frozenset(filter(None, row[6].split("\\"))))
        for row in conn.execute(query)
    ]


def claim_question(conn: Connection, study_uid: str, archive: str, rule: str, now: datetime) -> bool:
    """Write that priors are being asked for; False when another worker does it, or has done it."""
    values = _values(study_uid, "", archive, rule, ASKING, now)
    if insert_once(conn, prior, values, ["study_uid", "prior_uid"]):
        return True
    again = update(prior).where(prior.c.study_uid == study_uid, prior.c.prior_uid == "", _stale(prior, now))
    return conn.execute(again.values(state=ASKING, archive=archive, rule=rule, at=to_text(now))).rowcount == 1


def answer_question(
    conn: Connection, study_uid: str, now: datetime, *, found: int, chosen: Sequence[str], problem: str | None
) -> None:
    """Write what the archive knows, and which priors are wanted of it; problem: why it did not answer."""
    question = select(prior).where(prior.c.study_uid == study_uid, prior.c.prior_uid == "")
    asked = conn.execute(question.with_for_update()).mappings().one()
    state = ASKED if problem is None else FAILED
    conn.execute(
        update(prior)
        .where(prior.c.study_uid == study_uid, prior.c.prior_uid == "")
        .values(state=state, problem=problem, objects=found, at=to_text(now))
    )
    for uid in chosen:
        values = _values(study_uid, uid, asked["archive"], asked["rule"], WANTED, now)
        insert_once(conn, prior, values, ["study_uid", "prior_uid"])


def claim_wanted(conn: Connection, now: datetime) -> PriorRow | None:
    """Take one prior to fetch, the one that waits longest; None when there is none.

    One whose last attempt ended with its worker is given up.
    """
    given_up = (prior.c.state == FETCHING, prior.c.at < to_text(now - LEASE), prior.c.attempts >= MOST_ATTEMPTS)
    conn.execute(update(prior).where(*given_up).values(state=FAILED, problem=CUT_OFF, at=to_text(now)))
    due = or_(
        and_(prior.c.state == WANTED, or_(prior.c.attempts == 0, prior.c.at < to_text(now - ASK_AGAIN))),
        and_(prior.c.state == FETCHING, prior.c.at < to_text(now - LEASE)),
    )
    query = select(prior).where(prior.c.prior_uid != "", due).order_by(prior.c.at).limit(1)
    row = conn.execute(query.with_for_update(skip_locked=True)).first()
    if row is None:
        return None
    one = _row(row)
    conn.execute(_of(one).values(state=FETCHING, at=to_text(now), attempts=one.attempts + 1))
    return one


def end_fetch(conn: Connection, one: PriorRow, now: datetime, *, objects: int, problem: str | None) -> str | None:
    """Write how fetching a prior ended and return its state; it is tried MOST_ATTEMPTS times.

    None when it took so long that another worker has it now, unless it has come.
    """
    state = FETCHED if problem is None else WANTED if one.attempts + 1 < MOST_ATTEMPTS else FAILED
    ours = _of(one)
    if state != FETCHED:
        ours = ours.where(prior.c.state == FETCHING, prior.c.attempts == one.attempts + 1)
    ended = conn.execute(ours.values(state=state, problem=problem, objects=objects, at=to_text(now)))
    return state if ended.rowcount else None


def is_prior(conn: Connection, study_uid: str) -> bool:
    """Tell whether a study is here because it was asked for as a prior."""
    query = select(prior.c.prior_uid).where(prior.c.prior_uid == study_uid).limit(1)
    return conn.execute(query).first() is not None


def only_fetched(conn: Connection, study_uid: str, titles: Mapping[str, str]) -> bool:
    """Tell whether a study is here as a prior alone: nobody sent any of it but for a retrieve of ours.

    titles: the AE titles of archives. An archive need not say that it answers a C-MOVE (PS3.7 9.1.1.1); where it
    never does, what it sends is taken for the answer.
    """
    asked = conn.execute(select(prior.c.archive).where(prior.c.prior_uid == study_uid).distinct()).scalars().all()
    senders = select(instance.c.fetched, instance.c.calling_ae).where(instance.c.study_uid == study_uid).distinct()
    came = {(fetched, title) for fetched, title in conn.execute(senders)}
    silent = set() if any(fetched for fetched, _ in came) else {(0, titles.get(name)) for name in asked}
    return bool(asked) and all(fetched == BY_RETRIEVE or (fetched, title) in silent for fetched, title in came)


def priors_of(conn: Connection, study_uid: str) -> list[PriorRow]:
    """Return the question for a study's priors, and the priors, in the order of their UIDs."""
    query = select(prior).where(prior.c.study_uid == study_uid).order_by(prior.c.prior_uid)
    return [_row(row) for row in conn.execute(query)]


def held_of(conn: Connection, study_uids: Sequence[str]) -> frozenset[str]:
    """Return which of these studies are here."""
    query = select(instance.c.study_uid).where(instance.c.study_uid.in_(study_uids)).distinct()
    return frozenset(conn.execute(query).scalars())


def _stale(table: Any, now: datetime) -> Any:  # noqa: ANN401
    return or_(
        and_(table.c.state == FAILED, table.c.at < to_text(now - ASK_AGAIN)),
        and_(table.c.state == ASKING, table.c.at < to_text(now - LEASE)),
    )


def _of(one: PriorRow) -> Any:  # noqa: ANN401 - SQLAlchemy's update
    return update(prior).where(prior.c.study_uid == one.study_uid, prior.c.prior_uid == one.prior_uid)


def _values(study_uid: str, uid: str, archive: str, rule: str, state: str, now: datetime) -> dict[str, object]:
    return {
        "study_uid": study_uid,
        "prior_uid": uid,
        "archive": archive,
        "rule": rule,
        "state": state,
        "at": to_text(now),
    }


def _row(row: Any) -> PriorRow:  # noqa: ANN401
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping
    return PriorRow(**values | {"at": from_text(values["at"])})
