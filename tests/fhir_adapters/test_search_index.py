"""What of a resource can be found: the rows of its index, worked out by hand."""

from decimal import Decimal

import pytest

from fhir_adapters.search.index import index_of
from fhir_adapters.search.numbers import significant_range
from record_store.index_rows import QuantityRow, ReferenceRow, StringRow, TokenRow, UriRow

LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
INF = float("inf")


def rows_of(resource_type, **elements):
    return index_of({"resourceType": resource_type, **elements}, "http://us.example/fhir").rows


def quantities(name, **elements):
    found = rows_of("Observation", **elements).quantities
    return [row for row in found if row.param == name]


def kilograms(value, **more):
    return {"value": value, "unit": "kilogram", "system": UCUM, "code": "kg", **more}


# ---------------------------------------------------------------- quantity and number


@pytest.mark.parametrize(
    ("sent", "lo", "hi"),
    [
        (kilograms(Decimal("72.50")), 72.5, 72.5),
        (kilograms(5, comparator="<"), -INF, 5.0),
        (kilograms(5, comparator="<="), -INF, 5.0),
        (kilograms(5, comparator=">"), 5.0, INF),
        (kilograms(5, comparator=">="), 5.0, INF),
    ],
)
def test_a_quantity_is_exact_and_its_comparator_opens_one_end(sent, lo, hi):
    canonical = (lo * 1000, hi * 1000, "g")
    row = QuantityRow("value-quantity", lo, hi, UCUM, "kg", "kilogram", *canonical)
    assert quantities("value-quantity", valueQuantity=sent) == [row]


def test_the_same_amount_in_two_units_is_one_canonical_value():
    grams = {"value": Decimal("72500"), "system": UCUM, "code": "g"}
    one, other = (quantities("value-quantity", valueQuantity=each)[0] for each in (kilograms(72.5), grams))
    assert one[6:9] == other[6:9] == (72500.0, 72500.0, "g")


@pytest.mark.parametrize(
    "unit", [{}, {"unit": "drops"}, {"system": "urn:x", "code": "kg"}, {"system": UCUM, "code": "nonsense?"}]
)
def test_a_quantity_without_a_known_unit_has_its_own_bounds_for_canonical_ones(unit):
    (row,) = quantities("value-quantity", valueQuantity={"value": 3, **unit})
    assert (row.canon_lo, row.canon_hi, row.canon_unit) == (3.0, 3.0, "")
    assert (row.system, row.code, row.unit) == tuple(unit.get(name, "") for name in ("system", "code", "unit"))


@pytest.mark.parametrize("value", [None, "5", True, [], {}])
def test_a_quantity_without_a_number_makes_no_row(value):
    assert not quantities("value-quantity", valueQuantity={"value": value})
    assert not quantities("value-quantity", valueQuantity=value)


def test_a_series_is_found_by_its_least_and_greatest_value():
    origin = {"value": 0, "system": UCUM, "code": "/min"}
    series = {"origin": origin, "period": 1000, "dimensions": 1, "factor": 2, "data": "30 E 35 U 40"}
    (row,) = quantities("value-quantity", valueSampledData=series)
    assert (row.lo, row.hi, row.code) == (60.0, 80.0, "/min")


def test_a_range_is_open_where_an_end_is_left_out():
    ages = rows_of("Condition", onsetRange={"low": {"value": 40, "system": UCUM, "code": "a"}}).quantities
    assert [(row.param, row.lo, row.hi, row.code) for row in ages] == [("onset-age", 40.0, INF, "a")]
    both = rows_of("Condition", onsetRange={"low": {"value": 4}, "high": {"value": 5}}).quantities
    assert [(row.lo, row.hi) for row in both] == [(4.0, 5.0)]


GLUCOSE, WEIGHT = "2345-7", "29463-7"


@pytest.mark.parametrize(
    ("code", "sent", "canonical"),
    [
        (GLUCOSE, ("126", "mg/dL"), {"g.m-3": 1260.0, "m-3": 1260 / 180.156 * 6.02214076e23}),
        (GLUCOSE, ("7", "mmol/L"), {"g.m-3": 7 * 180.156, "m-3": 7 * 6.02214076e23}),
        (WEIGHT, ("126", "mg/dL"), {"g.m-3": 1260.0}),
        (GLUCOSE, ("126", "kg"), {"g": 126000.0}),
    ],
)
def test_a_substance_is_found_by_mass_and_by_amount(code, sent, canonical):
    value, unit = sent
    found = quantities(
        "value-quantity",
        code={"coding": [{"system": LOINC, "code": code}]},
        valueQuantity={"value": Decimal(value), "system": UCUM, "code": unit},
    )
    assert {row.canon_unit: row.canon_lo for row in found} == pytest.approx(canonical)
    assert {(row.lo, row.code) for row in found} == {(float(value), unit)}


def test_a_component_s_own_code_says_what_it_is_of_and_open_ends_stay_open():
    glucose = {"coding": [{"system": LOINC, "code": GLUCOSE}]}
    low = {"value": 30, "system": UCUM, "code": "mg/dL", "comparator": "<"}
    parts = [{"code": glucose, "valueQuantity": low}, {"code": {"text": "x"}, "valueQuantity": low}]
    found = quantities("component-value-quantity", code=glucose, component=parts)
    assert [(row.part, row.canon_unit, row.canon_lo) for row in found] == [
        (1, "g.m-3", -INF),
        (2, "g.m-3", -INF),
        (1, "m-3", -INF),
    ]


def test_a_number_has_no_unit():
    found = rows_of("RiskAssessment", prediction=[{"probabilityDecimal": Decimal("37.0")}]).quantities
    assert found == (QuantityRow("probability", 37.0, 37.0, "", "", "", 37.0, 37.0, ""),)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("100", ("100", "99.5", "100.5")),
        ("5.40", ("5.40", "5.395", "5.405")),
        ("-0.1", ("-0.1", "-0.15", "-0.05")),
        ("1e2", ("100", "50", "150")),
        ("0", ("0", "-0.5", "0.5")),
        ("five", None),
        ("NaN", None),
        ("", None),
        ("1" * 41, None),
    ],
)
def test_the_digits_of_what_is_searched_for_make_a_range(text, found):
    assert significant_range(text) == (found if found is None else tuple(map(Decimal, found)))


# ---------------------------------------------------------------- parts of a composite


def test_rows_of_one_component_have_one_part_and_the_resource_has_none():
    pressure = [
        {"code": {"coding": [{"system": LOINC, "code": code}]}, "valueQuantity": {"value": value}}
        for code, value in (("8480-6", 120), ("8462-4", 80))
    ]
    rows = rows_of("Observation", code={"coding": [{"system": LOINC, "code": "85354-9"}]}, component=pressure)
    assert [(row.param, row.part, row.code) for row in rows.tokens] == [
        ("code", 0, "85354-9"),
        ("component-code", 1, "8480-6"),
        ("component-code", 2, "8462-4"),
    ]
    assert [(row.param, row.part, row.lo) for row in rows.quantities] == [
        ("component-value-quantity", 1, 120.0),
        ("component-value-quantity", 2, 80.0),
    ]


# ---------------------------------------------------------------- token


def test_a_concept_is_found_by_each_coding_and_by_its_words():
    code = {"coding": [{"system": LOINC, "code": "4548-4", "display": "HbA1c  Blut"}], "text": "Zucker (lang)"}
    assert rows_of("Observation", code=code).tokens == (
        TokenRow("code", LOINC, "4548-4", "hba1c blut"),
        TokenRow("code", "", "", "zucker (lang)"),
    )


def test_an_identifier_is_found_by_its_type_too():
    kind = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]}
    sent = {"system": "urn:oid:1.2", "value": "17", "type": kind | {"text": "Record"}}
    assert rows_of("Patient", identifier=[sent], active=True).tokens == (
        TokenRow("identifier", "urn:oid:1.2", "17", "record"),
        TokenRow("identifier:of-type", "http://terminology.hl7.org/CodeSystem/v2-0203", "MR|17"),
        TokenRow("active", "", "true"),
        TokenRow("deceased", "", "false"),
    )


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({}, "false"),
        ({"deceasedBoolean": False}, "false"),
        ({"deceasedBoolean": True}, "true"),
        ({"deceasedDateTime": "2024"}, "true"),
    ],
)
def test_a_patient_who_is_not_said_to_be_dead_is_found_alive(elements, code):
    assert [row.code for row in rows_of("Patient", **elements).tokens if row.param == "deceased"] == [code]


def test_a_telephone_is_a_phone_and_not_an_email():
    telecom = [{"system": "phone", "value": "555"}, {"system": "email", "value": "a@b.example"}]
    assert sorted(row[:3] for row in rows_of("Practitioner", telecom=telecom).tokens) == [
        ("email", "email", "a@b.example"),
        ("phone", "phone", "555"),
        ("telecom", "email", "a@b.example"),
        ("telecom", "phone", "555"),
    ]


# ---------------------------------------------------------------- string, uri, reference, date


def test_a_name_and_an_address_are_found_by_each_of_their_parts():
    rows = rows_of(
        "Patient", name=[{"family": "Łoś", "given": ["Ana"]}], address=[{"line": ["Via 1"], "city": "Rom"}]
    )
    assert sorted(rows.strings) == [
        StringRow("address", "rom", "Rom"),
        StringRow("address", "via 1", "Via 1"),
        StringRow("address-city", "rom", "Rom"),
        StringRow("family", "łos", "Łoś"),
        StringRow("given", "ana", "Ana"),
        StringRow("name", "ana", "Ana"),
        StringRow("name", "łos", "Łoś"),
    ]


def test_a_canonical_is_found_with_and_without_its_version():
    rows = rows_of(
        "QuestionnaireResponse", meta={"profile": ["http://x/p|2"]}, questionnaire="http://x/Questionnaire/q|1"
    )
    assert rows.uris == (UriRow("_profile", "http://x/p|2"), UriRow("_profile", "http://x/p"))
    assert rows.references == (
        ReferenceRow("questionnaire", "", "http://x/Questionnaire/q|1"),
        ReferenceRow("questionnaire", "", "http://x/Questionnaire/q"),
    )


def test_a_reference_that_only_names_an_identifier_is_found_by_it():
    named = {"type": "Patient", "identifier": {"system": "urn:oid:1.2", "value": "17"}}
    rows = rows_of("Observation", subject=named)
    assert rows.references == ()
    assert rows.tokens == (TokenRow("subject:identifier", "urn:oid:1.2", "17"),)


def test_a_reference_of_ours_is_local_and_one_of_elsewhere_is_a_url():
    for sent, row in (
        ("http://us.example/fhir/Patient/p1", ("Patient", "p1")),
        ("Patient/p1/_history/3", ("Patient", "p1")),
        ("http://other.example/fhir/Patient/p1", ("", "http://other.example/fhir/Patient/p1")),
    ):
        assert rows_of("Observation", subject={"reference": sent}).references == (ReferenceRow("subject", *row),)
    assert rows_of("Observation", subject={"reference": "#p"}).references == ()


@pytest.mark.parametrize(
    ("timing", "ends"),
    [
        ({"event": ["2024-03-01", "2024-01-01"]}, ("2024-01-01", "2024-03-01")),
        ({"repeat": {"boundsPeriod": {"start": "2024-01-01", "end": "2024-02"}}}, ("2024-01-01", "2024-02-29")),
        ({"event": ["2024-05-01"], "repeat": {"boundsPeriod": {"end": "2024-02"}}}, ("0001-01-01", "2024-05-01")),
        ({"repeat": {"frequency": 1}}, None),
    ],
)
def test_of_a_timing_only_the_outer_limits_count(timing, ends):
    found = rows_of("Observation", effectiveTiming=timing).dates
    assert [(row.lo[:10], row.hi[:10]) for row in found] == ([ends] if ends else [])


# ---------------------------------------------------------------- hot columns


def test_the_hot_columns_say_what_the_rows_say():
    sent = {
        "resourceType": "MedicationRequest",
        "subject": {"reference": "Patient/p1"},
        "authoredOn": "2024-05-17",
        "medicationCodeableConcept": {"coding": [{"system": "urn:x", "code": "a"}]},
    }
    found = index_of(sent, "")
    assert (found.patient, found.code, found.date_lo) == ("p1", "urn:x|a", "2024-05-17T00:00:00.000000Z")
    other = index_of(sent | {"subject": {"reference": "Group/g1"}}, "")
    assert other.patient is None


def test_what_has_another_shape_than_its_type_makes_no_row():
    for wrong in (None, True, 5, "x", [], [[]], {}, [{}], {"coding": 5}, {"reference": []}, [None]):
        names = (
            "code",
            "subject",
            "effectivePeriod",
            "valueQuantity",
            "component",
            "identifier",
            "meta",
            "category",
        )
        found = index_of({"resourceType": "Observation", **dict.fromkeys(names, wrong)}, "")
        assert found == index_of({"resourceType": "Observation"}, ""), wrong
        names = ("name", "address", "telecom", "link")
        found = index_of({"resourceType": "Patient", **dict.fromkeys(names, wrong)}, "")
        assert found == index_of({"resourceType": "Patient"}, ""), wrong


# ---------------------------------------------------------------- through the door


def test_glucose_in_either_unit_is_found_by_both(client):
    for value, unit in (("126", "mg/dL"), ("7.0", "mmol/L"), ("90", "mg/dL")):
        sent = {
            "resourceType": "Observation",
            "status": "final",
            "code": {"coding": [{"system": LOINC, "code": GLUCOSE}]},
            "valueQuantity": {"value": float(value), "system": UCUM, "code": unit, "unit": unit},
        }
        assert client.post("/fhir/Observation", json=sent).status_code == 201
    for asked in ("7.0||mmol/L", "126||mg/dL", f"ge6.9|{UCUM}|mmol/L", "ge1.2||g/L"):
        found = client.get("/fhir/Observation", query_string={"value-quantity": asked}).get_json(force=True)
        values = sorted(each["resource"]["valueQuantity"]["value"] for each in found["entry"])
        assert values == [7.0, 126.0], asked
