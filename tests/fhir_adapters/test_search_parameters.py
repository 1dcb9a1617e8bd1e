"""Which parameters there are: all of R4's but a few that are named here, and those that US Core 7 asks for."""

import pytest

from fhir_adapters.definitions.expressions import NotCompiled, places_of
from fhir_adapters.definitions.search_tables import left_out
from fhir_adapters.definitions.structure import resource_types
from fhir_adapters.search.parameters import COMPARTMENT, TYPES, Kind

FHIR = "http://hl7.org/fhir/"
OBSERVATION = TYPES["Observation"].parameters

# US Core 7.0.0, CapabilityStatement us-core-server: what a search of each type SHALL or SHOULD take.
US_CORE = {
    "AllergyIntolerance": "clinical-status patient",
    "CarePlan": "category date patient status",
    "CareTeam": "patient role status",
    "Condition": "abatement-date asserted-date category clinical-status code encounter onset-date patient"
    " recorded-date",
    "Coverage": "patient",
    "Device": "patient status type",
    "DiagnosticReport": "category code date patient status",
    "DocumentReference": "category date patient period status type",
    "Encounter": "class date discharge-disposition identifier location patient status type",
    "Goal": "description lifecycle-status patient target-date",
    "Immunization": "date patient status",
    "Location": "address address-city address-postalcode address-state name",
    "MedicationDispense": "patient status type",
    "MedicationRequest": "authoredon encounter intent patient status",
    "Observation": "category code date patient status",
    "Organization": "address name",
    "Patient": "birthdate death-date family gender given identifier name",
    "Practitioner": "identifier name",
    "PractitionerRole": "practitioner specialty",
    "Procedure": "code date patient status",
    "Provenance": "patient target",
    "QuestionnaireResponse": "authored patient questionnaire status",
    "RelatedPerson": "name patient",
    "ServiceRequest": "authored category code patient status",
    "Specimen": "patient",
}
SERVER_S = "it has no expression: what it compares is the server's to say"
SOUND = "its comparison (phonetic) is the server's to say"
LEFT_OUT = {
    "Resource._content": SERVER_S,
    "Resource._query": SERVER_S,
    "DomainResource._text": SERVER_S,
    "InsurancePlan.phonetic": SOUND,
    "Organization.phonetic": SOUND,
    "Patient.phonetic": SOUND,
    "Person.phonetic": SOUND,
    "Practitioner.phonetic": SOUND,
    "RelatedPerson.phonetic": SOUND,
    "Location.near": "its comparison (nearby) is the server's to say",
    # Resources within a Bundle, which is not kept.
    "Bundle.composition": "nothing that it names can be compared by its kind",
    "Bundle.message": "nothing that it names can be compared by its kind",
    "MolecularSequence.chromosome-variant-coordinate": "it joins what stands in different elements",
    "MolecularSequence.referenceseqid-variant-coordinate": "it joins what stands in different elements",
}


def test_what_is_not_compiled_is_this_and_nothing_else():
    assert left_out() == LEFT_OUT


@pytest.mark.parametrize("resource_type", US_CORE)
def test_every_parameter_that_us_core_asks_for_is_there(resource_type):
    assert set(US_CORE[resource_type].split()) <= set(TYPES[resource_type].parameters)


def test_every_type_is_one_of_r4_and_every_parameter_has_what_it_needs():
    assert set(TYPES) <= resource_types()
    for resource_type in TYPES:
        own = TYPES[resource_type].parameters
        for each in own.values():
            assert bool(each.places) != (each.kind is Kind.COMPOSITE) or each.name.startswith("ai-"), each.name
            assert bool(each.components) == bool(each.on) == (each.kind is Kind.COMPOSITE)
            assert set(each.components) <= set(own)
            assert {own[name].rows for name in each.rows} == {(name,) for name in each.rows}
        assert {*TYPES[resource_type].hot_patient, "_tag"} <= set(own)
    with pytest.raises(KeyError):
        TYPES["Nonsense"]


def test_the_compartment_of_a_patient_is_r4_s_own():
    assert COMPARTMENT["Observation"] == ("subject", "performer")
    assert COMPARTMENT["AllergyIntolerance"] == ("patient", "recorder", "asserter")
    assert "Organization" not in COMPARTMENT
    for resource_type, names in COMPARTMENT.items():
        parameters = TYPES[resource_type].parameters
        assert all(parameters[name].kind is Kind.REFERENCE for name in names), resource_type


@pytest.mark.parametrize(
    ("name", "rows", "only"),
    [
        ("combo-code", "code|component-code", ()),
        ("combo-value-quantity", "component-value-quantity|value-quantity", ()),
        ("patient", "subject", ("Patient",)),
        ("subject", "subject", ()),
        ("code", "code", ()),
    ],
)
def test_what_two_parameters_say_is_written_once(name, rows, only):
    assert (OBSERVATION[name].index_name, OBSERVATION[name].only) == (rows, only)


def test_a_patient_is_hot_only_where_there_can_be_but_one():
    assert TYPES["Observation"].hot_patient == ("patient", "subject")
    assert TYPES["Immunization"].hot_patient == ("patient",)
    for several in ("Account", "Appointment", "AuditEvent", "Provenance"):
        assert TYPES[several].hot_patient == ()


@pytest.mark.parametrize(
    ("expression", "resource_type", "kind", "found"),
    [
        ("Observation.subject", "Observation", "reference", [("subject", "Reference", "")]),
        ("Observation.value as Quantity", "Observation", "quantity", NotCompiled),
        ("(Observation.value as Quantity)", "Observation", "quantity", [("valueQuantity", "Quantity", "")]),
        ("Condition.onset.as(Age)", "Condition", "quantity", [("onsetAge", "Age", "")]),
        ("Goal.target.due as date", "Patient", "date", NotCompiled),
        ("(Goal.target.due as date)", "Goal", "date", [("target.dueDate", "date", "")]),
        (
            "Observation.subject.where(resolve() is Patient)",
            "Observation",
            "reference",
            [("subject", "Reference", "Patient")],
        ),
        (
            "Patient.telecom.where(system='phone')",
            "Patient",
            "token",
            [("telecom[system=phone]", "ContactPoint", "")],
        ),
        ("Bundle.entry[0].fullUrl", "Bundle", "uri", [("entry[0].fullUrl", "uri", "")]),
        ("Observation.code | Patient.gender", "Patient", "token", [("gender", "code", "")]),
        ("RiskAssessment.prediction.probability", "RiskAssessment", "number", [
            ("prediction.probabilityDecimal", "decimal", ""), ("prediction.probabilityRange", "Range", "")]),
        ("Patient.name.matches('a')", "Patient", "string", NotCompiled),
        ("Patient.nothing", "Patient", "string", NotCompiled),
    ],
)  # fmt: skip
def test_an_expression_becomes_the_places_that_it_means(expression, resource_type, kind, found):
    if found is NotCompiled:
        with pytest.raises(NotCompiled):
            places_of(expression, resource_type, kind)
        return
    places = places_of(expression, resource_type, kind)
    assert [(one.path, one.type, one.target) for one in places] == found


def test_a_bare_code_is_of_the_system_that_its_binding_requires():
    assert OBSERVATION["status"].places[0].system == f"{FHIR}observation-status"
    assert TYPES["Patient"].parameters["gender"].places[0].system == f"{FHIR}administrative-gender"
    assert TYPES["Task"].parameters["intent"].places[0].systems["order"] == f"{FHIR}request-intent"
    assert TYPES["Task"].parameters["intent"].places[0].systems["unknown"] == f"{FHIR}task-intent"
