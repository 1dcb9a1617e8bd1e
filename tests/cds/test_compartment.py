"""Whose a resource is: what is not shown to be the patient's is refused, by the element that should say it."""

import pytest

from cds.compartment import stranger
from cds.references import Reference, parse_reference, same_base

BASE = "https://ehr.example/fhir"
# R4 2.19, Patient compartment, read by hand: the element of each type that a search by patient goes through.
OWNERS = {
    "subject": "AdverseEvent CarePlan CareTeam ChargeItem ClinicalImpression Communication Composition Condition "
    "DeviceRequest DeviceUseStatement DiagnosticReport DocumentReference Encounter Flag Goal ImagingStudy Media "
    "MedicationAdministration MedicationDispense MedicationRequest MedicationStatement Observation Procedure "
    "QuestionnaireResponse RiskAssessment ServiceRequest Specimen",
    "patient": "AllergyIntolerance BodyStructure Claim ClaimResponse DetectedIssue EpisodeOfCare "
    "ExplanationOfBenefit FamilyMemberHistory Immunization ImmunizationEvaluation ImmunizationRecommendation "
    "NutritionOrder RelatedPerson VisionPrescription",
    "beneficiary": "Coverage",
    "individual": "ResearchSubject",
}
TYPES = [(kind, element) for element, kinds in OWNERS.items() for kind in kinds.split()]


def told(resource, base=BASE):
    return stranger(resource, "p1", base, "x")


@pytest.mark.parametrize(("kind", "element"), TYPES)
def test_a_clinical_resource_says_whose_it_is(kind, element):
    def of(value):
        return told({"resourceType": kind, element: value})

    path = f"x.{element}"
    assert of({"reference": "Patient/p1"}) is None
    assert of({"reference": "Patient/p2"}) == path
    assert of({"reference": "Group/p1"}) == path
    assert of({"display": "p1"}) == path
    assert of([{"reference": "Patient/p1"}]) == path
    assert told({"resourceType": kind}) == path


@pytest.mark.parametrize("kind", ["Basic", "Device", "List", "Task", "Practitioner", "Medication", "Provenance"])
def test_another_resource_may_be_nobodys_but_not_another_patients(kind):
    assert told({"resourceType": kind}) is None
    for element in ("subject", "patient"):
        assert told({"resourceType": kind, element: {"reference": "Patient/p1"}}) is None
        assert told({"resourceType": kind, element: {"reference": "Device/d"}}) is None
        for other in ("Patient/p2", f"{BASE}/Patient/p2", "urn:uuid:1", "#p1", "Patient?identifier=x"):
            assert told({"resourceType": kind, element: {"reference": other}}) == f"x.{element}"
        several = [{"reference": "Patient/p1"}, {"reference": "Patient/p2"}]
        assert told({"resourceType": kind, element: several}) == f"x.{element}"


@pytest.mark.parametrize(
    ("subject", "path"), [("Patient/p2", "x.subject"), (["Patient/p2"], "x.subject"), (7, None)]
)
def test_what_is_no_reference_is_judged_by_its_text(subject, path):
    assert told({"resourceType": "Basic", "subject": subject}) == path
    assert told({"resourceType": "Observation", "subject": subject}) == "x.subject"


def test_a_patient_is_the_patient_by_its_id():
    assert told({"resourceType": "Patient", "id": "p1"}) is None
    assert told({"resourceType": "Patient", "id": "p2"}) == told({"resourceType": "Patient"}) == "x.id"


def test_a_task_is_for_the_patient_when_it_is_for_anybody():
    assert told({"resourceType": "Task", "for": {"reference": "Patient/p1"}}) is None
    assert told({"resourceType": "Task", "for": {"reference": "Patient/p2"}}) == "x.for"
    assert told({"resourceType": "Basic", "for": {"reference": "Patient/p2"}}) is None


def test_no_other_patient_comes_to_an_appointment():
    def of(*actors):
        return told({"resourceType": "Appointment", "participant": [{"actor": {"reference": a}} for a in actors]})

    assert of("Practitioner/d1", "Patient/p1") is None
    assert of("Patient/p1", "Patient/p2") == "x.participant[1].actor"


@pytest.mark.parametrize(
    ("reference", "base", "ours"),
    [
        ("Patient/p1/_history/2", BASE, True),
        (f"{BASE}/Patient/p1", BASE, True),
        ("https://EHR.example:443/fhir/Patient/p1", f"{BASE}/", True),
        ("https://ehr.example/other/Patient/p1", BASE, False),
        ("http://ehr.example/fhir/Patient/p1", BASE, False),
        ("https://ehr.example/fhir/Patient/p1", None, True),
        ("https://ehr.example/fhir/Patient/p2", None, False),
        ("patient/p1", BASE, False),
        ("Patient/p1 ", BASE, False),
        ("/Patient/p1", BASE, False),
        ("Patient/p1#x", BASE, False),
        ("XPatient/p1", BASE, False),
    ],
)
def test_a_reference_is_to_the_patient_on_the_patients_server(reference, base, ours):
    found = told({"resourceType": "Observation", "subject": {"reference": reference}}, base)
    assert (found is None) is ours


def test_the_first_stranger_of_a_bundle_is_named():
    own = {"resource": {"resourceType": "Observation", "subject": {"reference": "Patient/p1"}}}
    other = {"resource": {"resourceType": "Patient", "id": "p2"}}
    assert told({"resourceType": "Bundle", "entry": [own, {"search": {}}, other]}) == "x.entry[2].resource.id"
    assert told({"resourceType": "Bundle", "entry": [own]}) is told({"resourceType": "Bundle"}) is None


def test_a_reference_is_taken_apart():
    assert parse_reference("Condition/c-1.x/_history/4") == Reference(None, "Condition", "c-1.x")
    assert parse_reference(f"{BASE}/Condition/c1") == Reference(BASE, "Condition", "c1")
    for text in (
        None,
        7,
        "",
        "c1",
        "Condition/",
        "Condition/..",
        "Condition/.",
        "Condition/c1?x",
        "urn:uuid:1",
        "#c",
    ):
        assert parse_reference(text) is None
    assert not Reference(BASE, "X", "1").at(None)
    assert Reference(None, "X", "1").at(None)
    assert not same_base("https://user@ehr.example/fhir", "https://user@ehr.example/fhir")
