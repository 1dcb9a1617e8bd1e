"""A study is one trace, from the association to what an archive said, in the form that collectors take."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from clinical.identity import PatientKey
from consilium.cli import app
from consilium.explain.trace import MOST_EVENTS, as_otlp
from consilium.settings import load_settings
from consilium.wiring import House, prepare_storage
from dicom_node.testing import CANARY_ID
from record_store.audit import digest
from record_store.instances import InstanceRow, ReceivedInstance, StudyRow, record_instance
from record_store.readings import DONE, FAILED, JobRow
from record_store.study_history import Act, Made, Sent, StudyHistory

START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
KEY = "k" * 64


def after(seconds):
    return START + timedelta(seconds=seconds)


def image(number, *, calling="XRAY"):
    return InstanceRow(
        f"1.2.3.{number}", "1.2", "1.2", "1.2.3", "1.9", "DX", "0" * 64, 1000, calling, "CONSILIUM", after(number)
    )


HISTORY = StudyHistory(
    study=StudyRow("1.2.3", PatientKey("urn:h", CANARY_ID), "closed", 1, 2, after(1)),
    instances=(image(0), image(1), replace(image(1, calling="CT1"), sop_instance_uid="1.2.3.9")),
    acts=(Act(after(6), "study-closed", "queued", "worker", {"revision": 1, "why": "quiet for 5 s"}),),
    jobs=(JobRow(KEY, "1.2.3", 1, "0" * 64, "lung-nodule", "1.0.0", after(6), DONE, None, after(8)),),
    findings={KEY: (1, 2)},
    made=(Made("9.1", KEY, "SR"),),
    sent=(Sent("9.1", "SR", "pacs", "sent", 1, after(9), 0, None, updated_at=after(9)),),
)


def spans(history=HISTORY):
    (resource,) = as_otlp(history)["resourceSpans"]
    (scope,) = resource["scopeSpans"]
    return {one["name"]: one for one in scope["spans"]}


def told(span):
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


def seconds(span):
    began, ended = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    return (began / 1e9 - START.timestamp(), ended / 1e9 - START.timestamp())


def test_association_closing_job_and_delivery_are_spans_of_one_trace():
    found = spans()
    assert list(found) == [
        "study",
        "receive from CT1",
        "receive from XRAY",
        "study-closed",
        "job lung-nodule",
        "deliver SR",
    ]
    assert len({one["traceId"] for one in found.values()}) == 1
    assert seconds(found["study"]) == (0, 9)
    assert seconds(found["receive from XRAY"]) == (0, 1)
    assert seconds(found["study-closed"]) == (1, 6)
    assert seconds(found["job lung-nodule"]) == (6, 8)
    assert seconds(found["deliver SR"]) == (8, 9)
    assert found["deliver SR"]["parentSpanId"] == found["job lung-nodule"]["spanId"]
    assert {one["parentSpanId"] for one in found.values()} <= {"", *(one["spanId"] for one in found.values())}


def test_each_span_says_what_passed():
    found = spans()
    assert told(found["receive from XRAY"]) == {
        "dicom.calling_ae": "XRAY", "dicom.called_ae": "CONSILIUM", "dicom.instances": "2", "dicom.bytes": "2000",
    }  # fmt: skip
    assert [one["name"] for one in found["receive from XRAY"]["events"]] == ["instance", "instance"]
    assert told(found["study-closed"])["why"] == "quiet for 5 s"
    assert told(found["job lung-nodule"])["consilium.findings"] == "2"
    assert [one["name"] for one in found["job lung-nodule"]["events"]] == ["SR"]
    assert told(found["deliver SR"]) | {"dicom.status": "0x0000", "consilium.destination": "pacs"} == told(
        found["deliver SR"]
    )


def test_what_failed_is_an_error_with_its_reason():
    failed = replace(HISTORY.jobs[0], state=FAILED, reason="the model did not answer")
    dead = replace(
        HISTORY.sent[0], state="dead", last_status=0x0122, last_problem="refused: SOP class not supported"
    )
    found = spans(replace(HISTORY, jobs=(failed,), sent=(dead,)))
    assert found["job lung-nodule"]["status"] == {"code": 2, "message": "the model did not answer"}
    assert found["deliver SR"]["status"] == {"code": 2, "message": "refused: SOP class not supported"}
    assert spans()["deliver SR"]["status"] == {"code": 1}


def test_the_same_study_is_the_same_trace_and_another_is_not():
    assert as_otlp(HISTORY) == as_otlp(HISTORY)
    other = spans(replace(HISTORY, study=replace(HISTORY.study, study_uid="1.2.4")))
    assert other["study"]["traceId"] != spans()["study"]["traceId"]
    for one in spans().values():
        assert (len(one["traceId"]), len(one["spanId"])) == (32, 16)
        assert int(one["traceId"], 16)
        assert int(one["spanId"], 16)


def test_a_thousand_images_are_not_a_thousand_events():
    many = spans(replace(HISTORY, instances=tuple(image(number) for number in range(1000))))["receive from XRAY"]
    assert len(many["events"]) == MOST_EVENTS
    assert many["droppedEventsCount"] == 1000 - MOST_EVENTS


def test_no_patient_and_no_uid_is_in_it():
    text = json.dumps(as_otlp(HISTORY))
    for private in (CANARY_ID, '"1.2.3', '"9.1'):
        assert private not in text


@pytest.mark.slow
def test_the_command_prints_the_trace_of_a_stored_study(tmp_path, no_settings, kept_logging, monkeypatch):
    house = House(load_settings(data_dir=tmp_path, low_water_mb=0))
    prepare_storage(house.settings)
    row = ReceivedInstance(
        "1.2.1", "1.2", "1.2.840.10008.1.2", "1.2", "1.9", "CT", None, "0" * 64, 9, "CT1", "CONSILIUM"
    )
    with house.db.write() as conn:
        record_instance(conn, row, START)
    house.db.dispose()
    monkeypatch.setenv("CONSILIUM_LOW_WATER_MB", "0")
    asked = CliRunner().invoke(app, ["study", "trace", digest("1.2"), "--data-dir", str(tmp_path)])
    (resource,) = json.loads(asked.stdout)["resourceSpans"]
    assert [one["name"] for one in resource["scopeSpans"][0]["spans"]] == ["study", "receive from CT1"]
    unknown = CliRunner().invoke(app, ["study", "trace", "9.9", "--data-dir", str(tmp_path)])
    assert unknown.exit_code != 0
