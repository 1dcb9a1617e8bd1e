"""FHIR resources -> the model's row: right numbers, right dates, and nothing guessed."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.errors import Fault
from fhir_adapters.features.diabetes_risk import feature_row
from model_runtime.tasks.risk import Feature
from model_runtime.testing import DIABETES_FEATURES

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
ANSWERS = (
    ("general_health", "Self-rated health", "", False, 1, 5),
    ("smoking", "Smoking", "", False, 0, 2),
    ("activity", "Activity", "", False, 0, 2),
    ("pregnancies", "Pregnancies", "{#}", False, 0, 20),
    ("fasting_insulin_u_ml", "Fasting insulin", "u[IU]/mL", False, 0, 1000),
)
FEATURES = tuple(Feature(*feature, (), None, "none") for feature in (*DIABETES_FEATURES, *ANSWERS))
LOINC, SNOMED = "http://loinc.org", "http://snomed.info/sct"
UCUM = "http://unitsofmeasure.org"
PATIENT = {"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1969-11-22"}


def obs(code, value, unit, at="2026-01-01", ident="o", **more):
    return {
        "resourceType": "Observation",
        "id": ident,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "effectiveDateTime": at,
        "valueQuantity": {"value": value, "system": UCUM, "code": unit},
    } | more


def row_of(*resources, patient=PATIENT):
    return feature_row([patient, *resources], FEATURES, NOW)


def reason_of(row, name):
    return next(missing.reason for missing in row.missing if missing.name == name)


def value_of(name, *resources, patient=PATIENT):
    return row_of(*resources, patient=patient).values[name]


@pytest.mark.parametrize(
    ("name", "resource", "value"),
    [
        ("bmi", obs("39156-5", 31.2, "kg/m2"), 31.2),
        ("bmi", obs("39156-5", Decimal("31.20"), "kg/m2"), 31.2),
        ("waist_cm", obs("8280-0", 101, "cm"), 101),
        ("waist_cm", obs("8280-0", 1.01, "m"), 101),
        ("waist_cm", obs("8280-0", 40, "[in_i]"), 101.6),
        ("diastolic_mm_hg", obs("8462-4", 84, "mm[Hg]"), 84),
        ("fasting_glucose_mg_dl", obs("1558-6", 99, "mg/dL"), 99),
        ("fasting_glucose_mg_dl", obs("1558-6", 0.99, "g/L"), 99),
        ("fasting_glucose_mg_dl", obs("1558-6", 5500, "umol/L"), 99.0858),
        ("fasting_insulin_u_ml", obs("27873-9", 9.7, "u[IU]/mL"), 9.7),
        ("fasting_insulin_u_ml", obs("27873-9", 9.7, "m[IU]/L"), 9.7),
        ("fasting_insulin_u_ml", obs("27873-9", 60, "pmol/L"), 10),  # 6.0 pmol/L a unit
        ("pregnancies", obs("11996-6", 3, "{#}"), 3),
        ("fasting_glucose_mg_dl", obs("14771-0", 5.5, "mmol/L"), 99.0858),  # 5.5 x 180.156 / 10
    ],
)
def test_values_come_in_the_models_unit(name, resource, value):
    assert value_of(name, resource) == pytest.approx(value)


def test_a_pressure_is_read_from_its_panel():
    parts = [
        {"code": {"coding": [{"system": "http://loinc.org", "code": c}]},
         "valueQuantity": {"value": v, "system": UCUM, "code": "mm[Hg]"}}
        for c, v in (("8480-6", 131), ("8462-4", 84))
    ]  # fmt: skip
    panel = obs("85354-9", 0, "x", component=parts)
    del panel["valueQuantity"]
    assert value_of("diastolic_mm_hg", panel) == 84


def test_bmi_is_computed_from_height_and_weight_when_nobody_recorded_it():
    row = row_of(obs("8302-2", 172, "cm", "2019-01-01"), obs("29463-7", 81, "kg", "2026-02-03", "w"))
    assert row.values["bmi"] == pytest.approx(27.379664)  # 81 / 1.72^2, by hand
    used = next(item for item in row.used if item.name == "bmi")
    assert (used.shown, used.source, used.taken_at.date().isoformat()) == (
        "27.4 (from 172 cm and 81 kg)",
        "Observation/w",
        "2026-02-03",
    )


def test_a_recorded_bmi_goes_before_a_computed_one_and_a_bad_one_is_not_replaced():
    both = (obs("8302-2", 172, "cm"), obs("29463-7", 81, "kg"))
    assert value_of("bmi", *both, obs("39156-5", 30, "kg/m2")) == 30
    assert math.isnan(value_of("bmi", *both, obs("39156-5", 30, "lb/in2")))


def test_a_childs_height_makes_no_bmi_of_an_adult():
    young = (obs("8302-2", 140, "cm", "1981-01-01"), obs("29463-7", 81, "kg"))
    assert "childhood" in reason_of(row_of(*young), "bmi")


@pytest.mark.parametrize(
    "quantity",
    [
        {"value": 40, "unit": "inches"},
        {"value": 101},
        {"value": 101, "system": "http://other", "code": "cm"},
        {"value": 101, "unit": "cm", "code": "cm"},
        {"value": 101, "unit": "cm", "system": UCUM},
        {"value": 101, "system": UCUM, "code": "kg"},
        {"value": 101, "system": UCUM, "code": ["cm"]},
    ],
)
def test_a_unit_that_is_not_certain_makes_the_input_missing_and_says_so(quantity):
    row = row_of(obs("8280-0", 0, "cm", valueQuantity=quantity))
    assert math.isnan(row.values["waist_cm"])
    assert "unit" in reason_of(row, "waist_cm")


def test_a_unit_without_any_code_counts_when_it_is_spelled_as_ucum():
    assert value_of("waist_cm", obs("8280-0", 0, "x", valueQuantity={"value": 101, "unit": "cm"})) == 101


@pytest.mark.parametrize(
    "quantity",
    [
        {"value": "101"},
        {"value": True},
        {"value": float("nan")},
        {},
        [],
        None,
        {"value": 101, "comparator": "<", "system": UCUM, "code": "cm"},
    ],
)
def test_what_is_no_plain_number_is_no_value(quantity):
    assert reason_of(row_of(obs("8280-0", 0, "cm", valueQuantity=quantity)), "waist_cm") == "none recorded"


@pytest.mark.parametrize("value", [39.9, 250.1, -1, 10100])
def test_an_implausible_value_is_missing_and_says_so(value):
    assert "outside 40 to 250 cm" in reason_of(row_of(obs("8280-0", value, "cm")), "waist_cm")


@pytest.mark.parametrize("value", [40, 250])
def test_the_ends_of_the_plausible_range_belong_to_it(value):
    assert value_of("waist_cm", obs("8280-0", value, "cm")) == value


def test_the_newest_value_counts_whatever_the_order_and_the_zone():
    older = obs("8280-0", 90, "cm", "2026-01-02T00:30:00+02:00", "old")  # 2026-01-01T22:30Z
    newer = obs("8280-0", 95, "cm", "2026-01-01T23:00:00Z", "new")
    assert value_of("waist_cm", older, newer) == value_of("waist_cm", newer, older) == 95


def test_a_newer_unusable_value_is_not_hidden_behind_an_older_good_one():
    row = row_of(obs("8280-0", 90, "cm", "2025-01-01"), obs("8280-0", 36, "inch", "2026-01-01"))
    assert math.isnan(row.values["waist_cm"])


@pytest.mark.parametrize("status", ["entered-in-error", "cancelled", "registered", "unknown"])
def test_what_is_withdrawn_or_not_yet_a_result_is_ignored(status):
    good, bad = obs("8280-0", 90, "cm", "2025-01-01"), obs("8280-0", 99, "cm", "2026-01-01", status=status)
    assert value_of("waist_cm", good, bad) == 90


def test_a_value_of_the_future_is_ignored():
    assert value_of("waist_cm", obs("8280-0", 90, "cm", "2026-11-25"), obs("8280-0", 91, "cm", "2026-11-22")) == 91


@pytest.mark.parametrize("at", ["2026", "2026-01", "2026-13-01", "yesterday", None, 7])
def test_a_value_without_a_day_is_missing_and_says_so(at):
    assert "date" in reason_of(row_of(obs("8280-0", 90, "cm", at)), "waist_cm")


def test_the_day_shown_is_the_day_that_was_written():
    row = row_of(obs("8280-0", 90, "cm", "2026-03-01T00:30:00+05:30"))
    assert next(item for item in row.used if item.name == "waist_cm").taken_at.date().isoformat() == "2026-03-01"


def test_the_end_of_a_period_is_its_date():
    period = obs("8280-0", 90, "cm", effectivePeriod={"start": "2026-01-01", "end": "2026-01-05"})
    del period["effectiveDateTime"]
    assert value_of("waist_cm", period) == 90


@pytest.mark.parametrize(
    ("born", "age", "shown"),
    [
        ("1969-11-22", 57, "57"),
        ("1969-11-23", 56, "56"),
        ("1969-11", 56, "56 or 57"),
        ("1969-12", 56, "56"),
        ("1969-10", 57, "57"),
        ("1969", 56, "56 or 57"),
    ],
)
def test_age_is_counted_to_today_and_an_inexact_birth_date_says_so(born, age, shown):
    row = row_of(patient=PATIENT | {"birthDate": born})
    assert row.values["age"] == age
    assert row.used[0].shown == shown


@pytest.mark.parametrize("born", ["2027-01-01", "1969-13", "69", "1969-02-30", "", None, 1969, "1969-1-1", "0000"])
def test_a_birth_date_that_cannot_be_leaves_the_age_missing(born):
    assert math.isnan(value_of("age", patient=PATIENT | {"birthDate": born}))


@pytest.mark.parametrize(("gender", "value"), [("male", 1), ("female", 0)])
def test_sex_is_the_administrative_gender(gender, value):
    assert value_of("sex_male", patient=PATIENT | {"gender": gender}) == value


@pytest.mark.parametrize("gender", ["other", "unknown", None, 1, ["male"]])
def test_another_gender_is_missing_and_required(gender):
    row = row_of(patient=PATIENT | {"gender": gender})
    assert [m.required for m in row.missing if m.name == "sex_male"] == [True]


def relative(role="MTH", system="http://snomed.info/sct", code="73211009", **more):
    role_system = "http://terminology.hl7.org/CodeSystem/v3-RoleCode"
    return {
        "resourceType": "FamilyMemberHistory",
        "id": "f",
        "status": "completed",
        "relationship": {"coding": [{"system": role_system, "code": role}]},
        "condition": [{"code": {"coding": [{"system": system, "code": code}]}}],
    } | more


@pytest.mark.parametrize(
    "history",
    [
        relative(),
        relative("NBRO", code="46635009"),
        relative("DAUC", code="44054006"),
        relative("FTH", "http://hl7.org/fhir/sid/icd-10-cm", "E11.9"),
        relative("FTH", "http://hl7.org/fhir/sid/icd-10", "E10"),
    ],
)
def test_diabetes_of_a_first_degree_relative_is_family_history(history):
    assert value_of("family_history", history) == 1


@pytest.mark.parametrize(
    "history",
    [
        relative("GRMTH"),
        relative("HBRO"),
        relative("MTHINLAW"),
        relative("ADOPTF"),
        relative(code="38341003"),
        relative("MTH", "http://hl7.org/fhir/sid/icd-10-cm", "O24.4"),
        relative(status="entered-in-error"),
        relative(status="health-unknown"),
        relative(condition=[{"code": {"text": "Diabetes"}}]),
        relative(condition="diabetes"),
    ],
)
def test_anything_else_is_not_recorded_and_not_a_no(history):
    row = row_of(history)
    assert math.isnan(row.values["family_history"])
    assert reason_of(row, "family_history") == "none recorded"


def test_an_explicit_denial_is_a_no_unless_a_relative_is_recorded():
    denial = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://snomed.info/sct", "code": "160274005"}]},
    }
    assert value_of("family_history", denial) == 0
    assert value_of("family_history", denial, relative()) == 1


def test_a_feature_that_nobody_reads_is_our_fault():
    with pytest.raises(Fault):
        feature_row([PATIENT], [Feature("race", "Race", "", False, 0, 1, (), None, "none")], NOW)


def test_the_row_has_the_manifests_order():
    assert list(row_of().values) == [feature.name for feature in FEATURES]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
    | st.sampled_from(["Observation", "FamilyMemberHistory", "http://loinc.org", "8280-0", "0001-01-01", "cm",
                       UCUM, "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["resourceType", "code", "coding", "system", "valueQuantity", "value", "component", "id",
                         "effectiveDateTime", "meta", "relationship", "condition", "status", "birthDate"]),
        inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from([*obs("8280-0", 90, "cm"), "component", "meta"]), JSON))
def test_no_resource_of_another_system_can_raise(changes):
    value = value_of("waist_cm", obs("8280-0", 90, "cm") | changes)
    assert math.isnan(value) or 40 <= value <= 250


@given(
    st.dictionaries(st.sampled_from(["birthDate", "gender", "status", "relationship", "condition", "id"]), JSON)
)
def test_no_patient_or_relative_of_another_system_can_raise(changes):
    row_of(relative() | changes, patient=PATIENT | changes)


def answered(code, system, answer, at="2026-01-01"):
    resource = obs(code, 0, "x", at, valueCodeableConcept={"coding": [{"system": system, "code": answer}]})
    del resource["valueQuantity"]
    return resource


@pytest.mark.parametrize(
    ("name", "resource", "value", "shown"),
    [
        ("general_health", answered("61577-3", LOINC, "LA9206-9"), 1, "excellent"),
        ("general_health", answered("61577-3", LOINC, "LA13913-1"), 2, "very good"),
        ("general_health", answered("11323-3", LOINC, "LA8969-3"), 5, "poor"),
        ("general_health", answered("11323-3", SNOMED, "135815002"), 3, "good"),
        ("smoking", answered("72166-2", SNOMED, "266919005"), 0, "never"),
        ("smoking", answered("72166-2", SNOMED, "8517006"), 1, "former"),
        ("smoking", answered("72166-2", SNOMED, "428041000124106"), 2, "current, some days"),
    ],
)
def test_answers_are_read_by_their_codes(name, resource, value, shown):
    row = row_of(resource)
    assert row.values[name] == value
    assert next(item.shown for item in row.used if item.name == name) == shown


@pytest.mark.parametrize(
    ("name", "resource"),
    [
        ("smoking", answered("72166-2", SNOMED, "266927001")),  # unknown if ever smoked
        ("smoking", answered("72166-2", LOINC, "266919005")),
        ("general_health", answered("11323-3", SNOMED, "81323004")),  # alive and well: no rating
        ("pregnancies", obs("11996-6", 3, "mg/dL")),
    ],
)
def test_an_answer_that_is_not_understood_is_missing_and_says_so(name, resource):
    row = row_of(resource)
    assert math.isnan(row.values[name])
    assert "not one that is understood" in reason_of(row, name)


def test_days_of_exercise_say_that_there_is_some_and_only_the_vigorous_code_says_how_much():
    assert value_of("activity", obs("89555-7", 0, "d/wk")) == 0
    assert value_of("activity", obs("89555-7", 3, "d/wk")) == 1
    assert value_of("activity", obs("89555-7", 3, "d/wk"), obs("77593-2", 30, "min/wk", ident="v")) == 2
    assert value_of("activity", obs("89555-7", 3, "d/wk"), obs("77593-2", 0, "min/wk", ident="v")) == 1


def test_a_count_without_a_unit_is_a_count():
    resource = obs("11996-6", 0, "x", valueInteger=2)
    del resource["valueQuantity"]
    assert value_of("pregnancies", resource) == 2


def test_pregnancies_are_not_read_of_men():
    row = row_of(obs("11996-6", 3, "{#}"), patient=PATIENT | {"gender": "male"})
    assert reason_of(row, "pregnancies") == "not asked of men"


@pytest.mark.parametrize(
    ("name", "resource"),
    [
        ("waist_cm", obs("8280-0", 101, "cm", "2025-11-21")),
        ("smoking", answered("72166-2", SNOMED, "8517006", "2025-11-21")),
        ("pregnancies", obs("11996-6", 3, "{#}", "2025-11-21")),
    ],
)
def test_a_value_older_than_the_look_back_is_missing_and_says_so(name, resource):
    features = [replace(feature, look_back_days=365) for feature in FEATURES]
    row = feature_row([PATIENT, resource], features, NOW)
    assert reason_of(row, name) == "the newest value is older than 365 days"
    newer = resource | {"effectiveDateTime": "2025-11-23"}
    assert not math.isnan(feature_row([PATIENT, newer], features, NOW).values[name])


def test_a_height_has_no_look_back_because_adults_do_not_grow():
    features = [replace(feature, look_back_days=365) for feature in FEATURES]
    measured = (obs("8302-2", 172, "cm", "2012-01-01"), obs("29463-7", 81, "kg", "2026-02-03", "w"))
    assert feature_row([PATIENT, *measured], features, NOW).values["bmi"] == pytest.approx(27.379664)
