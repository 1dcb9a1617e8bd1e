"""A breast ultrasound to its results and on to the card: one lesion, one number, whatever tells it."""

import io
from datetime import UTC, datetime

import numpy as np
import pytest
from flask import Flask
from pydicom import dcmread

from cds.http import blueprint
from cds.links import LinkSigner
from cds.service import CdsContext
from cds.services import SERVICES
from cds.testing import counting_uuids, hook_body
from clinical.conformal import Answer
from clinical.identity import PatientKey
from clinical.lesion import Basis, Side
from consilium.pages import views as pages
from consilium.pages.views import PagesContext
from dicom_node.anatomy import BodyPartRule
from dicom_node.testing import CANARY_ID, ultrasound_region, us_dataset
from fhir_adapters.publish import publish
from model_export.testing import write_tiny_lesion
from model_runtime.engine import LocalEngine
from model_runtime.library import Library
from record_store.readings import DONE, readings_of_patient, result_objects
from tests.fhir_adapters.ai_transparency import faults_of

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)

BOX, SIDE = (16, 16, 80, 80), 20  # a picture of 64 x 64 pixels on the screen; a lesion of 20 x 20 in its middle


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return LocalEngine(Library(write_tiny_lesion(tmp_path_factory.mktemp("models"), size=64, crop=32).parent))


def screen(*boxes):
    """Return a dark screen with a lesion in each picture: bright, as the tiny model wants it."""
    pixels = np.full((96, 192), 20, np.uint8)
    pixels[2:8, 4:60] = 255  # burned-in text, brighter than any lesion
    for row0, column0, _, _ in boxes:
        pixels[row0 + 22 : row0 + 22 + SIDE, column0 + 22 : column0 + 22 + SIDE] = 230
    return pixels


def picture(seed, *, boxes=(BOX,), colour=False, spacing_mm=0.25, **attributes):
    pixels = screen(*boxes)
    regions = [ultrasound_region(box, spacing_mm) for box in boxes]
    if colour:
        pixels = np.stack([pixels] * 3, axis=2)
    return us_dataset(pixels, regions=regions, seed=seed, **attributes)


@pytest.fixture
def study(make_study, engine):
    return make_study("breast-lesion", engine, picture)


def record(db, value="5"):
    who = {"resourceType": "Patient", "id": "known", "identifier": [{"system": "urn:h", "value": CANARY_ID}]}
    lexicon = "urn:consilium:breast-lexicon"
    category = {
        "resourceType": "Observation",
        "id": "category",
        "status": "final",
        "code": {"coding": [{"system": lexicon, "code": "birads"}]},
        "subject": {"reference": "Patient/known"},
        "effectiveDateTime": "2026-11-01",
        "valueCodeableConcept": {"coding": [{"system": lexicon, "code": f"birads-{value}"}]},
    }
    with db.write() as conn:
        publish(conn, [who, category], NOW)


def stored(study):
    with study.db.read() as conn:
        return [one.reading for one in readings_of_patient(conn, [PatientKey("urn:h", CANARY_ID)], 9)]


def reported(study, key, code):
    """Return the values of a concept in the structured report."""
    with study.db.read() as conn:
        (report,) = [one for one in result_objects(conn, key) if one.kind == "SR"]
    content = dcmread(io.BytesIO(study.blobs.get(report.sha256)))

    def within(node):
        for item in node.get("ContentSequence", []):
            if item.get("ConceptNameCodeSequence", [item])[0].get("CodeValue") == code:
                yield float(item.MeasuredValueSequence[0].NumericValue)
            yield from within(item)

    return list(within(content))


def test_an_image_without_a_record_is_judged_alone(study):
    study.arrives("one", colour=True)
    key = study.is_read()
    (reading,) = stored(study)
    (finding,), (lesion,) = reading.findings, reading.lesions
    assert finding.box_px == (38, 38, 58, 58)
    assert (finding.long_axis.unit, finding.has_length) == ("mm", True)
    assert finding.long_axis.value == pytest.approx(SIDE * np.sqrt(2) * 0.25, abs=0.3)  # a square's diagonal
    assert (lesion.basis, lesion.inputs, lesion.finding, lesion.side) == (Basis.IMAGE, (), 1, Side.LEFT)
    # Of the square of 30 pixels (1.5 x 20) the lesion's 20 x 20 are 1 and the rest is 0.
    token = lesion.tokens.array[0]
    assert token == pytest.approx((20 / 30) ** 2, abs=0.02)
    assert lesion.probability == pytest.approx(1 / (1 + np.exp(2 - 4 * token)), abs=5e-4)
    # The square lies around the lesion's middle; covering the bright lesion lowers what the tiny model says.
    assert lesion.occlusion.box == (33, 33, 63, 63)
    assert lesion.occlusion.changes[4][4] > 0.02 > lesion.occlusion.changes[0][0]
    assert study.job(key).state == DONE


def test_the_record_of_this_patient_is_joined_and_named_as_the_basis(study):
    record(study.db)
    study.arrives("one")
    key = study.is_read()
    (lesion,) = stored(study)[0].lesions
    assert (lesion.basis, lesion.answer) == (Basis.BOTH, Answer.POSITIVE)
    assert [(used.name, used.shown, used.source) for used in lesion.inputs] == [
        ("birads", "5", "Observation/category/_history/1")
    ]
    (risk,), (observation,) = (
        study.resources("RiskAssessment"),
        [one for one in study.resources("Observation") if one["id"] != "category"],
    )
    said = risk["prediction"][0]
    assert said["probabilityDecimal"] == pytest.approx(lesion.probability * 100)
    assert (said["qualitativeRisk"]["text"], said["qualitativeRisk"]["coding"][0]["code"]) == ("malignant", "high")
    assert observation["valueCodeableConcept"]["coding"][0]["code"] == "21594007"
    assert said["outcome"]["coding"][0]["code"] == "372137005"
    assert {one["reference"].split("/")[0] for one in risk["basis"]} == {"Observation", "ImagingStudy"}
    assert {"reference": "Observation/category/_history/1"} in risk["basis"]
    parts = {
        part["code"]["coding"][0]["code"]: part["valueQuantity"]["value"] for part in observation["component"]
    }
    assert parts["111047"] == said["probabilityDecimal"] == reported(study, key, "111047")[0]
    assert {one["meta"]["security"][0]["code"] for one in (risk, observation)} == {"AIAST"}
    assert study.resources("Condition") == []
    (provenance,) = study.resources("Provenance")
    assert {"reference": f"RiskAssessment/{risk['id']}/_history/1"} in provenance["target"]
    assert {"what": {"reference": "Observation/category/_history/1"}, "role": "source"} in provenance["entity"]
    study_read = [one["what"].get("reference", "").split("/")[0] for one in provenance["entity"]]
    assert study_read.count("ImagingStudy") == study_read.count("DocumentReference") == 1
    kinds = ("DocumentReference", "Device", "ImagingStudy", "Observation", "DiagnosticReport", "RiskAssessment")
    made = [one for kind in kinds for one in study.resources(kind) if one["id"] != "category"]
    assert faults_of([*made, provenance]) == []


def test_a_split_screen_has_a_lesion_in_each_picture(study):
    study.arrives("two", boxes=(BOX, (16, 100, 80, 164)))
    study.is_read()
    (reading,) = stored(study)
    assert sorted(finding.box_px for finding in reading.findings) == [(38, 38, 58, 58), (38, 122, 58, 142)]
    assert [lesion.finding for lesion in reading.lesions] == [1, 2]
    assert len(study.resources("RiskAssessment")) == 2


def test_a_lesion_in_two_regions_that_overlap_is_one_lesion(study):
    study.arrives(
        "one", SequenceOfUltrasoundRegions=[ultrasound_region(box, 0.25) for box in (BOX, (16, 16, 80, 96))]
    )
    study.is_read()
    assert len(stored(study)[0].findings) == len(stored(study)[0].lesions) == 1


def test_without_a_calibrated_region_sizes_are_pixels_and_say_so(study):
    study.arrives("one", spacing_mm=None)
    study.is_read()
    (finding,) = stored(study)[0].findings
    assert finding.long_axis.unit == "{pixel}"
    assert "in pixels" in study.resources("DiagnosticReport")[0]["conclusion"]


def test_what_the_model_does_not_read_is_left_out_and_the_rest_is_read(study):
    study.arrives("one")
    study.arrives("cine", SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1", NumberOfFrames=9)
    study.arrives("flow", colour=True, UltrasoundColorDataPresent=1)
    study.arrives("axilla", BodyPartExamined="AXILLA")
    key = study.closes()
    chosen = study.steps.read(key, {})
    assert len(chosen["images"]) == 2
    made = study.steps.infer(key, chosen)
    assert len(made["readings"]) == 1
    assert [reason.split()[:3] for reason in made["left_out"]] == [
        ["it", "is", "a"], ["it", "shows", "another"], ["it", "shows", "colour"]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"BodyPartExamined": "ABDOMEN"}, "no image was meant for this model: it shows another part of the body"),
        ({"BodyPartExamined": None}, "no image was meant for this model: it does not say which part"),
        ({"UltrasoundColorDataPresent": 1}, "no image was read: it shows colour"),
    ],
)
def test_a_study_of_which_nothing_was_read_says_why(study, attributes, reason):
    study.arrives("one", **attributes)
    key = study.is_read()
    assert study.job(key).reason.startswith(reason)
    assert study.counts()["reports"] == 0


def test_a_site_that_knows_its_sender_has_its_silent_images_read(make_study, engine):
    rules = (BodyPartRule("BREAST", calling_ae="A"),)
    study = make_study("breast-lesion", engine, picture, body_parts=rules)
    study.arrives("one", BodyPartExamined=None)
    study.is_read()
    assert study.counts()["reading"] == 1


def test_a_job_that_is_carried_out_again_writes_the_same_identities(study):
    record(study.db)
    study.arrives("one")
    key = study.is_read()
    before = study.counts(), len(study.resources("RiskAssessment"))
    study.run(key)
    assert (study.counts(), len(study.resources("RiskAssessment"))) == before


@pytest.fixture
def browser(study, engine, decoder):
    """A client of the hooks and pages over the study's store."""
    links = LinkSigner(b"k" * 32, "https://cds.example", lambda: NOW)
    app = Flask("web-test")
    app.register_blueprint(blueprint(SERVICES, CdsContext(engine, study.db, lambda: NOW, links, counting_uuids())))
    context = PagesContext(study.db, study.blobs, lambda: decoder, links, lambda: None, list, {}, lambda: None)
    app.register_blueprint(pages.blueprint(context))
    return app.test_client()


def test_what_the_worker_stored_is_what_the_hook_joins_and_what_the_page_shows(study, browser):
    study.arrives("one")
    study.is_read()
    (lesion,) = stored(study)[0].lesions
    who = {"resourceType": "Patient", "id": "p1", "identifier": [{"system": "urn:h", "value": CANARY_ID}]}
    body = hook_body(prefetch={"patient": who, "descriptors": None})
    (card,) = browser.post("/cds-services/breast-lesion", json=body).json["cards"]
    words = f"probability of malignancy {lesion.probability * 100:.1f} % (image only"
    assert words in card["summary"]
    (link,) = card["links"]
    address = link["url"].removeprefix("https://cds.example")
    page = browser.get(address).text
    assert words in page
    assert page.count("<polygon") == 1
    assert page.count("<rect") == 64
    picture = browser.get(address.replace("?", "/image.png?"))
    assert picture.data.startswith(b"\x89PNG")
