"""Each image job is a Task that says where it stands, for whom, by which order, and what it made."""

from datetime import UTC, datetime, timedelta

import pytest
from pydicom.dataset import Dataset

from clinical.errors import Category
from consilium.closing import Closing
from consilium.completing import Completing
from consilium.explain.compared_words import compared_in_words
from consilium.publishing import NO_ORDER_STANDS
from consilium.rules.completion import Waits
from consilium.worker import ImageModels
from dicom_node.testing import CANARY_ID
from fhir_adapters.publish import publish
from model_runtime.testing import CannedEngine, manifest_of, segmentation_document
from record_store import study_orders
from record_store.readings import queued_jobs
from record_store.study_history import history_of
from tests.consilium.nodule import one_nodule, radiograph
from tests.fhir_adapters.ai_transparency import faults_of
from tests.fhir_adapters.r4 import check_r4

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
CHART = {"resourceType": "Patient", "id": "chart", "identifier": [{"system": "urn:h", "value": CANARY_ID}]}
ORDER = {
    "resourceType": "ServiceRequest",
    "id": "order",
    "status": "active",
    "intent": "order",
    "identifier": [{"value": "A77"}],
    "subject": {"reference": "Patient/chart"},
}


class NoJobs:
    def enqueue(self, key, _input):
        pass

    def retry(self, key):
        pass


@pytest.fixture
def study(make_study):
    engine = CannedEngine({"lung-nodule": one_nodule}, {"lung-nodule": manifest_of(segmentation_document())})
    return make_study("lung-nodule", engine, radiograph)


def closes(study):
    """The study is complete: the worker's own closing makes the job. Returns its key."""
    manifest = study.engine.manifest("lung-nodule")
    models = ImageModels((manifest,), {})
    later = NOW + timedelta(minutes=1)
    Closing(study.db, NoJobs(), lambda: models, Completing(Waits(5.0)), lambda: later).once()
    with study.db.read() as conn:
        (job,) = queued_jobs(conn)
    return job.job_key


def the_task(study):
    (task,) = study.resources("Task")
    check_r4(task)
    return task


def test_a_job_is_requested_then_completed_with_its_results_for_the_patient_and_by_the_order(study):
    with study.db.write() as conn:
        publish(conn, [CHART, ORDER], NOW)
    study.arrives("first", AccessionNumber="A77")
    key = closes(study)
    task = the_task(study)
    assert (task["status"], task["intent"], task["for"]) == ("requested", "order", {"reference": "Patient/chart"})
    assert task["focus"]["identifier"] == {"system": "urn:dicom:uid", "value": f"urn:oid:{study.uid}"}
    assert "reference" not in task["focus"]  # the ImagingStudy is not here yet
    study.now = NOW + timedelta(minutes=2)
    study.run(key)
    task = the_task(study)
    assert task["status"] == "completed"
    assert set(task["executionPeriod"]) == {"start", "end"}
    (imaging,), (report,) = study.resources("ImagingStudy"), study.resources("DiagnosticReport")
    assert task["focus"]["reference"] == f"ImagingStudy/{imaging['id']}"
    assert {
        "type": {"text": "DiagnosticReport"},
        "valueReference": {"reference": f"DiagnosticReport/{report['id']}"},
    } in (task["output"])
    assert sorted(one["type"]["text"] for one in task["output"]) == [
        "DiagnosticReport",
        "Observation",
        "SEG",
        "SR",
    ]
    ordered = [{"reference": "ServiceRequest/order"}]
    made = [imaging, report, *study.resources("Observation")]
    assert [one["basedOn"] for one in (task, *made)] == [ordered] * 4
    everything = [one for kind in ("Device", "DocumentReference", "Provenance") for one in study.resources(kind)]
    assert faults_of([*made, *everything]) == []


def test_images_of_two_orders_in_one_study_are_based_on_each_their_own_and_the_task_on_both(study):
    other = ORDER | {"id": "other", "identifier": [{"value": "B88"}]}
    with study.db.write() as conn:
        publish(conn, [CHART, ORDER, other], NOW)
    study.arrives("first", AccessionNumber="A77")
    study.arrives("second", AccessionNumber="B88")
    study.run(closes(study))
    assert based_on(the_task(study)) == {"order", "other"}
    assert sorted(map(sorted, map(based_on, study.resources("DiagnosticReport")))) == [["order"], ["other"]]


def test_an_image_that_fulfils_two_requests_is_based_on_both(study):
    other = ORDER | {"id": "other", "identifier": [{"value": "B88"}]}
    with study.db.write() as conn:
        publish(conn, [CHART, ORDER, other], NOW)
    requests = []
    for number in ("A77", "B88"):
        item = Dataset()
        item.AccessionNumber = number
        requests.append(item)
    study.arrives("first", AccessionNumber="", RequestAttributesSequence=requests)
    study.run(closes(study))
    assert [based_on(one) for one in (*study.resources("DiagnosticReport"), the_task(study))] == [
        {"order", "other"}
    ] * 2


def test_that_the_order_of_a_study_was_revoked_is_told(study):
    with study.db.write() as conn:
        publish(conn, [CHART, ORDER | {"status": "revoked"}], NOW)
    study.arrives("first", AccessionNumber="A77")
    study.run(closes(study))
    (report,) = study.resources("DiagnosticReport")
    assert "basedOn" not in report
    with study.db.read() as conn:
        lines = compared_in_words(history_of(conn, study.uid).published)
    assert f"lung-nodule 0.1.0: {NO_ORDER_STANDS}" in lines


def test_that_only_another_issuers_order_has_the_number_is_told(study):
    with study.db.write() as conn:
        publish(conn, [CHART, ORDER | {"identifier": [{"system": "urn:other", "value": "A77"}]}], NOW)
    study.arrives("first", AccessionNumber="A77")
    with study.db.write() as conn:
        study_orders.claim(conn, study.uid, NOW)
        study_orders.answer(conn, study.uid, NOW, orders=1, accession=("urn:ris", "A77"))
    study.run(closes(study))
    (report,) = study.resources("DiagnosticReport")
    assert "basedOn" not in report
    with study.db.read() as conn:
        (line,) = [one for one in compared_in_words(history_of(conn, study.uid).published) if "order" in one]
    assert line.endswith("or is another issuer's")


def based_on(resource) -> set[str]:
    return {one["reference"].removeprefix("ServiceRequest/") for one in resource.get("basedOn", ())}


def test_a_patient_who_is_not_here_yet_is_named_by_the_identifier(study):
    study.arrives("first")
    closes(study)
    assert the_task(study)["for"]["identifier"] == {"system": "urn:h", "value": CANARY_ID}


def test_a_job_under_way_that_fails_says_why_and_is_requested_again_later(study):
    study.arrives("first")
    key = closes(study)
    study.steps.read(key, {})
    assert the_task(study)["status"] == "in-progress"
    study.steps.failed(key, Category.FAULT, "the model is broken")
    task = the_task(study)
    assert (task["status"], task["statusReason"]) == ("failed", {"text": "the model is broken"})


def test_a_study_without_an_image_to_read_is_completed_without_output_and_says_so(study):
    study.arrives("side", ViewPosition="LL")
    key = closes(study)
    study.run(key)
    task = the_task(study)
    assert (task["status"], "output" in task) == ("completed", False)
    assert task["statusReason"]["text"].startswith("no image was read")


def test_a_step_that_is_run_again_does_not_open_a_completed_task(study):
    study.arrives("first")
    key = closes(study)
    study.run(key)
    before = the_task(study)
    study.steps.read(key, {})
    study.steps.failed(key, Category.FAULT, "late")
    assert the_task(study) == before
