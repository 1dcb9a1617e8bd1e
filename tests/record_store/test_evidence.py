"""Evidence that a study is complete, on both databases: ends, counts and announcements."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from clinical.identity import PatientKey
from record_store.announcements import (
    COMPLETED,
    IN_PROGRESS,
    Announced,
    Announcement,
    amend,
    announce,
    announced_to,
    state_of,
)
from record_store.deliveries import claim_due, enqueue
from record_store.evidence import association_ended, claim_count, evidence_of, record_count, to_count
from record_store.instances import ReceivedInstance, hold_study, record_instance
from record_store.readings import ResultObject, add_result_object
from record_store.tables import delivery

STUDY = "1.2"
QUIET, AGAIN = timedelta(seconds=4), timedelta(seconds=10)


@pytest.fixture
def arrives(db, now):
    def one(number, study=STUDY):
        image = ReceivedInstance(
            f"{study}.{number}",
            "1.2",
            "1.2.840.10008.1.2",
            study,
            "1.9",
            "DX",
            PatientKey("urn:h", "1"),
            "0" * 64,
            9,
            "XRAY1",
            "B",
        )
        with db.write() as conn:
            record_instance(conn, image, now())

    return one


@pytest.fixture
def asks(db, now):
    """asks() -> the studies to ask about now."""

    def look():
        with db.read() as conn:
            return to_count(conn, now(), QUIET, AGAIN)

    return look


@pytest.fixture
def counts(db, now):
    """counts(objects): claim the question that is due, and write down this answer."""

    def answer(wanted, objects, problem=None):
        with db.write() as conn:
            assert claim_count(conn, wanted, now())
            record_count(conn, wanted.study_uid, "pacs", objects, problem, now())

    return answer


def evidence(db):
    with db.read() as conn:
        return evidence_of(conn, [STUDY])[STUDY]


def test_a_release_and_a_break_are_kept_each_with_its_newest_time(db, now) -> None:
    for released in (True, False, True):
        with db.write() as conn:
            association_ended(conn, {STUDY, "1.3"}, now.advance(1), released=released)
    assert evidence(db).released_at == now()
    assert evidence(db).broken_at == now() - timedelta(seconds=1)
    with db.read() as conn:
        assert set(evidence_of(conn, [STUDY, "1.3", "1.4"])) == {STUDY, "1.3"}


def test_an_archive_is_asked_when_the_sender_has_released_and_not_while_it_sends(db, now, arrives, asks) -> None:
    arrives(1)
    assert asks() == []
    with db.write() as conn:
        association_ended(conn, [STUDY], now(), released=True)
    (wanted,) = asks()
    assert (wanted.study_uid, wanted.asked_at) == (STUDY, None)


def test_without_a_release_an_archive_is_asked_at_half_of_the_quiet_time(db, now, arrives, asks, counts) -> None:
    arrives(1)
    now.advance(2.1)
    (wanted,) = asks()
    counts(wanted, 1)
    assert asks() == [], "it was asked since the last object, and agrees"
    arrives(2)
    now.advance(2.1)
    assert [one.study_uid for one in asks()] == [STUDY]


def test_who_counts_otherwise_is_asked_again_later_and_no_longer_when_it_agrees(
    now, arrives, asks, counts
) -> None:
    arrives(1)
    now.advance(3)
    counts(*asks(), 2)
    now.advance(9)
    assert asks() == []
    now.advance(2)
    counts(*asks(), None, "no connection")
    now.advance(11)
    counts(*asks(), 1)
    now.advance(11)
    assert asks() == []


def test_two_workers_ask_once(db, now, arrives, asks) -> None:
    arrives(1)
    now.advance(3)
    (wanted,) = asks()
    with db.write() as conn:
        assert claim_count(conn, wanted, now())
    with db.write() as conn:
        assert not claim_count(conn, wanted, now.advance(1))
        assert not claim_count(conn, replace(wanted, asked_at=now()), now())


def test_nobody_is_asked_about_a_study_that_is_not_open(db, now, arrives, asks) -> None:
    arrives(1)
    with db.write() as conn:
        hold_study(conn, STUDY, "a reason")
    now.advance(60)
    assert asks() == []


def test_results_of_ours_that_the_archive_has_taken_are_not_waited_for(db, now, arrives, asks, counts) -> None:
    arrives(1)
    with db.write() as conn:
        for uid, study in (("9.1", STUDY), ("9.2", STUDY), ("9.3", "1.3")):
            add_result_object(conn, ResultObject(uid, "job", "SR", "1.2", study, "a" * 64, now()))
            enqueue(conn, uid, "pacs", now())
            enqueue(conn, uid, "another", now())
        sent = delivery.c.sop_instance_uid.in_(["9.1", "9.3"])
        conn.execute(update(delivery).where(sent).values(state="sent"))
    assert len(claim_due(db, now(), 60, 10)) == 2
    now.advance(3)
    counts(*asks(), 4)
    assert evidence(db).objects == 3


def announcement(uid="7.1", objects=("1.2.1", "1.2.2"), studies=(STUDY,), state=COMPLETED) -> Announcement:
    return Announcement(uid, "MPPS", state, "CT1", frozenset(studies), frozenset(objects))


def announced(db, study=STUDY):
    with db.read() as conn:
        return announced_to(conn, [study]).get(study, ())


def test_an_announcement_says_how_many_of_its_objects_are_missing(db, now, arrives) -> None:
    arrives(1)
    with db.write() as conn:
        assert announce(conn, announcement(), now())
        assert not announce(conn, announcement(objects=("1.2.9",)), now()), "the first one stands"
    assert announced(db) == (Announced("MPPS", COMPLETED, "CT1", 2, 1),)
    arrives(2)
    assert announced(db) == (Announced("MPPS", COMPLETED, "CT1", 2, 0),)
    assert announced(db, "1.3") == ()


def test_a_step_is_amended_and_its_list_replaced_until_it_is_completed(db, now) -> None:
    with db.write() as conn:
        announce(conn, announcement(state=IN_PROGRESS, objects=()), now())
        assert amend(conn, "7.1", IN_PROGRESS, ["1.2.1"], now())
        assert amend(conn, "7.1", IN_PROGRESS, None, now())
        assert amend(conn, "7.1", COMPLETED, ["1.2.2", "1.2.3"], now())
    with db.write() as conn:
        assert not amend(conn, "7.1", IN_PROGRESS, [], now()), "a completed step stays what it is"
        assert (state_of(conn, "7.1"), state_of(conn, "7.9")) == (COMPLETED, None)
    assert announced(db) == (Announced("MPPS", COMPLETED, "CT1", 2, 2),)


def test_a_step_for_two_studies_speaks_of_both_and_each_has_its_own_announcements_in_order(
    db, now, arrives
) -> None:
    arrives(1)
    with db.write() as conn:
        announce(conn, announcement(studies=(STUDY, "1.3")), now())
        announce(conn, announcement("7.2", objects=("1.2.1",)), now.advance(1))
    assert [(one.listed, one.missing) for one in announced(db)] == [(2, 1), (1, 0)]
    assert [(one.listed, one.missing) for one in announced(db, "1.3")] == [(2, 1)]
