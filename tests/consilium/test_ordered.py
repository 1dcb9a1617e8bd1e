"""An image of another side than a ServiceRequest ordered is held with a reason, until a person has released it."""

from datetime import UTC, datetime

import pytest

from clinical.identity import PatientKey
from consilium.holding import Holding
from consilium.interlocks import OTHER_SIDE, Interlocks, contradicts_order
from consilium.operator import release_held_study
from consilium.selection import Selecting
from consilium.settings import load_settings
from consilium.wiring import House
from dicom_node.header import Header
from dicom_node.testing import CANARY_ID
from fhir_adapters.orders import ordered_side, orders_of
from fhir_adapters.publish import publish
from model_runtime.testing import CannedEngine
from record_store.instances import hold_study
from tests.consilium.nodule import radiograph

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
KEY = PatientKey("urn:h", CANARY_ID)
LEFT_BREAST = {"coding": [{"system": "http://snomed.info/sct", "code": "80248007"}]}


@pytest.mark.parametrize(
    ("image", "ordered", "contradicts"),
    [
        ({"image_laterality": "R"}, "L", True),
        ({"laterality": "L"}, "L", False),
        ({"image_laterality": "B"}, "L", False),
        ({}, "L", False),  # whether a side must be said is another question
        ({"image_laterality": "R"}, "B", False),
        ({"image_laterality": "R"}, "", False),
    ],
)
def test_an_image_contradicts_an_order_only_when_both_name_one_side(image, ordered, contradicts) -> None:
    assert contradicts_order([Header(**image)], ordered) is contradicts


def order(ident="o1", patient="p1", number="A77", **more) -> dict:
    return {
        "resourceType": "ServiceRequest",
        "id": ident,
        "status": "active",
        "intent": "order",
        "identifier": [{"system": "urn:ris", "value": number}],
        "subject": {"reference": f"Patient/{patient}"},
        "bodySite": [LEFT_BREAST],
    } | more


def chart(ident="p1", value=CANARY_ID) -> dict:
    return {"resourceType": "Patient", "id": ident, "identifier": [{"system": "urn:h", "value": value}]}


@pytest.mark.parametrize(
    ("resources", "side"),
    [
        ([chart(), order()], "L"),
        ([chart(), order(bodySite=[{"text": "Right knee"}])], "R"),
        ([chart(), order(bodySite=[], code={"text": "Mammography, left"})], "L"),
        ([chart(), order(bodySite=[], orderDetail=[{"text": "left"}], code={"text": "MG"})], "L"),
        ([chart(), order(status="revoked")], ""),
        ([chart(), order(number="B88")], ""),
        ([chart(), chart("p2", "2"), order(patient="p2")], ""),  # the number of another patient's order
        ([chart(), order(), order("o2", bodySite=[{"text": "right"}])], ""),
        ([order()], ""),
    ],
)
def test_an_order_is_found_by_patient_and_accession_number(store, resources, side) -> None:
    with store.write() as conn:
        publish(conn, resources, NOW)
        assert ordered_side(conn, KEY, "A77") == side
        assert ordered_side(conn, KEY, "") == ""


def merged(kind: str, ident: str, to: str, value: str) -> dict:
    return chart(ident, value) | {"link": [{"other": {"reference": f"Patient/{to}"}, "type": kind}]}


@pytest.mark.parametrize(
    ("charts", "is_theirs"),
    [
        ([merged("replaced-by", "old", "p1", "1"), chart()], True),
        ([chart("old", "1"), merged("replaces", "p1", "old", CANARY_ID)], True),
        ([merged("replaced-by", "old", "mid", "1"), merged("replaced-by", "mid", "p1", "2"), chart()], True),
        ([merged("seealso", "old", "p1", "1"), chart()], False),
        ([merged("replaced-by", "old", "p2", "1"), chart("p2", "2"), chart()], False),
    ],
)
def test_an_order_of_before_a_merge_is_the_merged_patients(store, charts, is_theirs) -> None:
    with store.write() as conn:
        publish(conn, [*charts, order(patient="old")], NOW)
        assert ordered_side(conn, KEY, "A77") == ("L" if is_theirs else "")


def ids(conn, system=""):
    return [one["id"] for one in orders_of(conn, KEY, "A77", system)]


def replacing(*gone, **more) -> dict:
    return {"replaces": [{"reference": f"ServiceRequest/{one}"} for one in gone]} | more


def test_the_order_that_replaces_a_revoked_one_is_the_studys_whatever_its_number(store) -> None:
    with store.write() as conn:
        publish(conn, [chart(), order(status="revoked")], NOW)
        assert ids(conn) == []
        publish(conn, [order("o2", number="B88", **replacing("o1", status="revoked"))], NOW)
        assert ids(conn) == []
        publish(conn, [order("o3", number="C99", **replacing("o2"))], NOW)
        assert ids(conn) == ["o3"]
        publish(conn, [chart("p2", "2"), order("o3", "p2", "C99", **replacing("o2"))], NOW)
        assert ids(conn) == []  # never another patient
        publish(conn, [order("o1", **replacing("o2", status="revoked"))], NOW)
        assert ids(conn) == []  # a circle


def test_the_number_of_another_issuer_is_another_order_of_the_patient(store) -> None:
    other = order("o2") | {"identifier": [{"system": "urn:other", "value": "A77"}]}
    with store.write() as conn:
        publish(conn, [chart(), order(), other], NOW)
        assert sorted(ids(conn)) == ["o1", "o2"]
        assert ids(conn, "urn:ris") == ["o1"]


@pytest.fixture
def study(make_study):
    one = make_study("lung-nodule", CannedEngine({}, {}), radiograph)
    one.arrives("a", ImageLaterality="R", AccessionNumber="A77")
    return one


def reason(study, interlocks=None):
    selecting = Selecting(study.blobs, study.steps.issuers)
    return Holding(study.db, selecting, interlocks or Interlocks()).reason(study.uid, {"DX"})


def test_the_other_side_than_was_ordered_holds_the_study_until_a_person_releases_it(
    study, tmp_path, monkeypatch
) -> None:
    with study.db.write() as conn:
        publish(conn, [chart(), order(number="A76")], NOW)
    assert reason(study) is None
    with study.db.write() as conn:
        publish(conn, [order("o2")], NOW)
    assert reason(study) == OTHER_SIDE
    assert reason(study, Interlocks(order=False)) is None
    with study.db.write() as conn:
        hold_study(conn, study.uid, OTHER_SIDE)
    monkeypatch.setattr(House, "db", study.db)
    release_held_study(load_settings(data_dir=tmp_path), study.uid, by="dr-blue", why="the order is wrong")
    assert reason(study) is None
