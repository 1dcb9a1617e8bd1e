"""Every resource we emit is R4, carries the AI labels, and says the same numbers as its finding."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical.codes import (
    DIABETES_MELLITUS_TYPE_2,
    LONG_AXIS,
    LUNG,
    MALIGNANT_NEOPLASM_OF_BREAST,
    NODULE_OF_LUNG,
    SHORT_AXIS,
    Coding,
)
from clinical.conformal import Answer
from clinical.errors import Fault
from clinical.finding import Finding, FindingTerms, ImageRef, Measurement, ModelRef, Reading
from clinical.identity import PatientKey
from clinical.image import PixelSpacing, SpacingOrigin
from clinical.inputs import InputUsed
from clinical.lesion import Basis, LesionAssessment, image_tokens
from clinical.risk import RiskScore
from fhir_adapters.resources.device import IMAGE_MODEL_KINDS
from fhir_adapters.resources.imaging_study import Instance, StudyFacts, date_time, merged
from fhir_adapters.resources.model_card import AiModel
from fhir_adapters.resources.patient import Demographics, patient
from fhir_adapters.resources.proposals import recorded_finding
from fhir_adapters.resources.reading import provenance_of, result_ids, results_of
from fhir_adapters.resources.risk_assessment import risk_assessment
from fhir_adapters.search.ai_values import ai_confidences_of, ai_models_of
from tests.fhir_adapters.ai_transparency import faults_of
from tests.fhir_adapters.r4 import check_r4

ISSUED = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
SEG = Instance("1.2.3.8.1", "1.2.840.10008.5.1.4.1.1.66.4", "1.2.3.8", "SEG")
SR = Instance("1.2.3.9.1", "1.2.840.10008.5.1.4.1.1.88.33", "1.2.3.9", "SR")
CARD = "# Lung nodules\n\nWhat it is for: ä.\n"
AI_LABEL = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "AIAST"}


def resources_of(reading, study=None, evidence=(SEG, SR), **more):
    ids = result_ids(reading, reading_id="r1")
    about = AiModel(reading.model, "Lung nodules", IMAGE_MODEL_KINDS, CARD)
    results = results_of(
        reading,
        ids=ids,
        tracking_uids=[f"2.25.{each.number}" for each in reading.findings],
        patient_id="p1",
        issued=ISSUED,
        study=study or StudyFacts(started="2026-11-22", description="Chest"),
        evidence=evidence,
        about=about,
        reading_id="r1",
        **more,
    )
    versions = {(each["resourceType"], each["id"]): 1 for each in results}
    made = provenance_of(reading, ids=ids, versions=versions, issued=ISSUED, about=about, image_sha256="ef" * 32)
    return [*results, made]


def only(resources, resource_type):
    (found,) = [each for each in resources if each["resourceType"] == resource_type]
    return found


# ---------------------------------------------------------------- any reading

names = st.text(st.characters(categories=("L", "Nd"), max_codepoint=0x2FF), min_size=1, max_size=12)
uids = st.lists(st.integers(0, 10**6), min_size=1, max_size=6).map(
    lambda parts: ".".join(["2.25", *map(str, parts)])
)
codings = st.builds(Coding, st.sampled_from(["http://snomed.info/sct", "http://loinc.org"]), names, names)
spacings = st.none() | st.builds(
    PixelSpacing, st.floats(0.05, 2), st.floats(0.05, 2), st.sampled_from(list(SpacingOrigin))
)


@st.composite
def readings(draw):
    spacing = draw(spacings)
    unit = "mm" if spacing else "{pixel}"
    lengths = st.floats(0.1, 500).map(lambda value: round(value, 1))
    findings = tuple(
        Finding(
            number,
            draw(st.integers(0, 1000)) / 1000,
            (draw(st.floats(0, 500)), draw(st.floats(0, 500))),
            (0, 0, 10, 10),
            ((0.0, 0.0), (5.0, 5.0), (0.0, 5.0)),
            Measurement(LONG_AXIS, draw(lengths), unit),
            Measurement(SHORT_AXIS, draw(lengths), unit),
        )
        for number in range(1, draw(st.integers(0, 4)) + 1)
    )
    image = ImageRef(
        draw(uids), draw(uids), draw(uids), draw(uids), draw(st.sampled_from(["CR", "DX"])), 9, 9, spacing
    )
    terms = FindingTerms(draw(codings), draw(codings), draw(codings), draw(codings), draw(names))
    lesions = tuple(draw(assessments(finding.number)) for finding in findings) if draw(st.booleans()) else ()
    return Reading(image, ModelRef(draw(names), draw(names), "cd" * 32), terms, 0.5, findings, lesions)


def assessments(number):
    return st.builds(
        LesionAssessment,
        finding=st.just(number),
        outcome=codings,
        basis=st.sampled_from(Basis),
        probability=st.integers(0, 1000).map(lambda value: value / 1000),
        image_probability=st.just(0.5),
        answer=st.sampled_from(Answer),
        inputs=st.lists(
            st.builds(
                InputUsed,
                name=names,
                label=names,
                value=st.just(1.0),
                shown=names,
                unit=st.just(""),
                taken_at=st.none() | st.just(ISSUED),
                source=st.sampled_from([None, "Patient/p1", "Observation/said"]),
            ),
            max_size=2,
        ).map(tuple),
        missing=st.lists(names, max_size=2).map(tuple),
        tokens=st.just(image_tokens(np.zeros(2))),
    )


@given(readings(), st.sampled_from([StudyFacts(), StudyFacts("2026-11-22T08:00:00+01:00", "x")]))
@settings(max_examples=settings.default.max_examples // 2)
def test_every_resource_of_any_reading_is_valid_r4(reading, study):
    resources = resources_of(reading, study)
    for resource in resources:
        check_r4(resource)
    assert not faults_of(resources)
    assert len(resources) == 5 + len(reading.findings) + len(reading.lesions)
    known = {f"{each['resourceType']}/{each['id']}" for each in resources} | {"Patient/p1", "Observation/said"}
    named = set(re.findall(r'"reference":"([^"]+)"', orjson.dumps(resources).decode()))
    assert {one.partition("/_history/")[0] for one in named} <= known


# ---------------------------------------------------------------- one reading


def test_a_finding_says_the_same_numbers_in_its_observation(make_reading):
    found = only(resources_of(make_reading()), "Observation")
    sizes = {each["code"]["coding"][0]["display"]: each["valueQuantity"] for each in found["component"]}
    mm = {"unit": "mm", "system": "http://unitsofmeasure.org", "code": "mm"}
    assert sizes["Long axis"] == {"value": 12.3, **mm}
    assert sizes["Short axis"] == {"value": 8.1, **mm}
    assert sizes["Certainty of Finding"]["value"] == 87.3
    assert sizes["Certainty of Finding"]["code"] == "%"
    (confidence,) = found["extension"]
    assert confidence["url"] == "http://hl7.org/fhir/uv/aitransparency/StructureDefinition/AIconfidence"
    assert confidence["valueDecimal"] == 0.873


def test_an_observation_is_found_again_by_the_tracking_uid_of_seg_and_sr(make_reading):
    found = only(resources_of(make_reading()), "Observation")
    assert found["identifier"] == [{"system": "urn:dicom:uid", "value": "urn:oid:2.25.1"}]
    assert found["code"]["coding"][0]["code"] == NODULE_OF_LUNG.code
    assert found["bodySite"]["coding"][0]["code"] == LUNG.code
    assert found["status"] == "preliminary"


def test_without_spacing_sizes_are_counted_in_pixels_and_said_so(make_reading):
    resources = resources_of(make_reading(spacing="none"))
    found = only(resources, "Observation")
    long_axis = found["component"][0]["valueQuantity"]
    assert (long_axis["code"], long_axis["unit"]) == ("{pixel}", "pixel")
    assert "does not state its pixel spacing" in found["note"][0]["text"]
    assert "12.3 x 8.1 pixels" in only(resources, "DiagnosticReport")["conclusion"]
    assert "mm" not in only(resources, "DiagnosticReport")["conclusion"]


@pytest.mark.parametrize("spacing", ["detector", "uncalibrated"])
def test_a_size_that_is_not_one_in_the_patient_is_called_magnified(make_reading, spacing):
    resources = resources_of(make_reading(spacing=spacing))
    assert "magnified" in only(resources, "Observation")["note"][0]["text"]
    assert "magnified" in only(resources, "DiagnosticReport")["conclusion"]


def test_a_report_says_in_words_what_was_marked_and_that_nobody_has_looked(make_reading):
    report = only(resources_of(make_reading(findings=2)), "DiagnosticReport")
    assert report["conclusion"] == (
        "AI result, not reviewed by a human. lung-nodule 0.1.0 marked 2 possible lung nodules on one DX image:"
        " (1) 12.3 x 8.1 mm, probability 0.873; (2) 12.3 x 8.1 mm, probability 0.873."
    )
    assert report["status"] == "preliminary"
    assert len(report["result"]) == 2
    assert "resultsInterpreter" not in report


@pytest.fixture
def lesion_resources(make_reading):
    lesion = LesionAssessment(
        1, MALIGNANT_NEOPLASM_OF_BREAST, Basis.BOTH, 0.412, 0.5, Answer.UNSURE,
        (InputUsed("birads", "BI-RADS category", 1.0, "4B", "", ISSUED, "Observation/said"),), ("Age",),
        image_tokens(np.zeros(2)),
    )  # fmt: skip
    return resources_of(replace(make_reading(), lesions=(lesion,)))


def test_a_lesion_s_risk_is_a_percentage_with_its_basis_and_never_a_condition(lesion_resources):
    risk = only(lesion_resources, "RiskAssessment")
    observation = only(lesion_resources, "Observation")
    assert risk["prediction"][0]["probabilityDecimal"] == 41.2
    assert risk["prediction"][0]["qualitativeRisk"] == {
        "coding": [
            {
                "system": "http://terminology.hl7.org/CodeSystem/risk-probability",
                "code": "moderate",
                "display": "Moderate likelihood",
            }
        ],
        "text": "not sure enough, refer",
    }
    assert risk["mitigation"].startswith("Referral to a breast unit")
    assert risk["prediction"][0]["outcome"]["coding"][1]["code"] == "C50.9"
    assert risk["prediction"][0]["rationale"].endswith("BI-RADS category 4B (2026-11-22). Not available: Age.")
    assert {"reference": f"Observation/{observation['id']}"} in risk["basis"]
    assert {"reference": "Observation/said"} in risk["basis"]
    assert AI_LABEL.items() <= risk["meta"]["security"][0].items()
    assert "Condition" not in {each["resourceType"] for each in lesion_resources}


def test_a_lesion_s_risk_stands_with_the_same_digits_in_observation_and_report(lesion_resources):
    observation = only(lesion_resources, "Observation")
    (part,) = [part for part in observation["component"] if part["code"]["coding"][0]["code"] == "111047"]
    assert (part["valueQuantity"]["value"], part["valueQuantity"]["code"]) == (41.2, "%")
    words = "probability of malignancy 41.2 % (record and image; not sure enough, refer)"
    assert words in observation["note"][0]["text"]
    assert words in only(lesion_resources, "DiagnosticReport")["conclusion"]


def test_a_report_without_findings_says_that_the_model_looked(make_reading):
    report = only(resources_of(make_reading(findings=0), evidence=(SR,)), "DiagnosticReport")
    assert report["conclusion"] == (
        "AI result, not reviewed by a human. lung-nodule 0.1.0 looked at one DX image and marked no lung nodule"
        " (no probability of 0.500 or more). This does not exclude a lung nodule."
    )
    assert "result" not in report
    assert "conclusionCode" not in report


def test_what_the_ai_asserted_is_labelled_and_traced_to_its_device(make_reading):
    resources = resources_of(make_reading())
    device = only(resources, "Device")
    for name in ("Observation", "DiagnosticReport", "Provenance"):
        label = only(resources, name)["meta"]["security"][0]
        assert label.items() >= AI_LABEL.items()
    made_by = only(resources, "Provenance")
    assert made_by["agent"][0]["who"]["reference"] == f"Device/{device['id']}"
    assert made_by["agent"][0]["who"]["identifier"]["value"] == "lung-nodule@0.1.0"
    assert made_by["reason"][0]["coding"][0]["code"] == "AIAST"
    assert made_by["agent"][0]["role"][0]["coding"][0]["code"] == "Artificial-Intelligence"
    assert {target["reference"].split("/")[0] for target in made_by["target"]} == {
        "DiagnosticReport",
        "Observation",
    }
    assert device["type"]["coding"][0] == {
        "system": "http://hl7.org/fhir/uv/aitransparency/CodeSystem/AIdeviceTypeCS",
        "code": "Artificial-Intelligence",
        "display": "All kinds of Artificial Intelligence",
    }
    assert [each["value"] for each in device["version"]] == ["0.1.0", "ab" * 32]


@pytest.mark.parametrize("kind", ["Observation", "DiagnosticReport", "RiskAssessment"])
def test_every_result_says_the_same_way_by_which_model_and_how_sure(lesion_resources, kind):
    result = only(lesion_resources, kind)
    assert set(ai_models_of(result)) == {
        ("urn:consilium:model", "lung-nodule@0.1.0"),
        ("urn:consilium:model", "lung-nodule"),
    }
    assert ai_confidences_of(result) == ((0.412,) if kind == "RiskAssessment" else (0.873,))


def test_the_model_of_a_result_that_a_client_recorded_is_found_in_what_it_contains(make_reading):
    reading = make_reading()
    recorded = recorded_finding(
        reading, reading.findings[0], tracking_uid="2.25.1", patient_id="p1", issued=ISSUED
    )
    check_r4(recorded)
    assert ("urn:consilium:model", "lung-nodule@0.1.0") in ai_models_of(recorded)


def test_a_finding_of_a_lesion_says_benign_or_malignant_only_when_the_model_is_sure_enough(
    make_reading, lesion_resources
):
    assert "valueCodeableConcept" not in only(lesion_resources, "Observation")
    sure = LesionAssessment(
        1,
        MALIGNANT_NEOPLASM_OF_BREAST,
        Basis.IMAGE,
        0.95,
        0.95,
        Answer.POSITIVE,
        (),
        (),
        image_tokens(np.zeros(2)),
    )
    found = only(resources_of(replace(make_reading(), lesions=(sure,))), "Observation")
    assert found["valueCodeableConcept"]["coding"][0]["code"] == "21594007"


def test_the_guide_s_checks_can_fail(make_reading):
    resources = resources_of(make_reading())
    for kind, element, broken in (
        ("Observation", "meta", {}),
        ("Observation", "performer", [{"reference": "Practitioner/1"}]),
        ("Device", "extension", []),
        ("DocumentReference", "category", []),
        ("Provenance", "entity", []),
        ("Provenance", "reason", []),
    ):
        changed = [each | {element: broken} if each["resourceType"] == kind else each for each in resources]
        assert faults_of(changed), (kind, element)


def test_an_imaging_study_lists_the_image_and_what_was_made_of_it(make_reading):
    study = only(resources_of(make_reading()), "ImagingStudy")
    assert study["identifier"] == [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}]
    assert [each["modality"]["code"] for each in study["series"]] == ["DX", "SEG", "SR"]
    assert (study["numberOfSeries"], study["numberOfInstances"]) == (3, 3)


def test_a_study_read_twice_keeps_the_series_of_both_readings(make_reading):
    first = only(resources_of(make_reading()), "ImagingStudy")
    other = Instance("1.2.3.8.2", SEG.sop_class_uid, SEG.series_uid, "SEG")
    second = only(resources_of(make_reading(), evidence=(other,)), "ImagingStudy")
    both = merged(first, second)
    assert [each["uid"] for each in both["series"]] == ["1.2.3.4", "1.2.3.8", "1.2.3.9"]
    assert both["numberOfInstances"] == 4
    assert merged(both, second) == both
    check_r4(both)


def test_the_same_reading_gets_the_same_ids_and_another_gets_others(make_reading):
    reading = make_reading(findings=2)
    assert result_ids(reading, reading_id="a") == result_ids(reading, reading_id="a")
    one, two = result_ids(reading, reading_id="a"), result_ids(reading, reading_id="b")
    assert one.device == two.device
    assert not set(one.observations) & set(two.observations)
    assert len({*one.observations, one.report, one.provenance}) == 4


def test_a_reading_with_too_few_tracking_uids_is_our_fault(make_reading):
    reading = make_reading(findings=2)
    with pytest.raises(Fault):
        results_of(
            reading,
            ids=result_ids(reading, reading_id="a"),
            tracking_uids=["2.25.1"],
            patient_id="p1",
            issued=ISSUED,
            study=StudyFacts(),
            evidence=(),
            about=AiModel(reading.model, "Lung nodules", IMAGE_MODEL_KINDS, CARD),
            reading_id="a",
        )


# ---------------------------------------------------------------- the others


@given(st.floats(0, 1), st.booleans())
@settings(max_examples=settings.default.max_examples // 2)
def test_a_risk_is_written_in_percent(probability, with_inputs):
    used = InputUsed("bmi", "BMI", 31.2, "31.2", "kg/m2", ISSUED, "Observation/b1")
    risk = RiskScore(
        DIABETES_MELLITUS_TYPE_2,
        probability,
        ModelRef("diabetes-risk", "0.1.0", "ef" * 32),
        (used, used) if with_inputs else (),
        ("waist",),
    )
    resource = risk_assessment(risk, resource_id="r", patient_id="p1", device_id="d1", occurred=ISSUED)
    check_r4(resource)
    (prediction,) = resource["prediction"]
    assert prediction["probabilityDecimal"] == pytest.approx(probability * 100, abs=0.051)
    assert resource.get("basis") == ([{"reference": "Observation/b1"}] if with_inputs else None)
    assert "Not available: waist" in prediction["rationale"]


def test_a_risk_of_37_percent_is_37_and_not_a_fraction():
    risk = RiskScore(DIABETES_MELLITUS_TYPE_2, 0.37, ModelRef("m", "1", "0" * 64), (), ())
    resource = risk_assessment(risk, resource_id="r", patient_id="p1", device_id="d1", occurred=ISSUED)
    assert resource["prediction"][0]["probabilityDecimal"] == 37.0


@given(
    st.builds(PatientKey, names.map(lambda name: f"urn:x:{name} y"), names),
    st.none() | st.builds(
        Demographics,
        st.none() | names,
        st.none() | names,
        st.none() | st.dates(date(1900, 1, 1), date(2026, 1, 1)).map(str),
        st.none() | st.sampled_from(["male", "female", "other"]),
    ),
)  # fmt: skip
@settings(max_examples=settings.default.max_examples // 2)
def test_a_patient_of_any_issuer_is_valid_r4(key, demographics):
    resource = patient(key, resource_id="p1", demographics=demographics)
    check_r4(resource)
    assert not re.search(r"\s", resource["identifier"][0]["system"])


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (("20261122", "080910.5", "+0100"), "2026-11-22T08:09:10+01:00"),
        (("20261122", "0809", "-0530"), "2026-11-22T08:09:00-05:30"),
        (("20261122", "080910", None), "2026-11-22"),
        (("2026.11.22", None, None), "2026-11-22"),
        (("20261322", None, None), None),
        (("20260230", None, None), None),
        ((None, "080910", "+0100"), None),
        (("", "", ""), None),
    ],
)
def test_a_dicom_time_without_zone_is_only_a_date_in_fhir(written, read):
    assert date_time(*written) == read
