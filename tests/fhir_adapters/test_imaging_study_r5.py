"""An ImagingStudy in R5: valid by R5's models, refused by them as R4 has it, and with nothing of it lost."""

import orjson
import pytest
from fhir.resources.imagingstudy import ImagingStudy
from pydantic import ValidationError

from clinical.errors import Unsupported
from fhir_adapters.resources.imaging_study import Instance, StudyFacts, imaging_study
from fhir_adapters.resources.imaging_study_r5 import INTERPRETER, in_r5
from tests.fhir_adapters.r4 import check_r4

OURS = imaging_study(
    "1.2.3",
    resource_id="s1",
    patient_id="p1",
    instances=[
        Instance("1.2.3.1", "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3.8", "DX"),
        Instance("1.2.3.2", "1.2.840.10008.5.1.4.1.1.66.4", "1.2.3.9", "SEG"),
    ],
    facts=StudyFacts("2026-11-22T09:00:00+01:00", "Thorax p.a."),
    based_on=[{"reference": "ServiceRequest/o1"}],
)
SITE = {"system": "http://snomed.info/sct", "code": "39607008", "display": "Lung structure"}
LEFT = {"system": "http://snomed.info/sct", "code": "7771000", "display": "Left"}
CHEST_FILM = {"coding": [{"system": "http://www.radlex.org", "code": "RPID2503"}]}
COUGH = {"text": "cough"}
FULL = OURS | {
    "meta": {"profile": ["http://hl7.org/fhir/StructureDefinition/ImagingStudy"], "versionId": "3"},
    "extension": [{"url": "http://example.org/x", "valueString": "kept"}],
    "encounter": {"reference": "Encounter/e1"},
    "referrer": {"reference": "Practitioner/r1"},
    "interpreter": [{"reference": "Practitioner/i1"}],
    "endpoint": [{"reference": "Endpoint/e1"}],
    "procedureReference": {"reference": "Procedure/p1"},
    "procedureCode": [CHEST_FILM],
    "location": {"reference": "Location/l1"},
    "reasonCode": [COUGH],
    "reasonReference": [{"reference": "Condition/c1"}],
    "note": [{"text": "two views"}],
    "series": [
        OURS["series"][0]
        | {
            "number": 1,
            "description": "frontal",
            "bodySite": SITE,
            "laterality": LEFT,
            "specimen": [{"reference": "Specimen/s1"}],
            "started": "2026-11-22T09:00:00+01:00",
            "performer": [{"actor": {"reference": "Practitioner/t1"}}],
        },
        OURS["series"][1],
    ],
}


def valid(resource) -> None:
    ImagingStudy.model_validate_json(orjson.dumps(resource))


@pytest.mark.parametrize("study", [OURS, FULL], ids=["ours", "every element"])
def test_it_is_valid_in_r4_and_its_r5_form_in_r5_and_not_the_other_way_round(study) -> None:
    check_r4(study)
    valid(in_r5(study))
    with pytest.raises(ValidationError):
        valid(study)


def test_every_code_and_reference_stands_where_r5_has_it() -> None:
    made = in_r5(FULL)
    assert [one["coding"][0]["code"] for one in made["modality"]] == ["DX", "SEG"]
    first = made["series"][0]
    assert first["modality"] == {"coding": [OURS["series"][0]["modality"]]}
    assert (first["bodySite"], first["laterality"]) == ({"concept": {"coding": [SITE]}}, {"coding": [LEFT]})
    assert made["procedure"] == [{"concept": CHEST_FILM}, {"reference": {"reference": "Procedure/p1"}}]
    assert made["reason"] == [{"concept": COUGH}, {"reference": {"reference": "Condition/c1"}}]
    assert made["extension"][0]["valueString"] == "kept"
    assert made["extension"][1] == {"url": INTERPRETER, "valueReference": {"reference": "Practitioner/i1"}}
    assert made["meta"] == {"versionId": "3"}, "a claim to conform to a profile of R4 is not one to R5's"


def test_what_did_not_move_is_as_it_was_and_the_original_is_untouched() -> None:
    before = orjson.dumps(FULL)
    made = in_r5(FULL)
    for name in (
        "identifier",
        "subject",
        "started",
        "basedOn",
        "referrer",
        "location",
        "note",
        "numberOfInstances",
    ):
        assert made[name] == FULL[name]
    for name in ("number", "description", "specimen", "performer", "uid", "instance"):
        assert made["series"][0][name] == FULL["series"][0][name]
    assert orjson.dumps(FULL) == before


def test_nothing_empty_comes_of_what_is_not_there() -> None:
    bare = {"resourceType": "ImagingStudy", "status": "available", "subject": {"reference": "Patient/1"}}
    assert in_r5(bare) == bare
    only_a_claim = bare | {"meta": {"profile": ["http://example.org/p"]}}
    assert in_r5(only_a_claim) == bare


def test_contained_resources_of_r4_are_not_passed_off_as_r5() -> None:
    with pytest.raises(Unsupported, match="contains other resources"):
        in_r5(OURS | {"contained": [{"resourceType": "Device", "id": "d"}]})
