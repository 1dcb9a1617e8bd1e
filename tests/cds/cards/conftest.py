"""A patient about whom each of the four services has something to say, with gaps, and what they say."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from cds.deadline import deadline_in
from cds.guidance import guidance_of
from cds.links import LinkSigner
from cds.prefetch import gather
from cds.request import parse_request
from cds.service import HookCall
from cds.services import breast_lesion, diabetes_risk, heart_rate, imaging_findings
from cds.testing import counting_uuids, hook_body
from clinical.breast_codes import BREAST_LESION_TERMS
from clinical.codes import LONG_AXIS, LUNG, MALIGNANT_NEOPLASM_OF_BREAST, NODULE_OF_LUNG, SHORT_AXIS
from clinical.conformal import Answer
from clinical.finding import Finding, FindingTerms, ImageRef, Measurement, Reading
from clinical.identity import PatientKey
from clinical.image import PixelSpacing, SpacingOrigin
from clinical.lesion import Basis, LesionAssessment, Side, image_tokens
from model_runtime.testing import (
    CannedEngine,
    forecast_document,
    lesion_document,
    manifest_of,
    risk_document,
    segmentation_document,
)
from record_store.instances import ReceivedInstance, close_study, record_instance
from record_store.readings import FAILED, JobRow, add_job, put_reading
from record_store.testing import empty_all_tables

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
READ_AT = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
CANARY = PatientKey("urn:oid:1.2.3", "ZZCANARY-4711")
MEASURED = PixelSpacing(0.1, 0.1, SpacingOrigin.ULTRASOUND_REGION)
NODULE = FindingTerms(NODULE_OF_LUNG, NODULE_OF_LUNG, NODULE_OF_LUNG, LUNG, "lung nodule")
SERVICES = {
    one.id: one
    for one in (diabetes_risk.SERVICE, imaging_findings.SERVICE, breast_lesion.SERVICE, heart_rate.SERVICE)
}
FIGURES = {"brier": 0.0649, "ece": 0.0062, "rows": 5631}


def risk_answer(inputs):
    return {"probability": np.full((len(inputs["features"]), 1), 0.93)}


def lesion_answer(inputs):
    """A quarter, more for each part of the record that is known, and more for an image."""
    known = inputs["record_known"].sum(axis=1, keepdims=True) * 0.1 + inputs["image_known"][:, :1] * 0.2
    return {"probability": 0.25 + known}


def forecast_answer(inputs):
    """Rising above the personal range; half as far without any one part of the history."""
    rows = len(inputs["recent"])
    change = np.repeat([[[-0.05, 0.0, 0.04], [-0.1, 0.05, 0.1], [0.0, 0.1, 0.2]]], rows, axis=0)
    change[1:] *= 0.5
    return {"change": change, "trend": np.repeat([[[0.2, 0.6, 0.2]] * 2 + [[0.1, 0.3, 0.6]]], rows, axis=0)}


def engine(**texts):
    """The four models with simple answers. texts: keys of every manifest."""
    measured = {"model": FIGURES, "record_image": FIGURES, "unseen": {"coverage_p10_p90_60": 0.7822}}
    figures = {"metrics": {"cross_validation": measured}}
    documents = {
        "diabetes-risk": risk_document(**figures | texts),
        "lung-nodule": segmentation_document(**figures | texts),
        "breast-lesion": lesion_document(**figures | texts),
        "heart-rate-trend": forecast_document() | figures | texts,
    }
    answers = {"diabetes-risk": risk_answer, "breast-lesion": lesion_answer, "heart-rate-trend": forecast_answer}
    return CannedEngine(answers, {name: manifest_of(document) for name, document in documents.items()})


def observation(system, code, ident, at="2026-03-04", **value):
    return {
        "resourceType": "Observation",
        "id": ident,
        "status": "final",
        "code": {"coding": [{"system": system, "code": code}]},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": at,
        **value,
    }


def quantity(value, unit):
    return {"valueQuantity": {"value": value, "system": "http://unitsofmeasure.org", "code": unit}}


def chart(service, make_bundle, shown="5"):
    """The prefetch of a patient about whom every service has something to say, with gaps."""
    problem = {"severity": "error", "code": "timeout"}
    loinc, lexicon = "http://loinc.org", "urn:consilium:breast-lexicon"
    patient = {
        "resourceType": "Patient",
        "id": "p1",
        "identifier": [{"system": CANARY.system, "value": CANARY.value}],
        "gender": "male",
        "birthDate": "1969-05-01",
    }
    birads = {"valueCodeableConcept": {"coding": [{"system": lexicon, "code": f"birads-{shown}"}]}}
    oval = {"valueCodeableConcept": {"coding": [{"system": lexicon, "code": "shape-oval"}]}}
    times = [(ago, (NOW - timedelta(minutes=ago)).isoformat()) for ago in range(13 * 60)]
    rates = [
        observation(loinc, "8867-4", f"h{ago}", at, **quantity(80 if ago < 5 else 60 + ago % 25, "/min"))
        for ago, at in times
    ]
    sent = {
        "diabetes-risk": {
            "bmi": make_bundle(observation(loinc, "39156-5", "b1", **quantity(31.24, "kg/m2"))),
            "glucose": make_bundle(observation(loinc, "14771-0", "g1", **quantity(7.1, "mmol/L"))),
            "waist": make_bundle(),
            "blood-pressure": {"resourceType": "OperationOutcome", "issue": [problem]},
            "insulin": None,
            "health-and-habits": None,
        },
        "breast-lesion": {
            "descriptors": make_bundle(
                observation(lexicon, "birads", "o1", "2026-11-01", **birads),
                observation(lexicon, "shape", "o2", "2026-11-01", **oval),
            )
        },
        "imaging-findings": {},
        "heart-rate": {"heart-rate": make_bundle(*rates), "steps": make_bundle()},
    }
    return {"patient": patient, **sent[service]}


def finding(number, probability, long_axis, short_axis):
    square = ((0.0, 0.0), (0.0, 1.0), (1.0, 1.0))
    axes = (Measurement(LONG_AXIS, long_axis, "mm"), Measurement(SHORT_AXIS, short_axis, "mm"))
    return Finding(number, probability, (10.0, 10.0), (0, 0, 20, 20), square, *axes)


def store_images(db, models, terms=NODULE, reason="the image stopped its decoder"):
    """A radiograph with two nodules, an ultrasound with a lesion, and a study that could not be read."""
    empty_all_tables(db)
    radiograph = ImageRef("1.2.3", "1.2.3.1", "1.2.3.1.1", "1.2.840.10008.5.1.4.1.1.1.1", "DX", 64, 64, MEASURED)
    ultrasound = ImageRef("1.2.4", "1.2.4.1", "1.2.4.1.1", "1.2.840.10008.5.1.4.1.1.6.1", "US", 64, 64, MEASURED)
    found = (finding(1, 0.912, 9.0, 7.4), finding(2, 0.6, 12.3, 8.0))
    outlined = (finding(1, 0.9, 12.3, 8.1),)
    width = len(models.manifest("breast-lesion").part.tokens)
    lesion = LesionAssessment(
        1, MALIGNANT_NEOPLASM_OF_BREAST, Basis.IMAGE, 0.612, 0.604, Answer.UNSURE, (), (),
        image_tokens(np.zeros(width)), side=Side.LEFT,
    )  # fmt: skip
    readings = (
        Reading(radiograph, models.manifest("lung-nodule").ref, terms, 0.5, found, degraded=True),
        Reading(ultrasound, models.manifest("breast-lesion").ref, BREAST_LESION_TERMS, 0.5, outlined, (lesion,)),
    )
    received = ReceivedInstance(
        "9.1", "1.2", "1.2.840.10008.1.2.1", "9", "1.9", "DX", CANARY, "0" * 64, 9, "PACS", "CONSILIUM"
    )
    with db.write() as conn:
        for number, reading in enumerate(readings, start=1):
            put_reading(
                conn, reading, reading_id=f"reading-{number}", job_key=f"job-{number}", patient=CANARY,
                mask_sha256="0" * 64, now=READ_AT,
            )  # fmt: skip
        record_instance(conn, received, READ_AT)
        close_study(conn, "9", READ_AT + timedelta(seconds=1))
        add_job(conn, JobRow("job-9", "9", 1, "0" * 64, "lung-nodule", "0.1.0", READ_AT, FAILED, reason))


@pytest.fixture
def ask(make_context, shared_db, make_bundle):
    """ask(service, engine=..., label=..., reason=..., change=...) -> its Guidance, about the patient.

    label: what a finding is called. reason: why a study was not read. change: is given the prefetch to change it.
    """
    signer = LinkSigner(
        b"k" * 32,
        "https://cds.example",
        lambda: NOW,
        viewer="https://viewer.example/launch",
        model_cards="https://cards.example",
        icon="https://cds.example/static/icon.png",
    )

    def answer(service, models=None, label="lung nodule", reason="the image stopped its decoder", change=None):
        models = models or engine()
        store_images(shared_db, models, replace(NODULE, label=label), reason)
        prefetch = chart(service, make_bundle)
        if change:
            change(prefetch)
        request = parse_request(hook_body(prefetch=prefetch))
        deadline = deadline_in(60)
        known = gather(request, SERVICES[service].prefetch, None, deadline, now=lambda: NOW)
        context = make_context(engine=models, links=signer, new_uuid=counting_uuids())
        said = guidance_of(SERVICES[service].answer(HookCall(request, known, deadline), context))
        said.demand_of("p1", None, ())
        return said

    return answer


@pytest.fixture
def engine_with():
    """engine_with(notice=...) -> the four models with these keys in every manifest."""
    return engine


@pytest.fixture
def prefetch_of(make_bundle):
    """prefetch_of(service) -> what a client sends along."""
    return lambda service: chart(service, make_bundle)
