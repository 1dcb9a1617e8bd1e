"""Each invariant that stands on one type of records, with what keeps it and what breaks it.

Where HL7's own definitions are here, their expression is evaluated too, by another's FHIRPath engine.
"""

import json
from pathlib import Path

import pytest

from fhir_adapters.definitions.structure import structure_of
from fhir_adapters.validation.invariants_of_types import OF_TYPES

PACKAGE = Path(__file__).parents[3] / "build" / "definitions" / "package"
ERROR = {
    "coding": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification",
            "code": "entered-in-error",
        }
    ]
}
TEXT = {"text": "x"}
REFERENCE = {"reference": "Patient/p1"}

# (where it stands, its key, what keeps it, what breaks it)
CASES = [
    ("AllergyIntolerance", "ait-1", [{"clinicalStatus": TEXT}, {"verificationStatus": ERROR}], [{}]),
    ("AllergyIntolerance", "ait-2", [{"clinicalStatus": TEXT}, {"verificationStatus": ERROR}],
     [{"clinicalStatus": TEXT, "verificationStatus": ERROR}]),
    ("Appointment", "app-2", [{"start": "2024", "end": "2024"}, {"status": "booked"}], [{"start": "2024"}]),
    ("Appointment", "app-3", [{"status": "waitlist"}, {"status": "booked", "start": "2024", "end": "2024"}],
     [{"status": "booked"}, {"status": "booked", "start": "2024"}]),
    ("Appointment", "app-4", [{"status": "noshow", "cancelationReason": TEXT}, {"status": "booked"}],
     [{"status": "booked", "cancelationReason": TEXT}]),
    ("Appointment.participant", "app-1", [{"type": [TEXT]}, {"actor": REFERENCE}], [{"status": "accepted"}]),
    ("CareTeam.participant", "ctm-1", [{"member": {"reference": "Practitioner/p"}, "onBehalfOf": REFERENCE},
     {"member": {"reference": "urn:uuid:1"}, "onBehalfOf": REFERENCE}, {"member": REFERENCE}],
     [{"member": REFERENCE, "onBehalfOf": REFERENCE}]),
    ("CodeSystem", "csd-1", [{"concept": [{"code": "a"}, {"code": "b", "concept": [{"code": "c"}]}]}],
     [{"concept": [{"code": "a"}, {"code": "b", "concept": [{"code": "a"}]}]}]),
    ("Composition.section", "cmp-1", [{"entry": [REFERENCE]}, {"text": {"status": "empty"}}], [{"title": "x"}]),
    ("Composition.section", "cmp-2", [{"emptyReason": TEXT}, {"entry": [REFERENCE]}],
     [{"emptyReason": TEXT, "entry": [REFERENCE]}]),
    ("ConceptMap.group.element.target", "cmd-1", [{"equivalence": "narrower", "comment": "x"},
     {"equivalence": "equal"}], [{"equivalence": "narrower"}, {"equivalence": "inexact"}]),
    ("ConceptMap.group.unmapped", "cmd-2", [{"mode": "fixed", "code": "a"}, {"mode": "provided"}],
     [{"mode": "fixed"}]),
    ("ConceptMap.group.unmapped", "cmd-3", [{"mode": "other-map", "url": "x"}, {"mode": "provided"}],
     [{"mode": "other-map"}]),
    ("FamilyMemberHistory", "fhs-1", [{"ageString": "x"}, {"bornDate": "2024"}],
     [{"ageString": "x", "bornDate": "2024"}]),
    ("FamilyMemberHistory", "fhs-2", [{"ageString": "x", "estimatedAge": True}, {"bornDate": "2024"}],
     [{"estimatedAge": True}]),
    ("Group", "grp-1", [{"actual": True, "member": [{"entity": REFERENCE}]}, {"actual": False}],
     [{"actual": False, "member": [{"entity": REFERENCE}]}]),
    ("Immunization.education", "imm-1", [{"documentType": "x"}, {"reference": "x"}],
     [{"publicationDate": "2024"}]),
    ("InsurancePlan", "ipn-1", [{"name": "x"}, {"identifier": [{"value": "x"}]}], [{"status": "active"}]),
    ("List", "lst-1", [{"emptyReason": TEXT}, {"entry": [{"item": REFERENCE}]}],
     [{"emptyReason": TEXT, "entry": [{"item": REFERENCE}]}]),
    ("List", "lst-2", [{"mode": "changes", "entry": [{"deleted": True}]}, {"mode": "working", "entry": [{}]}],
     [{"mode": "working", "entry": [{"deleted": True}]}]),
    ("List", "lst-3", [{"mode": "working", "entry": [{"date": "2024"}]}, {"mode": "changes"}],
     [{"mode": "snapshot", "entry": [{"date": "2024"}]}]),
    ("MedicationAdministration.dosage", "mad-1", [{"dose": {"value": 1}}, {"rateQuantity": {"value": 1}}],
     [{"text": "x"}]),
    ("MedicationDispense", "mdd-1", [{"whenPrepared": "2024-01-01", "whenHandedOver": "2024-01-02"}, {}],
     [{"whenPrepared": "2024-01-02", "whenHandedOver": "2024-01-01"}]),
    ("Questionnaire", "que-2", [{"item": [{"linkId": "1", "item": [{"linkId": "2"}]}]}],
     [{"item": [{"linkId": "1", "item": [{"linkId": "1"}]}]}]),
    ("Questionnaire.item", "que-1", [{"type": "group", "item": [{"linkId": "1"}]}, {"type": "string"}],
     [{"type": "group"}, {"type": "display", "item": [{"linkId": "1"}]}]),
    ("Questionnaire.item", "que-3", [{"type": "string", "code": [{"code": "x"}]}, {"type": "display"}],
     [{"type": "display", "code": [{"code": "x"}]}]),
    ("Questionnaire.item", "que-4", [{"answerValueSet": "x"}, {"answerOption": [{"valueString": "x"}]}],
     [{"answerValueSet": "x", "answerOption": [{"valueString": "x"}]}]),
    ("Questionnaire.item", "que-5", [{"type": "choice", "answerValueSet": "x"}, {"type": "group"}],
     [{"type": "group", "answerValueSet": "x"}, {"type": "boolean", "answerOption": [{"valueString": "x"}]}]),
    ("Questionnaire.item", "que-6", [{"type": "string", "required": True}, {"type": "display"}],
     [{"type": "display", "required": False}, {"type": "display", "repeats": True}]),
    ("Questionnaire.item", "que-8", [{"type": "string", "initial": [{"valueString": "x"}]}, {"type": "group"}],
     [{"type": kind, "initial": [{"valueString": "x"}]} for kind in ("group", "display")]),
    ("Questionnaire.item", "que-9", [{"type": "string", "readOnly": True}, {"type": "display"}],
     [{"type": "display", "readOnly": True}]),
    ("Questionnaire.item", "que-10", [{"type": "text", "maxLength": 9}, {"type": "date"}],
     [{"type": "date", "maxLength": 9}]),
    ("Questionnaire.item", "que-11",
     [{"initial": [{"valueString": "x"}]}, {"answerOption": [{"valueString": "x"}]}],
     [{"initial": [{"valueString": "x"}], "answerOption": [{"valueString": "x"}]}]),
    ("Questionnaire.item", "que-12", [{"enableWhen": [{"question": "1"}] * 2},
     {"enableWhen": [{"question": "1"}, {"question": "2"}, {"question": "3"}], "enableBehavior": "any"}],
     [{"enableWhen": [{"question": "1"}, {"question": "2"}, {"question": "3"}]}]),
    ("Questionnaire.item", "que-13", [{"repeats": True, "initial": [{"valueString": "x"}, {"valueString": "y"}]},
     {"initial": [{"valueString": "x"}]}], [{"initial": [{"valueString": "x"}, {"valueString": "y"}]}]),
    ("Questionnaire.item.enableWhen", "que-7", [{"operator": "exists", "answerBoolean": True},
     {"operator": "=", "answerString": "x"}], [{"operator": "exists", "answerString": "x"}]),
    ("QuestionnaireResponse.item", "qrs-1", [{"answer": [{"valueString": "x"}]}, {"item": [{"linkId": "1"}]}],
     [{"answer": [{"valueString": "x"}], "item": [{"linkId": "1"}]}]),
    ("RequestGroup.action", "rqg-1", [{"resource": REFERENCE}, {"action": [{"title": "x"}]}],
     [{"title": "x"}, {"resource": REFERENCE, "action": [{"title": "x"}]}]),
    ("ValueSet.compose.include", "vsd-1", [{"system": "x"}, {"valueSet": ["x"]}], [{"version": "1"}]),
    ("ValueSet.compose.include", "vsd-2", [{"system": "x", "concept": [{"code": "a"}]}, {"valueSet": ["x"]}],
     [{"concept": [{"code": "a"}]}, {"filter": [{"op": "="}]}]),
    ("ValueSet.compose.include", "vsd-3", [{"concept": [{"code": "a"}]}, {"filter": [{"op": "="}]}],
     [{"concept": [{"code": "a"}], "filter": [{"op": "="}]}]),
    ("ValueSet.expansion.contains", "vsd-6", [{"code": "a"}, {"display": "a"}], [{"system": "x"}]),
    ("ValueSet.expansion.contains", "vsd-9", [{"code": "a"}, {"abstract": True}], [{"display": "a"}]),
    ("ValueSet.expansion.contains", "vsd-10", [{"code": "a", "system": "x"}, {"display": "a"}], [{"code": "a"}]),
]  # fmt: skip
# The engine resolves nothing; has a type Boolean only as `boolean`; takes the items of a list for one.
NOT_EVALUATED = {"ctm-1", "que-7", "lst-2", "csd-1", "que-2"}


def test_every_rule_has_its_cases():
    assert {(place, key) for place, key, _, _ in CASES} == {
        (place, rule.key) for place, rules in OF_TYPES.items() for rule in rules
    }
    assert len(CASES) == sum(len(tuple(rules)) for rules in OF_TYPES.values())


@pytest.mark.parametrize(
    ("place", "key", "kept", "broken"), CASES, ids=lambda each: each if isinstance(each, str) else ""
)
def test_an_invariant_is_told_of_what_breaks_it_and_nothing_else(place, key, kept, broken):
    (rule,) = (one for one in OF_TYPES[place] if one.key == key)
    assert [rule.holds(each) for each in kept] == [True] * len(kept)
    assert [rule.holds(each) for each in broken] == [False] * len(broken)
    assert all(name in structure_of(place).elements or name.endswith("[x]") for name in rule.at)


@pytest.fixture(scope="module")
def published():
    if not PACKAGE.is_dir():
        pytest.skip("HL7's definitions are not here: make definitions")
    entries = json.loads((PACKAGE / "dist" / "fhir" / "r4" / "profiles-resources.json").read_bytes())["entry"]
    definitions = [
        entry["resource"] for entry in entries if entry["resource"]["resourceType"] == "StructureDefinition"
    ]
    return {
        (element["path"], constraint["key"]): constraint["expression"]
        for definition in definitions
        for element in definition["snapshot"]["element"]
        for constraint in element.get("constraint", ())
    }


def test_hl7_s_own_expressions_say_the_same(published):
    engine = pytest.importorskip("fhirpathpy")
    model = pytest.importorskip("fhirpathpy.models").models["r4"]
    for place, key, kept, broken in CASES:
        if key in NOT_EVALUATED:
            continue
        text = published[place, key].replace(".trace('type')", "").replace(".trace('item')", "")
        whole = "." not in place
        expression = text if whole else {"base": place, "expression": text}
        own = {"resourceType": place} if whole else {}
        said = [engine.evaluate(own | each, expression, {}, model) == [True] for each in (*kept, *broken)]
        assert said == [True] * len(kept) + [False] * len(broken), (place, key)
