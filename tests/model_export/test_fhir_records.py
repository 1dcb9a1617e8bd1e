import json
from datetime import UTC, datetime

import numpy as np
import pytest

from clinical.errors import IncorrectInput
from fhir_adapters.features.diabetes_risk import feature_row
from model_export.datasets import fhir_records
from model_export.datasets.splits import Split
from model_runtime.tasks.risk import Feature
from model_runtime.testing import DIABETES_FEATURES

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FEATURES = tuple(Feature(*feature, (), None, "none") for feature in DIABETES_FEATURES)
NAMES = [feature.name for feature in FEATURES]


def patient(ident, *, identifier=None, born="1969-11-22"):
    found = {"resourceType": "Patient", "id": ident, "gender": "female", "birthDate": born}
    return found | ({"identifier": [{"system": "urn:mrn", "value": v} for v in identifier]} if identifier else {})


def observation(ident, code="39156-5", value=31.2, unit="kg/m2", at="2023-05-01", subject=None):
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"reference": subject or f"Patient/{ident}"},
        "effectiveDateTime": at,
        "valueQuantity": {"value": value, "system": "http://unitsofmeasure.org", "code": unit},
    }


def bundle(folder, name, *resources, addresses=()):
    entries = [{"resource": one} for one in resources]
    for entry, address in zip(entries, addresses, strict=False):
        entry["fullUrl"] = address
    (folder / name).write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))


def labels(folder, *rows, header="patient,label"):
    (folder / "labels.csv").write_text("\n".join([header, *rows]))
    return folder


def load(folder, **more):
    return fhir_records.load(folder, FEATURES, NOW, **more)


def value(records, name, row=0):
    return records.features[row, NAMES.index(name)]


def test_a_bundle_becomes_the_row_that_the_server_would_score(tmp_path):
    glucose = observation("p1", "14771-0", 5.5, "mmol/L")
    chart = [patient("p1"), observation("p1"), glucose]
    bundle(tmp_path, "a.json", *chart)
    records = load(labels(tmp_path, "p1,1"))
    server = feature_row(chart, FEATURES, NOW).values
    assert records.features[0].tolist() == pytest.approx([server[name] for name in NAMES], nan_ok=True)
    assert value(records, "bmi") == 31.2
    assert value(records, "fasting_glucose_mg_dl") == pytest.approx(99.0858)  # 5.5 x 180.156 / 10
    assert np.isnan(value(records, "waist_cm"))
    assert records.outcome.tolist() == [True]


def test_bulk_data_files_are_joined_by_reference_whatever_their_order(tmp_path):
    people = [patient("p1"), patient("p2")]
    values = [observation("p2", value=22.0), observation("p1"), observation("p9")]
    (tmp_path / "Observation.ndjson").write_text("\n".join(map(json.dumps, values)) + "\n\n")
    (tmp_path / "Patient.ndjson").write_text("\n".join(map(json.dumps, people)))
    records = load(labels(tmp_path, "Patient/p2,0", "p1,1"))
    assert records.patient == ("p2", "p1")
    assert [value(records, "bmi", row) for row in (0, 1)] == [22.0, 31.2]


def test_addresses_within_a_bundle_are_followed(tmp_path):
    addressed = observation("x", subject="urn:uuid:1")
    absolute = observation("x", "8280-0", 101, "cm", subject="https://ehr.example/fhir/Patient/p1/_history/2")
    bundle(tmp_path, "a.json", patient("p1"), addressed, absolute, addresses=["urn:uuid:1"])
    bundle(tmp_path, "b.json", patient("p2"), observation("x", value=22.0, subject="urn:uuid:1"),
           addresses=["urn:uuid:1"])  # fmt: skip
    records = load(labels(tmp_path, "p1,1", "p2,0"))
    assert value(records, "bmi") == 31.2
    assert value(records, "waist_cm") == 101
    assert value(records, "bmi", 1) == 22.0


def test_what_was_measured_after_the_question_is_not_read_because_it_tells_the_answer(tmp_path):
    late = observation("p1", value=40.0, at="2024-06-01")
    bundle(tmp_path, "a.json", patient("p1"), observation("p1"), late)
    records = load(labels(tmp_path, "p1,1,2024-03-01", header="patient,label,at"))
    assert value(records, "bmi") == 31.2
    assert value(records, "age") == 54  # at the question, not today
    assert value(load(labels(tmp_path, "p1,1")), "bmi") == 40.0


def test_a_patient_may_be_asked_about_twice_and_stays_one_group(tmp_path):
    bundle(tmp_path, "a.json", patient("p1"), patient("p2"))
    rows = ("p1,0,2023-01-01", "p2,0,2023-01-01", "p1,1,2024-01-01")
    records = load(labels(tmp_path, *rows, header="patient,label,at"))
    assert records.groups.tolist() == [0, 1, 0]
    with pytest.raises(IncorrectInput, match="1 of 1 test rows"):
        Split(np.array([0, 1]), np.array([2]), records.groups)


def test_one_person_under_two_ids_is_one_group(tmp_path):
    bundle(tmp_path, "a.json", patient("p1", identifier=["7"]), patient("p2", identifier=["8"]),
           patient("p3", identifier=["9", "7"]))  # fmt: skip
    assert load(labels(tmp_path, "p1,1", "p2,0", "p3,0")).groups.tolist() == [0, 1, 0]


def test_patients_without_a_label_are_left_out_and_counted(tmp_path):
    bundle(tmp_path, "a.json", patient("p1"), patient("p2"), observation("p2"))
    records = load(labels(tmp_path, "p1,1"))
    assert (len(records.features), records.unlabelled) == (1, 1)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("p9,1,", "labels.csv, line 2: patient has no Patient resource"),
        ("p1,yes,", "labels.csv, line 2: label must be one of 0, 1"),
        ("p1,1,March", "labels.csv, line 2: at is no date"),
        ("p1,1,2024-03-01T10:00:00", "labels.csv, line 2: at is no date"),
    ],
)
def test_a_label_that_cannot_be_used_is_named_with_its_line(tmp_path, row, words):
    bundle(tmp_path, "a.json", patient("p1"))
    with pytest.raises(IncorrectInput, match=words):
        load(labels(tmp_path, row, header="patient,label,at"))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", "{", "a.json: not JSON"),
        ("a.json", "[]", "a.json: the JSON text is not an object"),
        ("a.json", "{}", "a.json: no FHIR resource"),
        ("a.json", '{"resourceType": "Patient"}', "a.json: a Patient has no id"),
        ("a.ndjson", '{"resourceType": "Patient", "id": "p"}\n{"a": 1, "a": 2}', "a.ndjson, line 2: "),
    ],
)
def test_a_file_that_is_no_fhir_is_named(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(IncorrectInput, match=words):
        load(labels(tmp_path, "p1,1"))


def test_two_patients_with_one_id_are_never_mixed(tmp_path):
    bundle(tmp_path, "a.json", patient("1", identifier=["A"]))
    bundle(tmp_path, "b.json", patient("1", identifier=["B"]))
    with pytest.raises(IncorrectInput, match=r"b.json: another Patient has the same id"):
        load(labels(tmp_path, "1,1"))


def test_the_same_patient_in_two_files_is_one_chart(tmp_path):
    bundle(tmp_path, "a.json", patient("p1"))
    bundle(tmp_path, "b.json", patient("p1"), observation("p1"))
    assert value(load(labels(tmp_path, "p1,1")), "bmi") == 31.2
