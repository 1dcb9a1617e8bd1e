"""The PyPI client `fhirclient` and curl read our results over a real socket."""

import json
import shutil
import subprocess
import threading
from datetime import UTC, datetime

import pytest
from fhirclient import client as smart
from fhirclient.models.diagnosticreport import DiagnosticReport
from fhirclient.models.imagingstudy import ImagingStudy
from fhirclient.models.observation import Observation
from fhirclient.models.patient import Patient
from flask import Flask
from werkzeug.serving import make_server

from clinical.identity import PatientKey
from fhir_adapters.publish import find_or_add_patient, publish
from fhir_adapters.resources.device import IMAGE_MODEL_KINDS
from fhir_adapters.resources.imaging_study import StudyFacts
from fhir_adapters.resources.model_card import AiModel
from fhir_adapters.resources.patient import Demographics
from fhir_adapters.resources.reading import result_ids, results_of
from fhir_adapters.rest import Fhir, blueprint
from tests.fhir_adapters.live import Quiet

pytestmark = pytest.mark.slow
NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


@pytest.fixture
def base_url(sqlite_db, make_reading):
    reading = make_reading(findings=2)
    key = PatientKey("urn:oid:1.2.3", "MRN-1")  # not the canary: the client's own library logs addresses
    with sqlite_db.write() as conn:
        told = Demographics("Zzcanary", "Quillon", "1970-01-01", "female")
        patient_id = find_or_add_patient(conn, key, "p1", NOW, told)
        resources = results_of(
            reading,
            ids=result_ids(reading, reading_id="r1"),
            tracking_uids=["2.25.1", "2.25.2"],
            patient_id=patient_id,
            issued=NOW,
            study=StudyFacts("2026-11-22"),
            evidence=(),
            about=AiModel(reading.model, "Lung nodules", IMAGE_MODEL_KINDS, "# Lung nodules\n"),
            reading_id="r1",
        )
        publish(conn, resources, NOW)
    app = Flask("live")
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    url = f"http://127.0.0.1:{server.server_port}/fhir"
    app.register_blueprint(blueprint(Fhir(sqlite_db, lambda: NOW, lambda: "new-1", b"k" * 32, url)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield url
    server.shutdown()
    thread.join()
    server.server_close()


def all_of(search, server):
    return list(search.perform_resources_iter(server))


def test_fhirclient_reads_patient_observations_report_and_study(base_url):
    server = smart.FHIRClient(settings={"app_id": "test", "api_base": base_url}).server
    (patient,) = all_of(Patient.where({"identifier": "urn:oid:1.2.3|MRN-1"}), server)
    assert Patient.read(patient.id, server).name[0].family == "Zzcanary"
    found = Observation.where({"patient": patient.id, "code": "http://snomed.info/sct|427359005", "_count": "1"})
    observations = all_of(found, server)
    assert len(observations) == 2
    sizes = [each.component[0].valueQuantity for each in observations]
    assert [(size.value, size.code) for size in sizes] == [(12.3, "mm"), (12.3, "mm")]
    (report,) = all_of(DiagnosticReport.where({"patient": patient.id}), server)
    assert report.conclusion.startswith("AI result, not reviewed by a human.")
    assert {each.reference for each in report.result} == {f"Observation/{each.id}" for each in observations}
    (study,) = all_of(ImagingStudy.where({"identifier": "urn:dicom:uid|urn:oid:1.2.3"}), server)
    assert study.series[0].modality.code == "DX"


def test_fhirclient_creates_an_observation(base_url):
    server = smart.FHIRClient(settings={"app_id": "test", "api_base": base_url}).server
    made = Observation({"status": "final", "code": {"text": "x"}, "subject": {"reference": "Patient/p1"}})
    made.create(server)
    assert Observation.read("new-1", server).code.text == "x"


def test_curl_reads_searches_and_posts(base_url):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")

    def curl(*arguments):
        done = subprocess.run(["curl", "-sS", *arguments], capture_output=True, check=True, timeout=30)
        return json.loads(done.stdout)

    assert curl(f"{base_url}/metadata")["fhirVersion"] == "4.0.1"
    assert curl(f"{base_url}/Patient/p1")["gender"] == "female"
    assert len(curl(f"{base_url}/Observation?patient=p1&_sort=-date")["entry"]) == 2
    assert curl(f"{base_url}/Observation/_search", "-d", "patient=p1&_summary=count")["total"] == 2
    assert (
        curl("-H", "Accept: application/fhir+xml", f"{base_url}/Patient/p1")["issue"][0]["code"] == "not-supported"
    )
    body = '{"resourceType":"Observation","status":"done","code":{"text":"x"}}'
    posted = curl("-H", "Content-Type: application/fhir+json", "-d", body, f"{base_url}/Observation")
    assert posted["issue"][0]["expression"] == ["Observation.status"]
    assert len(curl(f"{base_url}/DiagnosticReport?patient=p1&status=preliminary")["entry"]) == 1
    assert len(curl(f"{base_url}/ImagingStudy?subject=Patient/p1")["entry"]) == 1
