"""Profiles: R4's vital signs by their codes, what a resource claims, and a site's own folder."""

import json
from pathlib import Path

import pytest

from clinical.errors import IncorrectInput
from fhir_adapters.validation import problems_of
from fhir_adapters.validation.profiles import profiles_in, shipped

CORE = "http://hl7.org/fhir/StructureDefinition/"
US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/"
PUBLISHED = Path(__file__).parents[3] / "build/definitions/package/dist/fhir/r4/testing"
VITAL = {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}


def quantity(value, code, unit=None):
    return {"value": value, "unit": unit or code, "system": "http://unitsofmeasure.org", "code": code}


def coded(code):
    return {"coding": [{"system": "http://loinc.org", "code": code}]}


def vital(code="8867-4", **more):
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": [{"coding": [VITAL]}],
        "code": coded(code),
        "subject": {"reference": "Patient/p"},
        "effectiveDateTime": "2026-01-01",
        **more,
    }


def pressure(*parts):
    return vital("85354-9", component=[{"code": coded(code), **value} for code, value in parts])


def said(resource, **more):
    return {(one.severity, one.expression) for one in problems_of(resource, **more)}


SYSTOLIC = ("8480-6", {"valueQuantity": quantity(120, "mm[Hg]")})
DIASTOLIC = ("8462-4", {"valueQuantity": quantity(80, "mm[Hg]")})


def without(resource, *names):
    return {name: value for name, value in resource.items() if name not in names}


HEART_RATE = vital(valueQuantity=quantity(72, "/min"))
SAMPLES = {"origin": {"value": 0}, "period": 5000, "dimensions": 1, "data": "70 71"}


@pytest.mark.parametrize(
    "sound",
    [
        HEART_RATE,
        vital(dataAbsentReason={"text": "probe off"}),
        vital(valueSampledData=SAMPLES),
        pressure(SYSTOLIC, DIASTOLIC),
        pressure(SYSTOLIC, ("8462-4", {"dataAbsentReason": {"text": "not heard"}})),
        pressure(SYSTOLIC, DIASTOLIC, ("8478-0", {"valueQuantity": quantity(93, "mm[Hg]")})),
        vital("29463-7", valueQuantity=quantity(70, "kg")),
        vital("29463-7", valueQuantity=quantity(154, "[lb_av]")),
        HEART_RATE | {"code": {"coding": [{"system": "urn:local", "code": "HR"}, *coded("8867-4")["coding"]]}},
        HEART_RATE | {"meta": {"profile": [f"{CORE}heartrate|4.0.1", "https://example.org/not-known-here"]}},
    ],
)
def test_a_sound_vital_sign_has_no_problem(sound):
    assert problems_of(sound) == []


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        (vital(valueQuantity=quantity(1.2, "/s")), "Observation.valueQuantity.code"),
        (vital(valueQuantity=quantity(72, "/min") | {"system": "urn:x"}), "Observation.valueQuantity.system"),
        (vital(valueString="fast"), "Observation.valueString"),
        (HEART_RATE | {"subject": {"reference": "Device/d"}}, "Observation.subject.reference"),
        (
            HEART_RATE | {"subject": {"reference": "https://a.example/fhir/Group/g"}},
            "Observation.subject.reference",
        ),
        (pressure(SYSTOLIC, SYSTOLIC, DIASTOLIC), "Observation.component"),
        (
            pressure(("8480-6", {"valueQuantity": quantity(16, "kPa")}), DIASTOLIC),
            "Observation.component[0].valueQuantity.code",
        ),
        (pressure(SYSTOLIC, DIASTOLIC) | {"valueQuantity": quantity(120, "mm[Hg]")}, "Observation.valueQuantity"),
        (vital("29463-7", valueQuantity=quantity(70, "cm")), "Observation.valueQuantity.code"),
    ],
)
def test_what_a_vital_sign_says_wrong_is_refused(wrong, place):
    found = {where for severity, where in said(wrong) if severity == "error"}
    assert found
    assert any(where.startswith(place.removesuffix(".valueQuantity")) for where in found)


@pytest.mark.parametrize(
    ("lacking", "place"),
    [
        (without(HEART_RATE, "category"), "Observation.category"),
        (HEART_RATE | {"category": [{"text": "vital"}]}, "Observation.category"),
        (without(HEART_RATE, "subject"), "Observation.subject"),
        (without(HEART_RATE, "effectiveDateTime"), "Observation.effective[x]"),
        (HEART_RATE | {"effectiveDateTime": "2026-01"}, "Observation.effectiveDateTime"),
        (without(HEART_RATE, "valueQuantity"), "Observation"),
        (HEART_RATE | {"valueQuantity": without(quantity(72, "/min"), "unit")}, "Observation.valueQuantity.unit"),
        (pressure(SYSTOLIC), "Observation.component"),
        (pressure(SYSTOLIC, ("8462-4", {})), "Observation.component[1]"),
    ],
)
def test_what_a_vital_sign_lacks_is_a_warning_and_an_error_where_the_profile_is_claimed(lacking, place):
    assert ("warning", place) in said(lacking)
    assert not any(severity == "error" for severity, _ in said(lacking))
    url = f"{CORE}bp" if "component" in lacking else f"{CORE}heartrate"
    assert ("error", place) in said(lacking | {"meta": {"profile": [url]}})
    assert ("error", place) in said(lacking, claimed=[url])


def test_a_resource_of_a_bundle_is_judged_at_its_place():
    entry = {"resource": vital(valueString="fast"), "request": {"method": "POST", "url": "Observation"}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    assert said(bundle) == {("error", "Bundle.entry[0].resource.valueString")}


def test_a_profile_that_is_asked_for_and_not_known_is_told():
    (found,) = problems_of(HEART_RATE, claimed=["https://example.org/p"])
    assert (found.severity, found.code) == ("warning", "not-supported")


def test_what_is_no_sound_r4_is_not_judged_by_profiles():
    assert all(not one.profile for one in problems_of(vital(valueQuantity=quantity(1, "/s"), status="no")))


def test_every_vital_sign_of_r4_has_its_code():
    assert len(shipped()._of_code) == 10


@pytest.fixture(scope="module")
def us_core(tmp_path_factory):
    source = PUBLISHED / "uscore-v5.0.1-structuredefinitions.json"
    if not source.exists():
        pytest.skip("make definitions has not been run")
    folder = tmp_path_factory.mktemp("profiles")
    for number, one in enumerate(json.loads(source.read_bytes())):
        (folder / f"{number}.json").write_text(json.dumps({"derivation": "constraint", **one}))
    race = {
        "resourceType": "ValueSet",
        "url": "http://hl7.org/fhir/us/core/ValueSet/omb-race-category",
        "compose": {"include": [{"system": "urn:oid:2.16.840.1.113883.6.238", "concept": [{"code": "2106-3"}]}]},
    }
    (folder / "race.json").write_text(json.dumps(race))
    return profiles_in(folder)


def patient(*parts, **more):
    race = {"url": f"{US_CORE}us-core-race", "extension": list(parts)}
    return {
        "resourceType": "Patient",
        "meta": {"profile": [f"{US_CORE}us-core-patient"]},
        **({"extension": [race]} if parts else {}),
        "identifier": [{"system": "urn:mrn", "value": "1"}],
        "name": [{"family": "Test"}],
        "gender": "female",
        **more,
    }


WHITE = {
    "url": "ombCategory",
    "valueCoding": {"system": "urn:oid:2.16.840.1.113883.6.238", "code": "2106-3", "display": "White"},
}
TEXT = {"url": "text", "valueString": "White"}


@pytest.mark.parametrize(
    ("resource", "places"),
    [
        (patient(), set()),
        (patient(WHITE, TEXT), set()),
        (patient(WHITE), {"Patient.extension[0].extension"}),
        (
            patient(WHITE | {"valueCoding": {"system": "urn:oid:2.16.840.1.113883.6.238", "code": "0"}}, TEXT),
            {"Patient.extension[0].extension[0].valueCoding"},
        ),
        (patient(name=[{"text": "Test"}]), {"Patient"}),
        (patient(identifier=[{"value": "1"}]), {"Patient.identifier[0].system"}),
        (without(patient(), "gender", "name"), {"Patient.gender", "Patient.name"}),
    ],
)
def test_a_sites_profiles_are_kept_with_their_extensions(us_core, resource, places):
    assert {one.expression for one in problems_of(resource, profiles=us_core)} == places
    assert problems_of(resource) == []  # not known without the folder


def test_a_profile_without_its_snapshot_is_refused_at_the_start(tmp_path):
    one = {"resourceType": "StructureDefinition", "url": "u", "type": "Patient", "kind": "resource"}
    (tmp_path / "p.json").write_text(json.dumps(one | {"derivation": "constraint"}))
    with pytest.raises(IncorrectInput, match="snapshot"):
        profiles_in(tmp_path)
    (tmp_path / "p.json").write_text("{")
    with pytest.raises(IncorrectInput, match=r"p\.json"):
        profiles_in(tmp_path)
