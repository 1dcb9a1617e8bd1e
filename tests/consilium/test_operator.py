"""What an operator can mend: a held study, a failed job."""

import json
import time
from datetime import UTC, datetime

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from clinical.errors import Category, IncorrectInput, NotFound
from clinical.identity import PatientKey
from consilium.cli import app
from consilium.operator import (
    cancel_export,
    list_deliveries,
    list_exports,
    list_jobs,
    list_studies,
    release_held_study,
    resend,
    retry_failed,
)
from consilium.settings import load_settings
from consilium.wiring import House
from record_store import deliveries, exports
from record_store.audit import digest
from record_store.deliveries import RetryPolicy
from record_store.instances import ReceivedInstance, hold_study, record_instance, study_row
from record_store.job_steps import StepRetry
from record_store.jobs import JobClient, JobEngine
from record_store.readings import (
    DONE,
    FAILED,
    JobRow,
    ResultObject,
    add_job,
    add_result_object,
    finish_job,
    job,
)
from record_store.tables import audit
from record_store.testing import database

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


def wait_until(true, within_s=20.0):
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def house(tmp_path):
    made = House(load_settings(data_dir=tmp_path))
    database(tmp_path).dispose()
    yield made
    made.db.dispose()


def test_a_held_study_goes_on_when_a_person_says_so(house) -> None:
    patient = PatientKey("urn:h", "1")
    image = ReceivedInstance(
        "1.2.1", "1.2", "1.2.840.10008.1.2", "1.2", "1.9", "DX", patient, "0" * 64, 9, "A", "B"
    )
    with house.db.write() as conn:
        record_instance(conn, image, NOW)
        hold_study(conn, "1.2", "its images name different patients")
    (row,) = list_studies(house.settings)
    assert row["held because"] == "its images name different patients"
    with pytest.raises(NotFound):
        release_held_study(house.settings, "000000000000", by="dr-blue", why="looked at")
    for by, why in (("", "looked at"), ("dr blue; drop", "looked at"), ("dr-blue", " "), ("dr-blue", "x" * 201)):
        with pytest.raises(IncorrectInput):
            release_held_study(house.settings, row["study"], by=by, why=why)
    with house.db.read() as conn:
        assert study_row(conn, "1.2").state == "held", "a release without who and why is none"
    release_held_study(house.settings, row["study"], by="dr-blue", why="the second name is a misprint")
    with house.db.read() as conn:
        assert study_row(conn, "1.2").state == "open"
        (act,) = conn.execute(select(audit).where(audit.c.action == "study-released")).all()
    assert act.actor == "operator:dr-blue"
    assert json.loads(act.detail) == {"revision": 2, "why": "the second name is a misprint"}


def test_the_command_names_who_runs_it_unless_told_otherwise(house, monkeypatch, kept_logging) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "night-shift")
    monkeypatch.setenv("CONSILIUM_LOW_WATER_MB", "0")
    patient = PatientKey("urn:h", "1")
    image = ReceivedInstance(
        "1.2.1", "1.2", "1.2.840.10008.1.2", "1.2", "1.9", "DX", patient, "0" * 64, 9, "A", "B"
    )
    with house.db.write() as conn:
        record_instance(conn, image, NOW)
        hold_study(conn, "1.2", "a doubt")
    command = ["study", "release", "1.2", "--data-dir", str(house.settings.data_dir)]
    assert CliRunner().invoke(app, command).exit_code == 2, "it must say why"
    assert CliRunner().invoke(app, [*command, "--why", "looked at it"]).exit_code == 0
    assert (
        CliRunner().invoke(app, ["study", "complete", *command[2:], "--by", "kim", "--why", "urgent"]).exit_code
        == 0
    )
    with house.db.read() as conn:
        actors = conn.execute(select(audit.c.actor).where(audit.c.action.like("study-%")).order_by(audit.c.row))
        assert list(actors.scalars()) == ["operator:night-shift", "operator:kim"]


@pytest.mark.slow
def test_a_failed_job_is_tried_again_from_the_step_that_failed(house) -> None:
    broken, runs = [True], []

    def first(key, before):
        runs.append("first")
        return {}

    def second(key, before):
        runs.append("second")
        if broken:
            raise NotFound("the model is away")
        with house.db.write() as conn:
            finish_job(conn, key, DONE, None, NOW)
        return {}

    def failed(key: str, category: Category, message: str) -> None:
        with house.db.write() as conn:
            finish_job(conn, key, FAILED, message, NOW)

    with house.db.write() as conn:
        add_job(conn, JobRow("k" * 64, "1.2", 1, "0" * 64, "lung-nodule", "0.1.0", NOW))
    client = JobClient(house.db)
    client.enqueue("k" * 64, {})
    engine = JobEngine(
        house.db,
        "test",
        (("first", first), ("second", second)),
        failed,
        poll_s=0.05,
        retry=StepRetry(first_s=0.01),
    )
    engine.start()
    try:
        wait_until(lambda: [row["reason"] for row in list_jobs(house.settings)] == ["the model is away"])
        wait_until(client.dead_letters)  # the row says so a moment before the engine does
        broken.clear()
        assert retry_failed(house.settings) == 1
        wait_until(lambda: list_jobs(house.settings) == [])
    finally:
        engine.stop(1)
        client.close()
    assert runs == ["first", "second", "second"]
    with house.db.read() as conn:
        assert job(conn, "k" * 64).state == DONE


def test_what_was_given_up_or_sent_is_sent_again_when_an_operator_says_so(house) -> None:
    rows = [("1.1", "pacs", "no connection"), ("1.2", "pacs", None), ("1.3", "vna", "no connection")]
    with house.db.write() as conn:
        for uid, to, _ in rows:
            add_result_object(conn, ResultObject(uid, "job", "SEG", "1.2.3", "1.2", "0" * 64, NOW))
            deliveries.enqueue(conn, uid, to, NOW)
    problems = {uid: problem for uid, _, problem in rows}
    for one in deliveries.claim_due(house.db, NOW, 60, 9):
        problem = problems[one.sop_instance_uid]
        with house.db.write() as conn:
            deliveries.record_outcome(
                conn,
                one.delivery_id,
                status=None if problem else 0,
                problem=problem,
                now=NOW,
                retry=RetryPolicy(),
                final=True,
            )
    listed = {row["object"]: row for row in list_deliveries(house.settings, None)}
    assert listed[digest("1.1")]["why"] == "given up after 1 try: no connection"
    assert (listed[digest("1.2")]["kind"], listed[digest("1.2")]["why"]) == ("SEG", "the archive has it")
    assert resend(house.settings, "vna") == 1
    states = lambda: {row["object"]: row["state"] for row in list_deliveries(house.settings, None)}  # noqa: E731
    assert states() == {digest("1.1"): "dead", digest("1.2"): "sent", digest("1.3"): "pending"}
    assert resend(house.settings, object_digest=digest("1.2")) == 1  # lost there, says the archive's owner
    assert resend(house.settings) == 1
    assert set(states().values()) == {"pending"}
    with pytest.raises(NotFound):
        resend(house.settings, object_digest="0" * 12)


def test_exports_are_listed_and_cancelled(house):
    with house.db.write() as conn:
        exports.ask(conn, "e1", "client-7", "http://h/fhir/$export", {}, NOW)
    (row,) = list_exports(house.settings)
    assert (row["export"], row["client"], row["state"]) == ("e1", "client-7", "queued")
    cancel_export(house.settings, "e1")
    assert list_exports(house.settings)[0]["state"] == "cancelled"
    with pytest.raises(NotFound):
        cancel_export(house.settings, "e2")
