"""The three flows over real sockets, with the canary as the patient: results, clients, and no trace in a log."""

import json
import subprocess
import time
import uuid
from importlib import import_module
from pathlib import Path

import httpx
import pytest
from fhirclient import client as smart
from fhirclient.models.diagnosticreport import DiagnosticReport
from fhirclient.models.observation import Observation
from sqlalchemy import select

from consilium.demo.server import RunningServer
from dicom_node.testing import (
    CANARY_ID,
    ReceivedByAe,
    dx_dataset,
    radiograph_phantom,
    send_files,
    write_dicom,
)
from model_runtime.library import Library
from record_store.database import Database
from record_store.tables import resource, study, study_job

pytestmark = pytest.mark.slow

MODELS = Path(__file__).parents[2] / "models"
SYSTEM = "urn:consilium:test-hospital"
EMITTED = ("Patient", "Observation", "DiagnosticReport", "ImagingStudy", "Device", "Provenance")


def _until(found, within_s: float = 60.0):
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


@pytest.fixture(scope="module")
def pushed(house: RunningServer, tmp_path_factory: pytest.TempPathFactory):
    """A canary's radiograph, sent and read; the ImagingStudy that came of it."""
    pixels, truth = radiograph_phantom(3, rows=512, columns=512)
    ds = dx_dataset(pixels, spacing_mm=truth.spacing_mm, seed="flows")
    path = write_dicom(ds, tmp_path_factory.mktemp("flows") / "canary.dcm")
    assert send_files([path], house.dicom_port) == [0]

    def study_of_it():
        answer = httpx.get(
            f"{house.base_url}/fhir/ImagingStudy",
            params={"identifier": f"urn:dicom:uid|urn:oid:{ds.StudyInstanceUID}"},
            trust_env=False,
            timeout=60,
        )
        return [entry["resource"] for entry in answer.json().get("entry", [])]

    return _until(study_of_it)[0]


def _call(house: RunningServer, service: str, prefetch: dict, patient_id: str = "canary") -> httpx.Response:
    body = {
        "hook": "patient-view",
        "hookInstance": str(uuid.uuid4()),
        "context": {"userId": "Practitioner/1", "patientId": patient_id},
        "prefetch": prefetch,
    }
    return httpx.post(f"{house.base_url}/cds-services/{service}", json=body, trust_env=False, timeout=60)


def _canary(patient_id: str = "canary", system: str = SYSTEM) -> dict:
    return {
        "resourceType": "Patient",
        "id": patient_id,
        "identifier": [{"system": system, "value": CANARY_ID}],
        "name": [{"family": "Zzcanary", "given": ["Quillon"]}],
        "gender": "other",
        "birthDate": "1960-12-31",
    }


def test_every_emitted_resource_is_accepted_by_the_independent_models(pushed, store: Database) -> None:
    with store.read() as conn:
        rows = conn.execute(select(resource.c.type, resource.c.body)).all()
    assert {row[0] for row in rows} >= set(EMITTED)
    for kind, body in rows:
        model = getattr(import_module(f"fhir.resources.R4B.{kind.lower()}"), kind)
        model.model_validate_json(bytes(body))


def test_fhirclient_reads_the_results(pushed, house: RunningServer) -> None:
    server = smart.FHIRClient(settings={"app_id": "test", "api_base": f"{house.base_url}/fhir"}).server
    subject = pushed["subject"]["reference"]
    reports = list(DiagnosticReport.where({"subject": subject}).perform_resources_iter(server))
    found = list(Observation.where({"subject": subject, "category": "imaging"}).perform_resources_iter(server))
    assert [report.status for report in reports] == ["preliminary"]
    assert len(found) == len(reports[0].result or [])


def test_curl_reads_the_results(pushed, house: RunningServer) -> None:
    url = f"{house.base_url}/fhir/DiagnosticReport?patient={pushed['subject']['reference']}&_sort=-date"
    out = subprocess.run(["curl", "-sS", "--fail", url], check=True, capture_output=True, timeout=20).stdout
    assert json.loads(out)["entry"][0]["resource"]["resourceType"] == "DiagnosticReport"


def test_the_archive_received_what_the_imaging_study_names(pushed, archive: ReceivedByAe) -> None:
    made = {i["uid"] for s in pushed["series"] if s["modality"]["code"] in {"SEG", "SR"} for i in s["instance"]}
    _until(lambda: made <= {str(ds.SOPInstanceUID) for ds in archive.objects})


def test_the_card_names_the_finding_and_its_link_opens_the_overlay(pushed, house: RunningServer) -> None:
    answer = _call(house, "imaging-findings", {"patient": _canary()})
    assert answer.status_code == 200, answer.text
    card = answer.json()["cards"][0]
    assert len(card["summary"]) < 140
    page = httpx.get(card["links"][0]["url"], trust_env=False, timeout=60)
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "lung-nodule" in page.text
    assert "Zzcanary" not in page.text
    image = httpx.get(card["links"][0]["url"].replace("?", "/image.png?"), trust_env=False, timeout=60)
    assert image.headers["content-type"] == "image/png"


def test_a_link_that_was_changed_opens_nothing(pushed, house: RunningServer) -> None:
    url = _call(house, "imaging-findings", {"patient": _canary()}).json()["cards"][0]["links"][0]["url"]
    for changed in (url[:-1], url.replace("expires=1", "expires=9"), url.split("?")[0]):
        assert httpx.get(changed, trust_env=False, timeout=60).status_code == 403


def test_the_same_number_of_another_issuer_is_another_patient(pushed, house: RunningServer) -> None:
    answer = _call(house, "imaging-findings", {"patient": _canary(system="urn:another-hospital")})
    assert answer.json() == {"cards": []}


def test_another_patient_in_the_prefetch_is_refused(pushed, house: RunningServer) -> None:
    answer = _call(house, "imaging-findings", {"patient": _canary("somebody-else")})
    assert answer.status_code in {400, 412}
    assert answer.json()["resourceType"] == "OperationOutcome"


def test_a_missing_prefetch_is_412_and_never_no_cards(house: RunningServer) -> None:
    answer = _call(house, "diabetes-risk", {})
    assert answer.status_code == 412
    assert answer.json()["resourceType"] == "OperationOutcome"


def test_what_a_model_saw_and_where_it_ran_stands_in_the_metrics(pushed, house: RunningServer) -> None:
    reference = Library(MODELS).manifest("lung-nodule").reference

    def counted():
        text = httpx.get(f"{house.base_url}/metrics", trust_env=False, timeout=60).text
        here = 'consilium_model_device{device="cpu",model="lung-nodule"} 1.0' in text
        return here and all(f'feature="{name}",model="lung-nodule"' in text for name in reference.features)

    assert _until(counted)


def test_a_study_of_two_patients_is_held_and_read_by_nobody(
    house: RunningServer, store: Database, tmp_path: Path
) -> None:
    pixels, _ = radiograph_phantom(4, rows=128, columns=128)
    first = dx_dataset(pixels, seed="two-patients")
    second = dx_dataset(pixels, seed="two-patients", PatientID="SOMEBODY-ELSE")
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = f"{first.SOPInstanceUID}.2"[-64:]
    files = [write_dicom(first, tmp_path / "1.dcm"), write_dicom(second, tmp_path / "2.dcm")]
    assert send_files(files, house.dicom_port) == [0, 0]

    def state():
        with store.read() as conn:
            query = select(study.c.state).where(study.c.study_uid == str(first.StudyInstanceUID))
            return conn.execute(query).scalar_one_or_none() == "held"

    _until(state)
    time.sleep(1.5)
    with store.read() as conn:
        jobs = conn.execute(
            select(study_job.c.job_key).where(study_job.c.study_uid == str(first.StudyInstanceUID))
        )
        assert jobs.all() == []


def test_the_same_study_again_is_acknowledged_and_not_read_again(
    pushed, house: RunningServer, store, tmp_path
) -> None:
    pixels, truth = radiograph_phantom(3, rows=512, columns=512)
    ds = dx_dataset(pixels, spacing_mm=truth.spacing_mm, seed="flows")
    assert send_files([write_dicom(ds, tmp_path / "again.dcm")], house.dicom_port) == [0]
    time.sleep(1.5)
    with store.read() as conn:
        jobs = conn.execute(select(study_job.c.state).where(study_job.c.study_uid == str(ds.StudyInstanceUID)))
        assert jobs.scalars().all() == ["done"]


def test_zz_the_canary_is_in_no_log_line(pushed, house: RunningServer) -> None:
    # Last by name: everything above, errors included, was logged at DEBUG.
    refused = httpx.post(
        f"{house.base_url}/fhir/Patient",
        content=json.dumps(_canary() | {"gender": "Zzcanary"}),
        headers={"Content-Type": "application/fhir+json"},
        trust_env=False,
        timeout=60,
    )
    assert refused.status_code in {400, 422}
    # By form: the test's own HTTP client logs the addresses it asks.
    httpx.post(
        f"{house.base_url}/fhir/Patient/_search",
        data={"identifier": f"{SYSTEM}|{CANARY_ID}"},
        trust_env=False,
        timeout=60,
    )
    _call(house, "imaging-findings", {"patient": _canary()})
    log = house.log.read_text(encoding="utf-8").lower()
    assert "instance received" in log
    assert "hook answered" in log
    for word in ("zzcanary", "quillon"):
        assert word not in log
