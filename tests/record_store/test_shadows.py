"""Who reads a study in shadow, how often, and what of that is told: the same on both databases."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event

from clinical.finding import ModelRef
from clinical.identity import PatientKey
from record_store import shadows
from record_store.instances import ReceivedInstance, close_study, record_instance
from record_store.shadows import LEASE, MOST_ATTEMPTS, Outcome

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
MODEL = ModelRef("lung-nodule", "2.0.0", "a" * 64)


def stored(db, uid, at=NOW, modality="DX"):
    image = ReceivedInstance(
        f"{uid}.1.{at:%H%M}",
        "1.2",
        "1.2.840.10008.1.2",
        uid,
        "1.9",
        modality,
        PatientKey("urn:h", "1"),
        "0" * 64,
        9,
        "A",
        "B",
    )
    with db.write() as conn:
        record_instance(conn, image, at)
        close_study(conn, uid, at + timedelta(seconds=1))


def take(db, uid, owner="here:1", at=NOW) -> bool:
    with db.write() as conn:
        return shadows.take(conn, MODEL, uid, owner, at)


def wanting(db, at=NOW, since=NOW - timedelta(days=1)):
    with db.read() as conn:
        return shadows.wanting(conn, MODEL, ["DX", "CR"], since, at, 10)


def settle(db, uid, outcome, owner="here:1", at=NOW):
    with db.write() as conn:
        shadows.settle(conn, MODEL, uid, owner, outcome, at)


def row(db, uid):
    with db.read() as conn:
        return shadows.row_of(conn, MODEL, uid)


def test_a_study_is_taken_by_one_until_its_lease_is_over(db) -> None:
    stored(db, "1.2")
    assert take(db, "1.2")
    assert not take(db, "1.2", "there:2")
    assert wanting(db) == []
    late = NOW + LEASE
    assert wanting(db, late) == ["1.2"]
    assert take(db, "1.2", "there:2", late)
    settle(db, "1.2", Outcome(1, {}, {}), "here:1", late)
    assert row(db, "1.2").state == shadows.READING, "who lost it does not settle it"
    settle(db, "1.2", Outcome(1, {"side": 2}, {}), "there:2", late)
    assert (row(db, "1.2").state, row(db, "1.2").left_out) == (shadows.DONE, {"side": 2})
    assert not take(db, "1.2", at=late + LEASE)


def test_a_study_that_ends_its_process_again_and_again_is_left_alone_until_somebody_asks(db) -> None:
    stored(db, "1.2")
    at = NOW
    for _ in range(MOST_ATTEMPTS):
        assert take(db, "1.2", at=at)
        at += LEASE
    assert not take(db, "1.2", at=at)
    assert wanting(db, at) == []
    assert row(db, "1.2").ended_short(at + timedelta(seconds=1))
    with db.write() as conn:
        assert shadows.try_again(conn, MODEL) == 1
    assert take(db, "1.2", at=at)


def test_what_was_given_back_does_not_count_as_an_attempt(db) -> None:
    stored(db, "1.2")
    for _ in range(MOST_ATTEMPTS + 2):
        assert take(db, "1.2")
        with db.write() as conn:
            shadows.give_back(conn, MODEL, "1.2", "here:1", NOW)
    assert wanting(db) == ["1.2"]


def test_a_study_with_more_images_is_wanted_again_with_all_its_attempts(db) -> None:
    stored(db, "1.2")
    take(db, "1.2")
    settle(db, "1.2", Outcome(0, {}, {"crashed": 1}))
    stored(db, "1.2", NOW + timedelta(minutes=1))
    assert wanting(db) == ["1.2"]
    assert take(db, "1.2")
    assert (row(db, "1.2").revision, row(db, "1.2").attempts) == (2, 1)


def test_studies_come_oldest_first_of_the_days_and_modalities_that_are_asked_for(db) -> None:
    for number, modality in enumerate(("DX", "CT", "CR", "DX")):
        stored(db, f"1.2.{number}", NOW + timedelta(days=number), modality)
    with db.read() as conn:
        found = shadows.stored_between(conn, ["DX", "CR"], None, None)
        assert found == ["1.2.0", "1.2.2", "1.2.3"]
        day = timedelta(days=1)
        assert shadows.stored_between(conn, ["DX", "CR"], NOW + day, NOW + 3 * day) == ["1.2.2"]


def test_states_are_counted_by_model(db) -> None:
    stored(db, "1.2")
    stored(db, "1.3")
    take(db, "1.2")
    take(db, "1.3")
    settle(db, "1.3", Outcome(0, {}, {"crashed": 1}))
    with db.read() as conn:
        counted = shadows.counts(conn)
    assert sorted(counted) == [
        ("lung-nodule", "2.0.0", "failed", 1),
        ("lung-nodule", "2.0.0", "reading", 1),
    ]


@pytest.mark.parametrize("gone", ["here:1", "there:2"])
def test_only_what_the_process_that_is_gone_had_taken_is_free(db, gone) -> None:
    stored(db, "1.2")
    stored(db, "1.3")
    take(db, "1.2", "here:1")
    take(db, "1.3", "there:2")
    with db.write() as conn:
        assert shadows.owners(conn) == {"here:1", "there:2"}
        assert shadows.end_of(conn, gone, NOW) == 1
    assert wanting(db) == (["1.2"] if gone == "here:1" else ["1.3"])


def test_who_reads_is_asked_each_second_and_does_not_look_at_what_was_read(sqlite_db) -> None:
    asked = []
    with sqlite_db.read() as conn:
        event.listen(conn, "before_cursor_execute", lambda *said: asked.append(said[2:4]))
        shadows.owners(conn)
        statement, values = asked[-1]
        plan = " ".join(row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values))
    assert "USING INDEX shadow_study_state" in plan
