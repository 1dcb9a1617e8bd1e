"""Faults that writers make, each seeded alone into a valid resource: every one is found where it stands."""

import copy
import json
from decimal import Decimal

import pytest

from fhir_adapters.definitions.structure import resource_types
from fhir_adapters.validation import problems_of
from tests.fhir_adapters.validation.valid import (
    DIV,
    HL7,
    LOINC,
    SNOMED,
    UCUM,
    VALID,
    concept,
    quantity,
)

GONE = object()
DEVICE = {"resourceType": "Device", "id": "x"}


def with_fault(kind, path, value):
    """A copy of the valid resource in which the element at `path` is another, or gone."""
    resource = copy.deepcopy(VALID[kind])
    *way, last = path
    held = resource
    for part in way:
        held = held[part]
    if value is GONE:
        del held[last]
    else:
        held[last] = value
    return resource


def div(inner):
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{inner}</div>'


# (type, where the fault is put, what is put there, where it is told of, the invariant or a word of the text)
FAULTS = [
    # structure
    ("Observation", ["status"], GONE, "Observation.status", "required"),
    ("Observation", ["code"], GONE, "Observation.code", "required"),
    ("Observation", ["colour"], "red", "Observation.colour", "no element"),
    ("Observation", ["code", "colour"], "red", "Observation.code.colour", "no element"),
    ("Observation", ["note"], [], "Observation.note", "empty list"),
    ("Observation", ["method"], {}, "Observation.method", "empty"),
    ("Observation", ["method"], None, "Observation.method", "object"),
    ("Observation", ["method"], [{"text": "x"}], "Observation.method", "not as a list"),
    ("Observation", ["category"], concept(HL7 + "observation-category", "exam"), "Observation.category", "list"),
    ("Observation", ["valueString"], "x", "Observation.value[x]", "one form"),
    ("Observation", ["component", 0, "valueString"], "x", "Observation.component[0].value[x]", "one form"),
    ("Observation", ["component", 0, "code"], GONE, "Observation.component[0].code", "required"),
    ("Observation", ["code", "coding", 0, "code"], "", "Observation.code.coding[0].code", "code"),
    ("Observation", ["code", "text"], "  ", "Observation.code.text", "empty"),
    ("Observation", ["resourceType"], "Observations", "resourceType", "no resource"),
    ("Observation", ["_status"], "x", "Observation._status", "object"),
    ("Observation", ["_code"], {"id": "a"}, "Observation._code", "no element"),
    ("Patient", ["name", 0, "_given"], [None], "Patient.name[0]._given", "as long"),
    ("Patient", ["name", 0, "given"], [None, "B."], "Patient.name[0].given[0]", "text"),
    ("Patient", ["deceasedBoolean"], "false", "Patient.deceasedBoolean", "true or false"),
    ("ImagingStudy", ["numberOfSeries"], "1", "ImagingStudy.numberOfSeries", "whole number"),
    ("ImagingStudy", ["numberOfSeries"], 1.0, "ImagingStudy.numberOfSeries", "whole number"),
    ("ImagingStudy", ["numberOfSeries"], -1, "ImagingStudy.numberOfSeries", "whole number"),
    ("ImagingStudy", ["numberOfSeries"], True, "ImagingStudy.numberOfSeries", "whole number"),
    ("ImagingStudy", ["series", 0, "instance", 0, "sopClass"], GONE, "ImagingStudy.series[0].instance[0].sopClass",
     "required"),
    ("RiskAssessment", ["prediction", 0, "probabilityDecimal"], "37",
     "RiskAssessment.prediction[0].probabilityDecimal", "number"),
    # primitives
    ("Observation", ["effectiveDateTime"], "2026-02-30", "Observation.effectiveDateTime", "day"),
    ("Observation", ["effectiveDateTime"], "2026-11-22T08:00:00", "Observation.effectiveDateTime", "time zone"),
    ("Observation", ["effectiveDateTime"], "22.11.2026", "Observation.effectiveDateTime", "date"),
    ("Observation", ["issued"], "2026-11-22", "Observation.issued", "time zone"),
    ("Observation", ["id"], "a b", "Observation.id", ""),
    ("Observation", ["meta", "lastUpdated"], "yesterday", "Observation.meta.lastUpdated", "date and time"),
    ("Observation", ["identifier", 0, "system"], "urn:oid 1.2.3", "Observation.identifier[0].system", "URI"),
    ("Patient", ["birthDate"], "1970-2-28", "Patient.birthDate", "date"),
    ("Patient", ["birthDate"], 1970, "Patient.birthDate", "date"),
    ("Patient", ["photo", 0, "data"], "no base64!", "Patient.photo[0].data", "base64"),
    ("Patient", ["name", 0, "family"], "a\x07b", "Patient.name[0].family", "control"),
    # codes
    ("Observation", ["status"], "done", "Observation.status", "observation-status"),
    ("Patient", ["gender"], "f", "Patient.gender", "administrative-gender"),
    ("Patient", ["photo", 0, "contentType"], "png", "Patient.photo[0].contentType", "mimetypes"),
    ("Condition", ["clinicalStatus"], {"text": "over"}, "Condition.clinicalStatus", "condition-clinical"),
    ("Condition", ["clinicalStatus", "coding", 0, "system"], "http://example.org", "Condition.clinicalStatus",
     "condition-clinical"),
    ("Observation", ["category", 0], concept(HL7 + "observation-category", "vitals"), "Observation.category[0]",
     "code system"),
    ("Observation", ["valueQuantity", "comparator"], "~", "Observation.valueQuantity.comparator", "comparator"),
    ("Observation", ["valueQuantity", "code"], "mmHg", "Observation.valueQuantity.code", "UCUM"),
    ("Task", ["intent"], "wish", "Task.intent", "task-intent"),
    # references and contained resources
    ("Observation", ["subject", "reference"], "Encounter/1", "Observation.subject.reference", "type"),
    ("Observation", ["subject", "reference"], "http://ehr.example/fhir/Medication/1",
     "Observation.subject.reference", "type"),
    ("Observation", ["subject", "reference"], "p1", "Observation.subject.reference", "Type/id"),
    ("Observation", ["subject", "reference"], "Person1/2", "Observation.subject.reference", ""),
    ("Observation", ["subject"], {"reference": "Patient/1", "type": "Group"}, "Observation.subject.reference",
     "another type"),
    ("Observation", ["device", "reference"], "#e", "Observation.device.reference", "ref-1"),
    ("Observation", ["device"], GONE, "Observation.contained[0]", "dom-3"),
    ("Observation", ["contained", 0, "id"], GONE, "Observation.contained[0]", "dom-3"),
    ("Observation", ["contained", 0, "contained"], [DEVICE], "Observation.contained[0]", "dom-2"),
    ("Observation", ["contained", 0, "meta"], {"versionId": "1"}, "Observation.contained[0]", "dom-4"),
    ("Observation", ["contained", 0, "status"], "broken", "Observation.contained[0].status", "device-status"),
    # invariants
    ("Observation", ["dataAbsentReason"], {"text": "x"}, "Observation.dataAbsentReason", "obs-6"),
    ("Observation", ["component", 0, "code"], concept(LOINC, "8867-4"), "Observation.component", "obs-7"),
    ("Observation", ["referenceRange", 0], {"id": "r"}, "Observation.referenceRange[0]", "obs-3"),
    ("Observation", ["referenceRange", 0, "low", "comparator"], "<",
     "Observation.referenceRange[0].low", "sqty-1"),
    ("Observation", ["valueQuantity", "system"], GONE, "Observation.valueQuantity.code", "qty-3"),
    ("Observation", ["text", "div"], div("<script>1</script>"), "Observation.text.div", "txt-1"),
    ("Observation", ["text", "div"], div('<p onclick="x()">a</p>'), "Observation.text.div", "txt-1"),
    ("Observation", ["text", "div"], div('<a href="javascript:x()">a</a>'), "Observation.text.div", "txt-1"),
    ("Observation", ["text", "div"], div("  "), "Observation.text.div", "txt-2"),
    ("Observation", ["text", "div"], DIV[:-6], "Observation.text.div", "XHTML"),
    ("Observation", ["text", "div"], "<!DOCTYPE a [<!ENTITY b 'c'>]>" + DIV, "Observation.text.div", "document"),
    ("Patient", ["identifier", 0, "period", "end"], "2019-12", "Patient.identifier[0].period", "per-1"),
    ("Patient", ["_birthDate", "extension", 0, "valueDateTime"], GONE, "Patient._birthDate.extension[0]", "ext-1"),
    ("Patient", ["telecom", 0, "system"], GONE, "Patient.telecom[0].system", "cpt-2"),
    ("Patient", ["contact", 0], {"gender": "male"}, "Patient.contact[0]", "pat-1"),
    ("Patient", ["photo", 0, "contentType"], GONE, "Patient.photo[0]", "att-1"),
    ("RiskAssessment", ["prediction", 0, "probabilityDecimal"], 101,
     "RiskAssessment.prediction[0].probabilityDecimal", "ras-2"),
    ("RiskAssessment", ["occurrencePeriod", "end"], "2025", "RiskAssessment.occurrencePeriod", "per-1"),
    ("Condition", ["clinicalStatus", "coding", 0, "code"], "active", "Condition.clinicalStatus", "con-4"),
    ("Condition", ["verificationStatus", "coding", 0, "code"], "entered-in-error",
     "Condition.clinicalStatus", "con-5"),
    ("Condition", ["evidence", 0], {"id": "e"}, "Condition.evidence[0]", "con-2"),
    ("Condition", ["stage", 0], {"type": {"text": "x"}}, "Condition.stage[0]", "con-1"),
    ("Task", ["lastModified"], "2025-12-31", "Task.lastModified", "inv-1"),
    ("Bundle", ["total"], 2, "Bundle.total", "bdl-1"),
    ("Bundle", ["entry", 0, "request"], GONE, "Bundle", "bdl-3"),
    ("Bundle", ["entry", 1], VALID["Bundle"]["entry"][0], "Bundle", "bdl-7"),
    ("Bundle", ["entry", 1, "resource", "status"], "done", "Bundle.entry[1].resource.status", "status"),
    ("Bundle", ["entry", 1, "resource", "device"], GONE, "Bundle.entry[1].resource.contained[0]", "dom-3"),
    ("Consent", ["policyRule"], GONE, "Consent", "ppc-1"),
    ("Consent", ["patient"], GONE, "Consent.patient", "ppc-2"),
    ("ServiceRequest", ["code"], GONE, "ServiceRequest.code", "prr-1"),
    ("ServiceRequest", ["occurrenceTiming", "repeat", "periodUnit"], GONE,
     "ServiceRequest.occurrenceTiming.repeat", "tim-2"),
    ("ServiceRequest", ["occurrenceTiming", "repeat", "when"], ["C"],
     "ServiceRequest.occurrenceTiming.repeat.offset", "tim-9"),
    ("Organization", ["name"], GONE, "Organization", "org-1"),
    ("Organization", ["telecom", 0, "use"], "home", "Organization.telecom", "org-3"),
    ("Goal", ["target", 0, "measure"], GONE, "Goal.target[0].measure", "gol-1"),
    ("Goal", ["target", 0, "detailRange", "low", "value"], 61, "Goal.target[0].detailRange", "rng-2"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "path", "value", "place", "word"), FAULTS)
def test_a_seeded_fault_is_found_where_it_stands(kind, path, value, place, word):
    found = problems_of(with_fault(kind, path, value))
    assert any(one.expression == place and word in one.text for one in found), found
    assert len(found) <= 2  # and nothing else is blamed


@pytest.mark.parametrize("kind", VALID)
def test_what_is_valid_is_not_blamed(kind):
    assert problems_of(VALID[kind], expected=kind) == []


def test_all_faults_of_a_resource_are_told_at_once():
    resource = with_fault("Observation", ["status"], "done") | {"colour": "red", "effectiveDateTime": "x"}
    assert {one.expression for one in problems_of(resource)} == {
        "Observation.status",
        "Observation.colour",
        "Observation.effectiveDateTime",
    }


def test_a_finding_never_repeats_what_was_sent():
    resource = with_fault("Patient", ["birthDate"], "Zzcanary") | {"Zz canary!": 1, "gender": "Zzcanary"}
    resource["name"] = [{"family": "\x07Zzcanary"}, "Zzcanary"]
    assert problems_of(resource)
    assert "canary" not in json.dumps([one.as_issue() for one in problems_of(resource)]).lower()


def test_a_million_faults_are_not_all_told():
    resource = VALID["Patient"] | {"name": [{"family": 1}] * 5000}
    assert len(problems_of(resource)) == 100


def test_a_code_that_a_growing_code_system_may_have_got_since_is_a_warning():
    label = {"system": HL7 + "v3-ObservationValue", "code": "AIAST"}
    resource = VALID["Observation"] | {"meta": {"security": [label]}}
    assert {one.severity for one in problems_of(resource)} <= {"warning"}


def test_decimals_are_numbers_however_they_were_read():
    resource = with_fault("Observation", ["valueQuantity"], quantity(Decimal("19.00")))
    assert problems_of(resource) == []


def test_a_type_that_may_be_pointed_to_by_a_conditional_reference_is_checked():
    assert problems_of(with_fault("Observation", ["subject", "reference"], "Patient?identifier=urn:x|1")) == []
    assert problems_of(with_fault("Observation", ["subject", "reference"], "Encounter?identifier=urn:x|1"))


def test_every_resource_type_of_r4_is_known():
    assert len(resource_types()) == 147
    assert {"Observation", "Bundle", "Parameters", "VisionPrescription"} <= resource_types()


def test_the_units_and_the_nodule_are_those_of_the_standard():
    assert problems_of(with_fault("Observation", ["code"], concept(SNOMED, "427359005"))) == []
    assert VALID["Observation"]["valueQuantity"]["system"] == UCUM
