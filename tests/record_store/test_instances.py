"""What C-STORE promised, and when a study is complete."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from clinical.identity import PatientKey
from record_store.audit import digest
from record_store.instances import (
    CLOSED,
    HELD,
    OPEN,
    ReceivedInstance,
    Taken,
    close_study,
    content_digest,
    due_studies,
    hold_study,
    instances_of,
    record_instance,
    record_instances,
    release_study,
    study_row,
)
from record_store.sql import run_on
from record_store.study_history import differing_of, history_of
from record_store.tables import audit

PATIENT = PatientKey("urn:hospital", "ZZCANARY-4711")
LATER = timedelta(seconds=60)
FIRST = ReceivedInstance(
    sop_instance_uid="1.2.3.1",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    study_uid="1.2.3",
    series_uid="1.2.3.9",
    modality="DX",
    patient=PATIENT,
    sha256="a" * 64,
    size=1000,
    calling_ae="PACS",
    called_ae="CONSILIUM",
)
SECOND = replace(FIRST, sop_instance_uid="1.2.3.2", sha256="b" * 64)


def receive(db, now, *instances):
    taken = []
    for instance in instances:
        with db.write() as conn:
            taken.append(record_instance(conn, instance, now()))
    return taken


def close(db, now):
    with db.write() as conn:
        return close_study(conn, "1.2.3", now() + LATER)


def study(db):
    with db.read() as conn:
        return study_row(conn, "1.2.3")


def test_a_received_object_is_stored_counted_and_audited_together(db, now):
    assert receive(db, now, FIRST, SECOND) == [Taken.NEW, Taken.NEW]
    row = study(db)
    assert (row.state, row.revision, row.instances, row.patient) == (OPEN, 1, 2, PATIENT)
    with db.read() as conn:
        assert [row.sop_instance_uid for row in instances_of(conn, "1.2.3")] == ["1.2.3.1", "1.2.3.2"]
        trail = conn.execute(select(audit)).all()
    assert [(row.action, row.outcome, row.actor) for row in trail] == [("instance-received", "new", "ae:PACS")] * 2


def test_an_object_of_a_known_study_writes_only_what_it_changes(db, now):
    receive(db, now, FIRST)
    now.advance(1)
    written = []
    with db.write() as conn:
        run = run_on(conn)

        def noting(statement, values):
            written.append((str(statement).split()[0], set(values)))
            return run(statement, values)

        record_instances(noting, db.dialect, [SECOND], now())
    assert ("UPDATE", {"uid", "instances", "last_received_at"}) in written
    receive(db, now, replace(FIRST, sop_instance_uid="1.2.3.3", patient=None))
    assert (study(db).state, study(db).instances) == (HELD, 3)


def test_nothing_of_it_is_there_when_the_transaction_fails(db, now):
    def fail():
        with db.write() as conn:
            record_instance(conn, FIRST, now())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert study(db) is None
    with db.read() as conn:
        assert instances_of(conn, "1.2.3") == []
        assert conn.execute(select(func.count()).select_from(audit)).scalar() == 0


def test_identical_bytes_again_change_nothing_not_even_on_a_closed_study(db, now):
    receive(db, now, FIRST)
    close(db, now)
    before = study(db)
    now.advance(10)
    assert receive(db, now, FIRST) == [Taken.SAME]
    assert study(db) == before


def test_the_same_uid_with_other_bytes_keeps_the_first_and_is_audited(db, now):
    receive(db, now, FIRST)
    before = study(db)
    assert receive(db, now, replace(FIRST, sha256="f" * 64)) == [Taken.DIFFERENT]
    assert study(db) == before
    with db.read() as conn:
        assert [row.sha256 for row in instances_of(conn, "1.2.3")] == ["a" * 64]
        trail = conn.execute(select(audit.c.action, audit.c.outcome).order_by(audit.c.row)).all()
        (differing,) = history_of(conn, "1.2.3").differing
    assert [one for _, one in trail] == ["new", "different", "first-kept"]
    assert (differing.actor, differing.detail) == ("ae:PACS", {"instance": digest("1.2.3.1")})


def test_other_bytes_of_another_study_are_audited_under_the_study_of_the_first_and_under_the_one_that_they_name(
    db, now
):
    receive(db, now, FIRST)
    assert receive(db, now, replace(FIRST, study_uid="1.2.4", sha256="f" * 64)) == [Taken.DIFFERENT]
    detail = {"instance": digest("1.2.3.1"), "first_study": digest("1.2.3")}
    with db.read() as conn:
        assert study_row(conn, "1.2.4") is None
        assert [one.detail for one in history_of(conn, "1.2.3").differing] == [detail]
        assert [one.detail for one in differing_of(conn, "1.2.4")] == [detail]
        assert differing_of(conn, digest("1.2.4")) == differing_of(conn, "1.2.4")


def test_the_audit_names_no_patient_and_no_uid(db, now):
    receive(db, now, FIRST)
    with db.read() as conn:
        text = repr(conn.execute(select(audit)).all())
    assert "ZZCANARY" not in text
    assert "1.2.3" not in text


@pytest.mark.parametrize(
    "other", [PatientKey("urn:hospital", "4712"), PatientKey("urn:elsewhere", "ZZCANARY-4711"), None]
)
def test_a_study_with_images_of_two_patients_is_held(db, now, other):
    receive(db, now, FIRST, replace(SECOND, patient=other))
    row = study(db)
    assert (row.state, row.patient) == (HELD, PATIENT)
    assert "ZZCANARY" not in row.hold_reason
    assert close(db, now) is None
    receive(db, now, replace(SECOND, sop_instance_uid="1.2.3.3"))
    assert study(db).state == HELD


def test_a_held_study_is_read_only_after_a_person_released_it(db, now):
    receive(db, now, FIRST)
    with db.write() as conn:
        hold_study(conn, "1.2.3", "its images name no patient")
    assert study(db).hold_reason == "its images name no patient"
    assert close(db, now) is None
    with db.write() as conn:
        assert release_study(conn, "1.2.3")
        assert not release_study(conn, "1.2.3")
    assert (study(db).state, study(db).hold_reason) == (OPEN, None)
    assert close(db, now).revision == 2


def test_a_late_object_reopens_the_study_as_a_new_revision(db, now):
    receive(db, now, FIRST)
    first = close(db, now)
    receive(db, now, SECOND)
    assert (study(db).state, study(db).revision) == (OPEN, 2)
    second = close(db, now)
    assert (first.revision, second.revision) == (1, 2)
    assert first.content_digest != second.content_digest


def test_a_study_is_due_only_when_it_has_been_quiet(db, now):
    receive(db, now, FIRST, replace(FIRST, sop_instance_uid="1.9.1", study_uid="1.9"))
    now.advance(3)
    receive(db, now, SECOND)
    with db.read() as conn:
        assert due_studies(conn, now()) == ["1.9"]
        assert due_studies(conn, now() + LATER) == ["1.9", "1.2.3"]
    with db.write() as conn:
        assert close_study(conn, "1.2.3", now()) is None
        assert close_study(conn, "absent", now()) is None
    assert close(db, now).patient == PATIENT
    with db.read() as conn:
        assert due_studies(conn, now() + LATER) == ["1.9"]


def test_the_content_digest_does_not_depend_on_the_order_of_arrival(db, now):
    one, two = replace(FIRST, sop_instance_uid="1.2.3.10"), SECOND
    digests = set()
    for study_uid, order in (("1.2.3", (one, two, one)), ("1.2.4", (two, one))):
        # Other UIDs would be other content, so the second study is written into another database row.
        receive(db, now, *(replace(item, study_uid=study_uid) for item in order))
        with db.write() as conn:
            closed = close_study(conn, study_uid, now() + LATER)
            digests.add(closed.content_digest)
            conn.exec_driver_sql("DELETE FROM instance")
    # Worked out by hand: printf '1.2.3.10 aaa..a\n1.2.3.2 bbb..b\n' | sha256sum
    assert digests == {"45e7d6bfb289490fcbec2aa5d9cb75d664a3bb840f9b25ff71a7118a31a77f84"}


def test_the_content_digest_does_not_depend_on_the_order_of_reading(db, now):
    receive(db, now, FIRST, SECOND)
    with db.read() as conn:
        rows = instances_of(conn, "1.2.3")
    assert content_digest(rows) == content_digest(rows[::-1]) != content_digest(rows[:1])


@pytest.mark.slow
def test_exactly_one_of_several_workers_closes_a_study(db, now):
    workers = 4
    for round_number in range(10):
        receive(db, now, replace(FIRST, sop_instance_uid=f"1.2.3.{round_number}"))
        barrier = threading.Barrier(workers)

        def race(_, barrier=barrier):
            barrier.wait()
            return close(db, now)

        with ThreadPoolExecutor(workers) as pool:
            winners = [closed for closed in pool.map(race, range(workers)) if closed]
        assert [closed.revision for closed in winners] == [round_number + 1]


@pytest.mark.slow
def test_no_object_is_lost_between_a_closing_worker_and_arriving_ones(db, now):
    stop = threading.Event()
    closed = []

    def closing():
        while not stop.is_set():
            closed.append(close(db, now))

    worker = threading.Thread(target=closing)
    worker.start()
    with ThreadPoolExecutor(4) as pool:
        many = [replace(FIRST, sop_instance_uid=f"1.2.3.{number}") for number in range(60)]
        assert set(pool.map(lambda item: receive(db, now, item)[0], many)) == {Taken.NEW}
    stop.set()
    worker.join()
    last = close(db, now) or [item for item in closed if item][-1]
    row = study(db)
    assert (row.state, row.instances) == (CLOSED, 60)
    assert last.revision == row.revision
    with db.read() as conn:
        assert len(instances_of(conn, "1.2.3")) == 60


@pytest.mark.slow
def test_one_object_over_two_associations_at_once_is_counted_once(db, now):
    for number in range(10):
        item = replace(FIRST, sop_instance_uid=f"1.2.3.{number}")
        with ThreadPoolExecutor(2) as pool:
            taken = sorted(pool.map(lambda item: receive(db, now, item)[0], [item, item]))
        assert taken == [Taken.NEW, Taken.SAME]
    assert study(db).instances == 10
