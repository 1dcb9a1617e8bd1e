"""A prior that somebody sends of his own accord is read; a fetch that runs again changes nothing."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from clinical.identity import PatientKey
from record_store import priors, readings
from record_store.instances import (
    CLOSED,
    HELD,
    OPEN,
    ReceivedInstance,
    Taken,
    close_study,
    hold_study,
    instances_of,
    record_instances,
    study_row,
)
from record_store.migrations.versions.v0037_fetched_instances import MARK
from record_store.sql import run_on
from record_store.tables import instance
from tests.record_store.test_upgrades import AT, upgrade

ONE = ReceivedInstance(
    "1.7.50.1", "1.2", "1.2", "1.7.50", "1.7.9", "DX", PatientKey("urn:h", "P1"), "a" * 64, 1, "PACS", "CONSILIUM",
    fetched=True,
)  # fmt: skip
SENT = replace(ONE, calling_ae="XRAY", fetched=False)


@pytest.fixture
def store(db, now):
    """A prior that an archive has sent, and that was closed."""
    receive(db, now, ONE)
    with db.write() as conn:
        priors.claim_question(conn, "1.7.1", "main", "older", now())
        priors.answer_question(conn, "1.7.1", now(), found=1, chosen=[ONE.study_uid], problem=None)
    close(db, now)
    return db


def receive(db, now, *instances):
    with db.write() as conn:
        return record_instances(run_on(conn), db.dialect, instances, now())


def close(db, now):
    with db.write() as conn:
        close_study(conn, ONE.study_uid, now() + timedelta(seconds=1))


def study(db):
    with db.read() as conn:
        return study_row(conn, ONE.study_uid)


def only_fetched(db):
    with db.read() as conn:
        return priors.only_fetched(conn, ONE.study_uid, {"main": "PACS"})


def test_a_fetch_that_runs_again_changes_nothing(store, now):
    before = study(store)
    assert receive(store, now, ONE) == [Taken.SAME]
    assert (study(store), only_fetched(store)) == (before, True)


def test_the_same_bytes_from_a_modality_open_the_study_as_its_own_once(store, now):
    now.advance(60)
    assert receive(store, now, SENT) == [Taken.SAME]
    opened = study(store)
    assert (opened.state, opened.revision, opened.last_received_at) == (OPEN, 2, now())
    with store.read() as conn:
        assert [one.calling_ae for one in instances_of(conn, ONE.study_uid)] == ["XRAY"]  # rules speak of senders
    close(store, now)
    assert receive(store, now, SENT, ONE) == [Taken.SAME] * 2
    assert (study(store).state, study(store).revision, only_fetched(store)) == (CLOSED, 2, False)


def test_a_clock_that_is_behind_the_archive_s_takes_nothing_from_the_quiet_time(store, now):
    before = study(store).last_received_at
    now.advance(-60)
    receive(store, now, SENT)
    assert (study(store).state, study(store).last_received_at) == (OPEN, before)


def test_an_archive_that_never_says_that_it_was_asked_may_send_again_and_another_sender_may_not(db, now):
    silent = replace(ONE, fetched=False)
    receive(db, now, silent)
    with db.write() as conn:
        priors.claim_question(conn, "1.7.1", "main", "older", now())
        priors.answer_question(conn, "1.7.1", now(), found=1, chosen=[ONE.study_uid], problem=None)
    close(db, now)
    receive(db, now, silent)
    assert (study(db).state, only_fetched(db)) == (CLOSED, True)
    receive(db, now, SENT)
    assert (study(db).state, only_fetched(db)) == (OPEN, False)


def test_a_modality_that_sends_while_a_prior_is_being_closed_has_it_read_all_the_same(postgres_db, now):
    db = postgres_db  # SQLite has one writer at a time
    receive(db, now, ONE)
    with db.write() as conn:
        priors.claim_question(conn, "1.7.1", "main", "older", now())
        priors.answer_question(conn, "1.7.1", now(), found=1, chosen=[ONE.study_uid], problem=None)
    recorded, closed = threading.Event(), threading.Event()

    def send():
        with db.write() as conn:
            record_instances(run_on(conn), db.dialect, [SENT], now())
            recorded.set()
            closed.wait(20)

    sending = threading.Thread(target=send)
    with db.write() as conn:
        close_study(conn, ONE.study_uid, now() + timedelta(seconds=1))
        sending.start()
        while not (recorded.wait(0.01) or _somebody_waits(db)):
            assert sending.is_alive()
        assert priors.only_fetched(conn, ONE.study_uid, {"main": "PACS"})  # so no model is asked
    closed.set()
    sending.join()
    assert (study(db).state, study(db).revision, only_fetched(db)) == (OPEN, 2, False)


def _somebody_waits(db):
    with db.read() as conn:
        waiting = "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted"
        return conn.execute(text(f"{waiting} AND datname = current_database()")).first() is not None


@pytest.mark.parametrize("sender", ["XRAY", "PACS"])
def test_what_somebody_adds_to_a_prior_has_all_of_it_read(store, now, sender):
    receive(store, now, replace(SENT, sop_instance_uid="1.7.50.2", calling_ae=sender))
    assert (study(store).state, only_fetched(store)) == (OPEN, False)


def test_a_prior_that_models_were_asked_to_read_is_not_opened_again(store, now):
    row = readings.JobRow("k" * 64, ONE.study_uid, 1, "d", "lung-nodule", "1", now())
    with store.write() as conn:
        readings.add_job(conn, row)
    receive(store, now, SENT)
    assert study(store).state == CLOSED


def test_a_held_prior_stays_held_until_a_person_has_looked(store, now):
    with store.write() as conn:
        hold_study(conn, ONE.study_uid, "no side")
    receive(store, now, SENT)
    assert (study(store).state, only_fetched(store)) == (HELD, False)


def test_a_study_that_is_nobody_s_prior_is_left_as_it_is_whoever_sends_it_again(db, now):
    receive(db, now, SENT)
    close(db, now)
    receive(db, now, replace(SENT, calling_ae="WORKSTATION"))
    assert (study(db).state, only_fetched(db)) == (CLOSED, False)
    with db.read() as conn:
        assert [(one.calling_ae, one.fetched) for one in instances_of(conn, ONE.study_uid)] == [("XRAY", 0)]


def test_priors_of_an_older_version_stay_priors(empty_database):
    upgrade(empty_database, "0036")
    with empty_database.write() as conn:
        for uid in ("1.7.50", "1.7.60", "1.7.1"):
            names = "sop_class_uid, transfer_syntax_uid, series_uid, modality, sha256, calling_ae, called_ae"
            conn.execute(
                text(
                    f"INSERT INTO instance (sop_instance_uid, study_uid, size, received_at, {names})"
                    f" VALUES ('{uid}.1', '{uid}', 1, '{AT}', 'a', 'a', 'a', 'DX', 'a', 'PACS', 'C')"
                )
            )
        for uid in ("", "1.7.50", "1.7.60"):
            conn.execute(
                text(
                    "INSERT INTO prior (study_uid, prior_uid, archive, rule, state, at)"
                    f" VALUES ('1.7.1', '{uid}', 'main', 'r', 'fetched', '{AT}')"
                )
            )
        conn.execute(
            text(
                "INSERT INTO study_job (job_key, study_uid, revision, content_digest, model, model_version, state,"
                f" created_at) VALUES ('k', '1.7.60', 1, 'd', 'm', '1', 'done', '{AT}')"
            )
        )
    upgrade(empty_database, "head")
    with empty_database.read() as conn:
        rows = conn.execute(select(instance.c.study_uid, instance.c.fetched)).all()
    assert {row.study_uid: row.fetched for row in rows} == {"1.7.50": 1, "1.7.60": 0, "1.7.1": 0}


def test_marking_the_priors_of_an_older_version_goes_through_no_table_for_each_object(db):
    explain = "EXPLAIN" if db.dialect == "postgresql" else "EXPLAIN QUERY PLAN"
    with db.read() as conn:
        plan = " ".join(str(row) for row in conn.execute(text(f"{explain} {MARK}")))
    assert "SubPlan" not in plan  # PostgreSQL: once for each object
    assert "SCAN study_job" not in plan
    assert "SCAN instance" not in plan
    assert "study_job" in plan
