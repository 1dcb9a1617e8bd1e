"""`consilium study explain` says for every stage what happened, in words, and never a patient's name."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from clinical.errors import NotFound
from clinical.identity import PatientKey
from consilium.app import create_app
from consilium.cli import app
from consilium.explain.reader import Explainer
from consilium.explain.stages import Match, State, explain
from consilium.selection import Selecting
from consilium.settings import load_settings
from consilium.web_parts import build_parts
from consilium.wiring import House, prepare_storage
from dicom_node.testing import CANARY_ID, CANARY_NAME
from model_runtime.testing import CannedEngine, lesion_document, manifest_of, segmentation_document
from record_store.announcements import Announced
from record_store.audit import append, digest
from record_store.evidence import Evidence
from record_store.instances import InstanceRow, ReceivedInstance, StudyRow, record_instance
from record_store.readings import DONE, FAILED, QUEUED, JobRow
from record_store.shadows import ShadowStudy
from record_store.study_history import Act, Made, Sent, StudyHistory, find_study
from tests.consilium.nodule import one_nodule, radiograph

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
STUDY = StudyRow("1.2.3", PatientKey("urn:h", "1"), "closed", 1, 1, NOW)
IMAGE = InstanceRow("1.2.3.1", "1.2", "1.2", "1.2.3", "1.9", "DX", "0" * 64, 9, "XRAY", "CONSILIUM", NOW)
JOB = JobRow("k" * 64, "1.2.3", 1, "0" * 64, "lung-nodule", "1.0.0", NOW, DONE)
SENT = Sent("9.1", "SR", "pacs", "sent", 1, NOW, 0, None)
DONE_HISTORY = StudyHistory(
    study=STUDY,
    instances=(IMAGE,),
    acts=(Act(NOW, "study-closed", "queued", "worker", {"revision": 1, "why": "quiet for 5 s"}),),
    jobs=(JOB,),
    findings={JOB.job_key: (1, 2)},
    made=(Made("9.1", JOB.job_key, "SR"),),
    sent=(SENT,),
)
MATCHED = [Match("lung-nodule 1.0.0", "asked: it reads CR, DX", 1)]


def stage(name, matches=MATCHED, **changes):
    stages = explain(replace(DONE_HISTORY, **changes), matches, 5.0)
    return next(one for one in stages if one.stage == name)


def test_a_study_that_went_well_is_done_at_every_stage() -> None:
    stages = explain(DONE_HISTORY, MATCHED, 5.0)
    assert [one.stage for one in stages] == [
        "received",
        "complete",
        "matched",
        "inferred",
        "encoded",
        "delivered",
        "committed",
    ]
    assert {one.state for one in stages[:6]} == {State.DONE}
    assert (stages[6].state, stages[6].words) == (
        State.NOTHING,
        "no archive is asked to confirm that it keeps a result",
    )
    assert stages[0].lines == ("1 of modality DX from XRAY to CONSILIUM",)
    assert stages[1].words == "closed as revision 1: quiet for 5 s"
    assert "1 image read, 2 findings" in stages[3].lines[0]


def test_objects_that_came_again_with_other_bytes_are_told_once_each() -> None:
    again = [Act(NOW, "instance-differs", "first-kept", "ae:XRAY", {"instance": one}) for one in ("a", "b", "a")]
    (line,) = stage("received", differing=tuple(again)).lines[1:]
    assert line.startswith("2 objects came again with other bytes, last from XRAY at 2026-11-22 09:00:00 UTC")
    assert line.endswith(": answered 0x0111, and the first bytes are kept")


def test_objects_that_came_with_the_uid_of_one_of_another_study_are_told_under_both() -> None:
    here = Act(NOW, "instance-differs", "first-kept", "ae:XRAY", {"instance": "a", "first_study": digest("1.2.3")})
    there = replace(here, detail={"instance": "b", "first_study": digest("1.2.4")})
    again, strange = stage("received", differing=(here, there)).lines[1:]
    assert again.startswith("1 object came again with other bytes, last from XRAY")
    assert strange.startswith("1 object came with the UID of one of another study, last from XRAY")
    assert strange.endswith(": answered 0x0111, and not kept")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0xA700, "refused: out of resources (0xA700)"),
        (0x0122, "refused: SOP class not supported (0x0122)"),
        (0x0124, "refused: not authorised (0x0124)"),
    ],
)
def test_a_destination_that_refused_is_named_with_its_dicom_status_in_plain_words(status, words) -> None:
    sent = replace(SENT, state="pending", attempts=3, last_status=status, last_problem="refused")
    told = stage("delivered", sent=(sent,))
    assert told.state is State.WAITING
    assert words in told.lines[0]
    assert "3 attempts so far" in told.lines[0]


def test_a_dead_delivery_stops_and_names_the_command_that_mends_it() -> None:
    told = stage("delivered", sent=(replace(SENT, state="dead", last_status=None, last_problem="no answer"),))
    assert told.state is State.STOPPED
    assert "deliveries --resend" in told.words
    assert "no answer" in told.lines[0]


@pytest.mark.parametrize(
    ("commitment", "asks", "state", "line"),
    [
        ("wanted", 0, State.WAITING, "it is to be asked whether it keeps the object"),
        ("asked", 1, State.WAITING, "asked 1 time and not answered yet"),
        ("committed", 1, State.DONE, "it has confirmed that it keeps the object"),
        ("unconfirmed", 12, State.STOPPED, "it answered none of 12 questions"),
    ],
)
def test_storage_commitment_is_told_for_each_object(commitment, asks, state, line) -> None:
    told = stage("committed", sent=(replace(SENT, commitment=commitment, commitment_asks=asks),))
    assert (told.state, told.words, told.lines) == (state, f"1 {commitment}", (f"SR at pacs: {line}",))


def test_evidence_of_completeness_stands_beside_the_acts() -> None:
    evidence = Evidence(NOW, NOW, None, NOW, "no connection")
    announced = (Announced("MPPS", "completed", "CT1", 3, 1), Announced("IAN", "completed", "PACS", 1, 0))
    told = stage("complete", evidence=evidence, announced=announced)
    assert told.lines[:5] == (
        "2026-11-22 09:00:00 UTC its sender released the association",
        "2026-11-22 09:00:00 UTC a sender broke its association off",
        "2026-11-22 09:00:00 UTC the archive did not say how many objects there are: no connection",
        "MPPS of CT1, completed, lists 3 objects, 1 of them not here",
        "IAN of PACS, completed, lists 1 objects, all of them here",
    )


def test_a_held_study_is_stopped_with_its_reason_and_nothing_after_it_looks_done() -> None:
    held = replace(STUDY, state="held", hold_reason="its images name different patients")
    history = replace(DONE_HISTORY, study=held, jobs=(), findings={}, made=(), sent=())
    stages = explain(history, MATCHED, 5.0)
    assert stages[1].state is State.STOPPED
    assert "its images name different patients" in stages[1].words
    assert {one.state for one in stages[2:]} == {State.NOT_YET}


def test_a_study_that_no_model_reads_waits_for_nothing() -> None:
    history = replace(DONE_HISTORY, jobs=(), findings={}, made=(), sent=())
    assert {one.state for one in explain(history, [], 5.0)[2:]} == {State.NOTHING}
    unread = replace(history, jobs=(replace(JOB, reason="it is a cine loop"),))
    assert {one.state for one in explain(unread, [], 5.0)[3:]} == {State.NOTHING}
    failed = replace(history, jobs=(replace(JOB, state=FAILED, reason="no memory"),))
    assert {one.state for one in explain(failed, MATCHED, 5.0)[4:]} == {State.NOT_YET}


def test_an_open_study_says_how_long_it_waits() -> None:
    told = stage("complete", study=replace(STUDY, state="open"), acts=())
    assert (told.state, told.words) == (
        State.WAITING,
        "still open: its last object came 09:00:00 UTC, the quiet time is 5 s",
    )


def test_what_no_model_reads_says_which_clause_was_in_the_way() -> None:
    left_out = Match("lung-nodule 1.0.0", "asked: it reads CR, DX", 0, (("it is not a frontal view", 2),))
    told = stage("matched", [left_out])
    assert told.state is State.NOTHING
    assert "lung-nodule 1.0.0: leaves out 2: it is not a frontal view" in told.lines


@pytest.mark.parametrize(
    ("state", "reason", "shown"),
    [(FAILED, "the model is away", State.STOPPED), (QUEUED, None, State.WAITING), (DONE, "none", State.NOTHING)],
)
def test_a_job_that_failed_waits_or_read_nothing_is_told_apart(state, reason, shown) -> None:
    told = stage("inferred", jobs=(replace(JOB, state=state, reason=reason),))
    assert told.state is shown
    assert reason is None or reason in told.words


@pytest.mark.slow
def test_explain_tells_from_the_stored_rows_what_the_worker_did_and_no_patient(make_study) -> None:
    manifests = {
        "lung-nodule": manifest_of(segmentation_document()),
        "breast-lesion": manifest_of(lesion_document()),
    }
    engine = CannedEngine({"lung-nodule": one_nodule}, manifests)
    study = make_study("lung-nodule", engine, radiograph)
    study.arrives("frontal")
    study.arrives("side", ViewPosition="LL")
    study.is_read()
    with study.db.write() as conn:
        append(conn, at=NOW, action="study-closed", outcome="queued", actor="worker", subject=digest(study.uid))
    selecting = Selecting(study.blobs, study.steps.issuers)
    explainer = Explainer(study.db, selecting, lambda: list(manifests.values()), 5.0)
    told = explainer.explain(digest(study.uid))
    assert told == explainer.explain(study.uid)
    by_name = {one["stage"]: one for one in told["stages"]}
    matched = by_name["matched"]["lines"]
    assert "lung-nodule 0.1.0: reads 1 image" in matched
    assert "lung-nodule 0.1.0: leaves out 1: it is not a frontal view" in matched
    assert "breast-lesion 0.1.0: not asked: it reads US, the study has DX" in matched
    assert by_name["delivered"]["state"] == "waiting"
    for private in (CANARY_NAME, CANARY_ID, study.uid):
        assert private not in str(told)
    with pytest.raises(NotFound):
        explainer.explain("1.2.3.4.5")


def test_a_study_of_which_nothing_was_taken_is_unknown_and_what_came_of_it_is_told(sqlite_db) -> None:
    row = ReceivedInstance("1.2.3.1", "1.2", "1.2", "1.2.3", "1.9", "DX", None, "0" * 64, 9, "XRAY", "CONSILIUM")
    with sqlite_db.write() as conn:
        record_instance(conn, row, NOW)
        record_instance(conn, replace(row, study_uid="1.2.4", sha256="1" * 64), NOW)
    explainer = Explainer(sqlite_db, Selecting(None, None), list, 5.0)
    for named in ("1.2.4", digest("1.2.4")):
        with pytest.raises(NotFound, match="1 object came with the UID of one of another study, last from XRAY"):
            explainer.explain(named)


def test_command_page_and_json_tell_the_same_study(tmp_path, no_settings, kept_logging, monkeypatch) -> None:
    house = House(load_settings(data_dir=tmp_path, low_water_mb=0))
    prepare_storage(house.settings)
    image = ReceivedInstance(
        "1.2.1", "1.2", "1.2.840.10008.1.2", "1.2", "1.9", "CT", None, "0" * 64, 9, "CT1", "CONSILIUM"
    )
    with house.db.write() as conn:
        record_instance(conn, image, NOW)
    client = create_app(build_parts(house)).test_client()
    monkeypatch.setenv("CONSILIUM_LOW_WATER_MB", "0")
    asked = CliRunner().invoke(app, ["study", "explain", "1.2", "--json", "--data-dir", str(tmp_path)])
    told = client.get("/studies/1.2/explain.json").get_json()
    assert json.loads(asked.stdout) == told
    assert told["stages"][2]["state"] == "nothing to do"
    page = client.get(f"/studies/{digest('1.2')}/explain").get_data(as_text=True)
    for stage in told["stages"]:
        assert stage["words"].replace("'", "&#39;") in page
    assert client.get("/studies/9.9/explain.json").status_code == 404
    house.db.dispose()


def test_a_model_that_read_for_nobody_to_see_has_a_stage_of_its_own() -> None:
    read = ShadowStudy("lung-nodule", "2.0.0", "1.2.3", 1, "done", 1, 2, {"it is not a frontal view": 1}, {}, NOW)
    told = stage("shadow", shadows=(read,))
    assert (told.state, told.words) == (
        State.DONE,
        "1 model read it for nobody to see; no result was made of that",
    )
    assert told.lines == (
        "lung-nodule 2.0.0, revision 1: 2 images read",
        "lung-nodule 2.0.0, revision 1: leaves out 1: it is not a frontal view",
    )
    gone = replace(read, state="reading", attempts=3)
    assert "attempt 3 of 3" in stage("shadow", shadows=(gone,)).lines[0]
    assert stage("shadow", shadows=(gone,)).state is State.WAITING
    given_up = replace(read, state="failed", attempts=3)
    assert stage("shadow", shadows=(given_up,)).state is State.STOPPED


def test_a_study_is_found_by_its_digest(make_study) -> None:
    study = make_study("lung-nodule", None, radiograph)
    study.arrives("frontal")
    with study.db.read() as conn:
        assert find_study(conn, digest(study.uid)) == study.uid
        assert find_study(conn, "0" * 12) is None
