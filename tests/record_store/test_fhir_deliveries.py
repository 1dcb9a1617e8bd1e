"""Deliveries to FHIR servers as rows: one a resource and destination, the newest version, one holder."""

from datetime import UTC, datetime, timedelta

from record_store.fhir_deliveries import (
    Outcome,
    claim,
    due_destinations,
    known,
    listed,
    offer,
    resend,
    sent,
    settle,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def offered(db, *keys, destination="ehr", version=1):
    with db.write() as conn:
        for kind, own in keys:
            offer(conn, kind, own, version, destination, NOW)


def settled(db, claimed, **outcome):
    with db.write() as conn:
        return settle(conn, claimed, Outcome(**outcome), NOW)


def test_the_newest_version_takes_the_row_and_an_older_one_never_does(db):
    offered(db, ("Observation", "o"), version=2)
    offered(db, ("Observation", "o"), version=1)
    assert claim(db, "ehr", NOW, 60).version == 2
    offered(db, ("Observation", "o"), version=3)
    assert claim(db, "ehr", NOW, 60).version == 3
    with db.read() as conn:
        assert [one.attempts for one in listed(conn)] == [1]


def test_a_report_goes_behind_what_it_names_and_one_that_is_held_is_nobody_elses(db):
    offered(db, ("DiagnosticReport", "a"), ("Observation", "b"))
    offered(db, ("Observation", "b"), destination="other")
    assert due_destinations(db, NOW) == ["ehr", "other"]
    taken = [claim(db, "ehr", NOW, 60) for _ in range(3)]
    assert [one and one.type for one in taken] == ["Observation", "DiagnosticReport", None]
    assert due_destinations(db, NOW) == ["other"]
    assert due_destinations(db, LATER) == ["other", "ehr"]  # the longest due first


def test_how_it_ended_is_kept_and_the_dead_are_tried_again_when_asked(db):
    offered(db, ("Observation", "a"), ("Observation", "b"), ("Observation", "c"))
    first, second, third = (claim(db, "ehr", NOW, 60) for _ in range(3))
    assert settled(db, first, status=200, remote_id="r", remote_etag="e") == "sent"
    assert settled(db, second, status=503, problem="busy", pause=timedelta(minutes=5)) == "pending"
    assert settled(db, third, status=422, problem="no") == "dead"
    with db.read() as conn:
        assert sent(conn, "ehr", [("Observation", "a"), ("Observation", "b")]) == {("Observation", "a"): "r"}
        assert known(conn, [("Observation", "c"), ("Observation", "x")]) == {("Observation", "c")}
        assert sent(conn, "ehr", []) == {}
        assert [one.last_problem for one in listed(conn, "dead", "ehr")] == ["no"]
    assert claim(db, "ehr", NOW + timedelta(minutes=4), 60) is None
    with db.write() as conn:
        assert resend(conn, "nobody", NOW) == 0
        assert resend(conn, None, NOW) == 1
    assert claim(db, "ehr", NOW, 60).id == "c"
