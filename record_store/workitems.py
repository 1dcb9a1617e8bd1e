"""Steps of other worklists that are performed here (UPS): a row each, from before the claim to the end and after.

A claim of a row is a lease, as with deliveries: the step of a process that died is due again by itself, with the
same transaction UID, so that the worklist knows its performer again.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select, update

from record_store.database import Database
from record_store.deliveries import RetryPolicy
from record_store.sql import insert_missing, insert_once
from record_store.tables import instance, workitem, workitem_study
from record_store.times import from_text, to_text

# wanted: to be claimed. claimed: ours, its input is to be looked at. completing, canceling: to be said.
WANTED, CLAIMED, FETCHING, READING = "wanted", "claimed", "fetching", "reading"
COMPLETING, CANCELING = "completing", "canceling"
UNDER_WAY = (WANTED, CLAIMED, FETCHING, READING, COMPLETING, CANCELING)
# lost: another performer has it, or the worklist has it no longer. dead: given up after all attempts.
COMPLETED, CANCELED, LOST, DEAD = "completed", "canceled", "lost", "dead"
_AT_ONCE = 500  # UIDs in one statement
_FETCHED, _BEGUN, _ASKED = 1, -1, -2


@dataclass(frozen=True, slots=True)
class WorkitemRow:
    """Where a step stands; fields as the table's columns. patient_system: None where it is not said."""

    worklist: str
    workitem_uid: str
    transaction_uid: str
    rule: str
    state: str
    patient_system: str | None = field(repr=False)
    patient_value: str | None = field(repr=False)
    codes: tuple[tuple[str, str, str], ...]
    told: int
    reason_code: str | None
    reason: str | None
    outputs: int
    problem: str | None
    attempts: int
    stopped_in: str | None
    claimed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    source: str | None = None
    cancel_asked_at: datetime | None = None

    @property
    def why(self) -> str | None:
        """What a person is told: why it was given up, else why it ended, else what it waits for."""
        return (self.problem if self.state == DEAD else None) or self.reason or self.problem


@dataclass(frozen=True, slots=True)
class InputStudy:
    """A study of a step's input. objects: what is named of it, none where all is meant. retrieve_url: WADO-RS.

    asked: an archive has been asked for it. begun: object by object, and it may not have come to the end.
    """

    study_uid: str
    retrieve_ae: str
    objects: tuple[str, ...]
    fetched: bool = False
    retrieve_url: str = field(default="", repr=False)
    begun: bool = False
    asked: bool = False


def keep(
    conn: Connection,
    worklist: str,
    workitem_uid: str,
    *,
    transaction_uid: str,
    rule: str,
    codes: Sequence[tuple[str, str, str]],
    now: datetime,
) -> bool:
    """Write that a step is to be claimed; False when it is known already, whatever became of it."""
    values = {
        "worklist": worklist,
        "workitem_uid": workitem_uid,
        "transaction_uid": transaction_uid,
        "rule": rule,
        "state": WANTED,
        "codes": json.dumps(codes),
        "told": -1,
        "outputs": 0,
        "attempts": 0,
        **dict.fromkeys(("next_attempt_at", "created_at", "updated_at"), to_text(now)),
    }
    return insert_once(conn, workitem, values, ["worklist", "workitem_uid"])


def known(conn: Connection, worklist: str, uids: Sequence[str]) -> frozenset[str]:
    """Return which of these steps have a row."""
    found: set[str] = set()
    for start in range(0, len(uids), _AT_ONCE):
        some = workitem.c.workitem_uid.in_(uids[start : start + _AT_ONCE])
        found.update(
            conn.execute(select(workitem.c.workitem_uid).where(workitem.c.worklist == worklist, some)).scalars()
        )
    return frozenset(found)


def claim(
    db: Database,
    states: Collection[str],
    now: datetime,
    lease_s: float,
    worker: str,
    *,
    busy: Collection[str] = (),
) -> WorkitemRow | None:
    """Take the step that is due for the longest time in one of these states, or None.

    busy: sources of which nothing is to be fetched now.
    """
    due = select(workitem).where(workitem.c.state.in_(states), workitem.c.next_attempt_at <= to_text(now))
    if busy:
        due = due.where(workitem.c.source.is_(None) | workitem.c.source.not_in(busy))
    due = due.order_by(workitem.c.next_attempt_at).limit(1)
    with db.read() as conn:  # an idle poll takes no write lock
        if conn.execute(due).first() is None:
            return None
    with db.write() as conn:
        row = conn.execute(due.with_for_update(skip_locked=True)).mappings().first()
        if row is None:
            return None
        one = _row(row)
        _set(conn, one, next_attempt_at=to_text(now + timedelta(seconds=lease_s)), held_by=worker)
        return one


def let_go(conn: Connection, worker: str, now: datetime) -> int:
    """Make due what a worker had in hand when it ended; call it as that worker, before it claims anything."""
    mine = update(workitem).where(workitem.c.held_by == worker)
    return conn.execute(mine.values(held_by=None, next_attempt_at=to_text(now))).rowcount


def renew(conn: Connection, one: WorkitemRow, worker: str, until: datetime) -> bool:
    """Keep a step in hand for longer; False when this worker has it no longer, or it is to be canceled."""
    table = workitem.c
    mine = (
        table.worklist == one.worklist,
        table.workitem_uid == one.workitem_uid,
        table.state == one.state,
        table.held_by == worker,
        table.cancel_asked_at.is_(None),
    )
    return conn.execute(update(workitem).where(*mine).values(next_attempt_at=to_text(until))).rowcount == 1


def go_on(conn: Connection, one: WorkitemRow, state: str, now: datetime, **more: object) -> bool:
    """Let a step stand in its next state, due at once; False when somebody else has moved it meanwhile.

    more: other columns.
    """
    at = to_text(now)
    values = {"attempts": 0, "problem": None, "next_attempt_at": at, "updated_at": at} | more
    return _set(conn, one, state=state, **values)


def wait(conn: Connection, one: WorkitemRow, until: datetime, problem: str | None = None) -> None:
    """Look at a step again at that time; it is no attempt. problem: what is waited for."""
    _set(conn, one, next_attempt_at=to_text(until), problem=problem)


def failed(conn: Connection, one: WorkitemRow, problem: str, now: datetime, retry: RetryPolicy) -> bool:
    """Count an attempt that failed, and try again later; False when it was the last (the row stays as it is)."""
    attempts = one.attempts + 1
    later = to_text(now + timedelta(seconds=retry.delay_s(attempts)))
    _set(conn, one, attempts=attempts, problem=problem, next_attempt_at=later, updated_at=to_text(now))
    return attempts < retry.max_attempts


def told(conn: Connection, one: WorkitemRow, percent: int) -> None:
    """Write down how much of its progress the worklist knows. Who has the step in hand keeps it."""
    _set(conn, one, told=percent, held_by=workitem.c.held_by)


def begin(
    conn: Connection,
    one: WorkitemRow,
    studies: Sequence[InputStudy],
    now: datetime,
    *,
    patient_system: str | None,
    patient_value: str | None,
) -> bool:
    """Write down what a claimed step is about, which is to be fetched next; False as with `go_on`."""
    rows = [
        {
            "worklist": one.worklist,
            "workitem_uid": one.workitem_uid,
            "study_uid": study.study_uid,
            "retrieve_ae": study.retrieve_ae,
            "objects": json.dumps(study.objects),
            "fetched": 0,
            "retrieve_url": study.retrieve_url,
        }
        for study in studies
    ]
    insert_missing(conn, workitem_study, rows, ["worklist", "workitem_uid", "study_uid"])
    return go_on(conn, one, FETCHING, now, patient_system=patient_system, patient_value=patient_value)


def ask_to_cancel(conn: Connection, worklist: str, workitem_uid: str, now: datetime) -> bool:
    """Write down that a step is to be canceled; False when it is too late, or the step is not ours."""
    table = workitem.c
    mine = (
        table.worklist == worklist,
        table.workitem_uid == workitem_uid,
        table.state.in_((WANTED, CLAIMED, FETCHING, READING)),
    )
    asked = (
        update(workitem).where(*mine).values(cancel_asked_at=func.coalesce(table.cancel_asked_at, to_text(now)))
    )
    if not conn.execute(asked).rowcount:
        return False
    # Who has it in hand sees it when that is done, or when its lease is renewed.
    conn.execute(update(workitem).where(*mine, table.held_by.is_(None)).values(next_attempt_at=to_text(now)))
    return True


def too_late(conn: Connection, one: WorkitemRow, now: datetime) -> None:
    """Write down that a request to cancel came too late, and let the step go on."""
    _set(conn, one, cancel_asked_at=None, next_attempt_at=to_text(now))


def give_back(conn: Connection, one: WorkitemRow, worker: str, now: datetime) -> None:
    """Make a step due that this worker has in hand, and leave it to whoever has taken it over otherwise."""
    table = workitem.c
    mine = (table.worklist == one.worklist, table.workitem_uid == one.workitem_uid, table.held_by == worker)
    conn.execute(update(workitem).where(*mine).values(held_by=None, next_attempt_at=to_text(now)))


def brought_by(conn: Connection, one: WorkitemRow) -> list[str]:
    """Return the studies that may have come for this step, and for which no other that is under way asks."""
    studies = [each.study_uid for each in studies_of(conn, one) if each.asked]
    others = {uid: [row for row in of_study(conn, uid) if row.state in UNDER_WAY] for uid in studies}
    return [uid for uid in studies if all(_same(row, one) for row in others[uid])]


def _same(first: WorkitemRow, second: WorkitemRow) -> bool:
    return (first.worklist, first.workitem_uid) == (second.worklist, second.workitem_uid)


def fetched(conn: Connection, one: WorkitemRow, study_uid: str) -> None:
    """Write down that an archive has sent a study."""
    _mark(conn, one, study_uid, _FETCHED)


def begun(conn: Connection, one: WorkitemRow, study: InputStudy, *, piecewise: bool) -> None:
    """Write down that an archive is asked for a study.

    piecewise: object by object, so that of one that is meant as a whole not all may be here when any of it is.
    """
    _mark(conn, one, study.study_uid, _BEGUN if piecewise and not study.objects else _ASKED)


def _mark(conn: Connection, one: WorkitemRow, study_uid: str, mark: int) -> None:
    table = workitem_study.c
    mine = (table.worklist == one.worklist, table.workitem_uid == one.workitem_uid, table.study_uid == study_uid)
    conn.execute(update(workitem_study).where(*mine).values(fetched=mark))


def studies_of(conn: Connection, one: WorkitemRow) -> list[InputStudy]:
    """Return a step's input, by UID."""
    table = workitem_study.c
    query = select(workitem_study).where(table.worklist == one.worklist, table.workitem_uid == one.workitem_uid)
    return [
        InputStudy(
            row.study_uid,
            row.retrieve_ae,
            tuple(json.loads(row.objects)),
            row.fetched == _FETCHED,
            row.retrieve_url or "",
            row.fetched == _BEGUN,
            row.fetched != 0,
        )
        for row in conn.execute(query.order_by(table.study_uid))
    ]


def held(conn: Connection, study: InputStudy) -> bool:
    """Tell whether what is named of a study is here; of one that is meant as a whole, whether any of it is.

    Of one that has begun to come as a whole, whether it came to its end.
    """
    of_study = instance.c.study_uid == study.study_uid
    if not study.objects:
        if study.begun:
            return False
        return conn.execute(select(instance.c.study_uid).where(of_study).limit(1)).first() is not None
    found = 0
    for start in range(0, len(study.objects), _AT_ONCE):
        some = instance.c.sop_instance_uid.in_(study.objects[start : start + _AT_ONCE])
        found += conn.execute(select(func.count()).select_from(instance).where(of_study, some)).scalar_one()
    return found == len(study.objects)


def asks_for(conn: Connection, study_uid: str) -> bool:
    """Tell whether a step that is under way has this study as its input."""
    return any(one.state in UNDER_WAY for one in of_study(conn, study_uid))


def comes(conn: Connection, study_uid: str, since: datetime) -> bool:
    """Tell whether a study is being fetched for a step, so that what is here may not be all of it.

    since: a step that has stood where it stands for longer has nobody who fetches for it any more.
    """
    table, step = workitem_study.c, workitem.c
    query = select(step.workitem_uid).where(
        table.worklist == step.worklist,
        table.workitem_uid == step.workitem_uid,
        table.study_uid == study_uid,
        table.fetched.in_((_BEGUN, _ASKED)),
        step.state == FETCHING,
        step.updated_at > to_text(since),
    )
    return conn.execute(query.limit(1)).first() is not None


def of_study(conn: Connection, study_uid: str) -> list[WorkitemRow]:
    """Return the steps of which a study is the input, oldest first."""
    same = (
        workitem_study.c.worklist == workitem.c.worklist,
        workitem_study.c.workitem_uid == workitem.c.workitem_uid,
    )
    query = select(workitem).join(workitem_study, same[0] & same[1]).where(workitem_study.c.study_uid == study_uid)
    return [_row(row) for row in conn.execute(query.order_by(workitem.c.created_at)).mappings()]


def every(conn: Connection, limit: int = 200) -> list[WorkitemRow]:
    """Return the steps, the newest change first."""
    query = select(workitem).order_by(workitem.c.updated_at.desc(), workitem.c.workitem_uid).limit(limit)
    return [_row(row) for row in conn.execute(query).mappings()]


def waiting(conn: Connection) -> dict[tuple[str, str], int]:
    """Return how many steps are in each state that is not an end, by worklist and state."""
    query = (
        select(workitem.c.worklist, workitem.c.state, func.count())
        .where(workitem.c.state.in_((*UNDER_WAY, DEAD)))
        .group_by(workitem.c.worklist, workitem.c.state)
    )
    return {(worklist, state): count for worklist, state, count in conn.execute(query)}


def retry_dead(conn: Connection, workitem_uid: str | None, now: datetime) -> int:
    """Let steps that were given up go on where they stopped, all or one; return how many."""
    query = select(workitem).where(workitem.c.state == DEAD)
    if workitem_uid is not None:
        query = query.where(workitem.c.workitem_uid == workitem_uid)
    rows = [_row(row) for row in conn.execute(query).mappings()]
    return sum(go_on(conn, one, one.stopped_in or WANTED, now, stopped_in=None) for one in rows)


def purge(conn: Connection, before: datetime) -> int:
    """Remove steps that came to their end before then, with their input; return how many. Those given up stay."""
    old = (workitem.c.state.in_((COMPLETED, CANCELED, LOST)), workitem.c.updated_at < to_text(before))
    count = conn.execute(workitem.delete().where(*old)).rowcount
    table = workitem_study.c
    same = (workitem.c.worklist == table.worklist, workitem.c.workitem_uid == table.workitem_uid)
    conn.execute(workitem_study.delete().where(~select(workitem.c.workitem_uid).where(*same).exists()))
    return count


def _set(conn: Connection, one: WorkitemRow, **values: object) -> bool:
    """Change a row that stands where it stood when it was read: who is late changes nothing."""
    table = workitem.c
    same = (
        table.worklist == one.worklist,
        table.workitem_uid == one.workitem_uid,
        table.state == one.state,
    )
    return conn.execute(update(workitem).where(*same).values({"held_by": None} | values)).rowcount == 1


def _row(row: Any) -> WorkitemRow:  # noqa: ANN401 - a row as a mapping
    times = {"claimed_at", "created_at", "updated_at", "cancel_asked_at"}
    names = set(WorkitemRow.__dataclass_fields__) - {"codes"} - times
    return WorkitemRow(
        **{name: row[name] for name in names},
        codes=tuple((one[0], one[1], one[2]) for one in json.loads(row["codes"])),
        claimed_at=from_text(row["claimed_at"]) if row["claimed_at"] else None,
        cancel_asked_at=from_text(row["cancel_asked_at"]) if row["cancel_asked_at"] else None,
        created_at=from_text(row["created_at"]),
        updated_at=from_text(row["updated_at"]),
    )
