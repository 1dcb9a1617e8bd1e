"""What is left of a resource for research: nobody's words, whole references, dates that keep their distances."""

import datetime as dt
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.destination_pseudonyms import Pseudonyms, patient_text
from fhir_adapters.definitions.structure import resource_types
from fhir_adapters.research.dates import Shift
from fhir_adapters.research.places import region_of
from fhir_adapters.research.rules import DROPPED, LEFT_OUT
from fhir_adapters.research.terms import kept_code, kept_unit
from fhir_adapters.research.walk import Aims, Work
from fhir_adapters.validation import problems_of
from tests.fhir_adapters.research.canaries import Canaries
from tests.fhir_adapters.validation.valid import VALID

NAMES = Pseudonyms(b"k" * 32)
TODAY = dt.date(2026, 11, 27)
SHIFT = Shift(100, TODAY)


def left_of(made, known=("known",), shift=SHIFT, **aims):
    work = Work(Aims(NAMES, lambda kind, name: "R1" if name in known else None, "http://here/fhir", **aims), shift)
    return work.resource(made, "R0"), work.dropped


# Data types of medicinal products, which nobody's record holds: dropped, because nothing is said of them.
UNRULED = {
    f"{one} (no rule)" for one in ("MarketingStatus", "Population", "ProdCharacteristic", "ProductShelfLife")
}
UNRULED |= {"SubstanceAmount (no rule)", "OperationOutcome (no rule)"}


@pytest.mark.parametrize("tame", [False, True])
def test_no_text_of_any_element_of_any_type_is_left(tame):
    for kind in sorted(resource_types() - LEFT_OUT):
        canaries = Canaries(tame=tame)
        made = canaries.resource(kind)
        left, dropped = left_of(made)
        assert canaries.texts
        assert left is not DROPPED, kind
        written = json.dumps(left, default=str)
        assert "leak" not in written, (kind, [one for one in canaries.texts if one in written][:3])
        unruled = {what for what in dropped if "no rule" in what}
        assert unruled <= UNRULED, (kind, unruled)


def test_what_is_no_text_is_left():
    left, _ = left_of(Canaries(tame=True).resource("Observation"))
    assert left["id"] == "R0"
    # The words are ours, not those that stood there.
    heart_rate = {"system": "http://loinc.org", "code": "8867-4", "display": "Heart rate"}
    assert left["code"]["coding"] == [heart_rate]
    assert left["subject"] == {"reference": "Patient/R1"}
    unit = {"unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"}
    assert left["valueQuantity"] == {"value": Decimal("12.5"), "comparator": "<"} | unit


@pytest.mark.parametrize("kind", sorted(VALID))
def test_what_is_left_of_a_valid_resource_is_one(kind):
    for made in VALID[kind] if isinstance(VALID[kind], list) else [VALID[kind]]:
        left, _ = left_of(made, known=("p1", "known"))
        if left is DROPPED:
            assert made["resourceType"] in LEFT_OUT
            continue
        # An invariant may ask for what a person wrote; the structure holds.
        wrong = [
            one for one in problems_of(left) if one.severity == "error" and one.code in ("structure", "required")
        ]
        assert wrong == []


def test_an_element_whose_meaning_a_modifier_changes_goes_with_it():
    made = {"resourceType": "Observation", "status": "final", "modifierExtension": [{"url": "urn:not"}]}
    assert left_of(made)[0] is DROPPED
    inner = {"code": {"coding": []}, "modifierExtension": [{"url": "urn:not"}]}
    left, dropped = left_of({"resourceType": "Observation", "status": "final", "component": [inner]})
    assert "component" not in left
    assert dropped["element with a modifierExtension"] == 1


REFERENCES = {
    "Patient/known": {"reference": "Patient/R1"},
    "http://here/fhir/Patient/known": {"reference": "Patient/R1"},
    "Patient/known/_history/3": {"reference": "Patient/R1"},
    "Patient/gone": None,
    "http://elsewhere/fhir/Patient/known": None,
    "urn:uuid:00000000-0000-4000-8000-000000000000": None,
    "Patient?identifier=known": None,
    "#inner": {"reference": "#c1"},
    "#gone": None,
}


@pytest.mark.parametrize("text", REFERENCES)
def test_a_reference_is_rewritten_or_dropped_and_never_left_as_it_was(text):
    inner = {"resourceType": "Patient", "id": "inner", "gender": "male", "name": [{"family": "Leak"}]}
    made = {
        "resourceType": "Observation",
        "status": "final",
        "contained": [inner],
        "subject": {"reference": text, "display": "Leak", "identifier": {"value": "Leak"}},
    }
    left, _ = left_of(made)
    assert left.get("subject") == REFERENCES[text]
    assert left["contained"] == [{"resourceType": "Patient", "id": "c1", "gender": "male"}]


def test_uids_and_patients_have_the_names_that_the_images_have():
    made = {
        "resourceType": "ImagingStudy",
        "status": "available",
        "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}, {"system": "urn:a", "value": "A17"}],
        "subject": {"reference": "Patient/known"},
        "series": [{"uid": "1.2.3.4", "modality": {"code": "DX"}, "instance": [{"uid": "1.2.3.4.5"}]}],
    }
    left, _ = left_of(made)
    assert left["identifier"] == [{"system": "urn:dicom:uid", "value": f"urn:oid:{NAMES.uid('1.2.3')}"}]
    assert left["series"][0]["uid"] == NAMES.uid("1.2.3.4")
    assert left["series"][0]["instance"][0]["uid"] == NAMES.uid("1.2.3.4.5")


TIMES = st.datetimes(dt.datetime(1960, 1, 1), dt.datetime(2026, 1, 1))  # noqa: DTZ001 - the zone is written


@given(
    TIMES,
    TIMES,
    st.integers(1, 3650),
)
def test_intervals_between_dates_are_kept_to_the_microsecond(first, second, days):
    shift = Shift(days, TODAY)
    moved = [
        dt.datetime.fromisoformat(shift.moved(one.isoformat(timespec="microseconds") + "Z")[:-1])
        for one in (first, second)
    ]
    assert moved[1] - moved[0] == second - first
    assert first - moved[0] == dt.timedelta(days=days)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2020-05-17", "2020-02-07"),
        ("2020-05-17T01:02:03.1230+05:30", "2020-02-07T01:02:03.1230+05:30"),
        ("2020-05", "2020-02"),
        ("2020", "2020"),
        ("1936-01-01", None),  # who was there is 90
        ("2020-02-30", None),
        ("2020-05-17T01:02:03Z Quillon", None),
        ("17.5.2020", None),
    ],
)
def test_a_date_is_moved_as_exactly_as_it_is_known(text, expected):
    assert SHIFT.moved(text) == expected


@pytest.mark.parametrize(
    ("born", "expected"),
    [
        ("1990-04-09", "1989"),
        ("1990-04-11", "1990"),
        ("1990", "1989"),
        ("1936-11-28", "1936"),
        ("1920-01-01", "1936"),
    ],
)
def test_a_birth_date_is_its_year_and_those_over_89_share_one(born, expected):
    assert SHIFT.birth_year(born) == expected


def test_ages_over_89_are_90():
    def age(value, unit, system="http://unitsofmeasure.org"):
        made = {
            "resourceType": "Condition",
            "onsetAge": {"value": value, "unit": "y", "system": system, "code": unit},
        }
        return left_of(made | {"subject": {"reference": "Patient/known"}})[0].get("onsetAge")

    assert age(89, "a")["value"] == 89
    assert [age(*one)["value"] for one in ((90, "a"), (101, "a"), (1300, "mo"), (40_000, "d"))] == [90] * 4
    assert age(97, "years", "urn:own") is None


def test_dates_of_no_one_patient_are_years_and_instants_go():
    made = {"resourceType": "Provenance", "occurredDateTime": "2020-05-17", "recorded": "2020-05-17T01:02:03Z"}
    left, _ = left_of(made, shift=None)
    assert left["occurredDateTime"] == "2020"
    assert "recorded" not in left
    assert left["_recorded"]["extension"][0]["valueCode"] == "masked"


def test_a_place_is_a_state_and_three_digits_where_many_live():
    home = {
        "line": ["1 Main St"],
        "city": "Boston",
        "district": "Suffolk",
        "state": "MA",
        "postalCode": "02134-1234",
    }
    assert region_of(home | {"country": "US"}) == {"state": "MA", "postalCode": "021", "country": "US"}
    assert region_of({"state": "NH", "postalCode": "03601"})["postalCode"] == "000"
    assert region_of({"state": "Somewhere", "country": "France", "postalCode": "75001"}) == {}


def test_a_code_is_kept_when_it_is_one_of_a_system_that_many_use():
    hl7 = "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus"
    assert kept_code("http://snomed.info/sct", "44054006", frozenset()) == "44054006"
    assert kept_code("http://snomed.info/sct", "44054007", frozenset()) is None  # its check digit is wrong
    assert kept_code(hl7, "M", frozenset()) == "M"
    assert kept_code(hl7, "Quillon", frozenset()) is None
    assert kept_code("urn:own", "A1", frozenset()) is None
    assert kept_code("urn:own", "A1", frozenset({"urn:own"})) == "A1"
    assert kept_code("urn:own", "Quillon", frozenset({"urn:own"})) is None
    assert kept_unit("{Quillon}/min") == "/min"
    assert kept_unit("Quillon") is None


def test_a_patient_s_name_for_images_and_records_is_one():
    assert NAMES.patient_id(patient_text("HOSP", "17")) != NAMES.patient_id(patient_text("", "17"))
    assert NAMES.resource_id("Observation", "1") != NAMES.resource_id("Condition", "1")
    assert Pseudonyms(b"j" * 32).key_id != NAMES.key_id
