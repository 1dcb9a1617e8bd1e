"""Orders: asked once a study, believed for this patient alone, compared with what the images say."""

from datetime import UTC, datetime, timedelta

import pytest

from clinical.identity import PatientKey
from consilium.circuit import PAUSE_S, ArchiveCircuits
from consilium.explain.prior_words import order_in_words
from consilium.holding import against_the_order
from consilium.interlocks import OTHER_SIDE, OTHERS_ORDER
from consilium.ordering import Ordering, as_service_request, is_for_another, side_ordered
from dicom_node.destinations import Destination
from dicom_node.header import Header
from dicom_node.query.scu import Unanswered
from dicom_node.query.worklist import Code, Order
from fhir_adapters.validation import problems_of
from record_store import study_orders
from record_store.header_index import HeaderRows, add_headers
from record_store.instances import ReceivedInstance, record_instance
from record_store.study_orders import Unordered
from record_store.testing import database

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
CLASS = "1.2.840.10008.5.1.4.1.1.1.1"
ONE = Unordered("1.7.1", "A1", "P1", "19600101")


def order(patient="P1", side="L", born="19600101", **more):
    said = {
        "accession_number": "A1", "study_uid": "1.7.1", "patient_id": patient, "issuer_of_patient_id": "",
        "patient_birth_date": born, "patient_sex": "F", "requested_procedure_id": "RP1", "description": "Knee",
        "codes": (Code("74016001", "SCT", "Knee X-ray"), Code("X1", "99LOCAL", "local")), "reason": "pain",
        "step_description": "", "step_codes": (), "modality": "DX", "scheduled_date": "20260102",
        "scheduled_time": "1015", "referring_physician": "", "side": side,
    }  # fmt: skip
    return Order(**said | more)


@pytest.fixture
def db(tmp_path):
    one = database(tmp_path)
    place = {"study_uid": "1.7.1", "series_uid": "1.8"}
    row = ReceivedInstance("1.9", CLASS, "1.2", "1.7.1", "1.8", "DX", PatientKey("h", "P1"), "a" * 64, 1, "X", "C")
    header = {"study_uid": "1.7.1", "patient_id": "P1", "patient_birth_date": "19600101", "accession_number": "A1"}
    with one.write() as conn:
        record_instance(conn, row, NOW)
        instance = place | {"sop_instance_uid": "1.9", "sop_class_uid": CLASS}
        add_headers(conn, [HeaderRows(header, place | {"modality": "DX"}, instance)])
    yield one
    one.dispose()


def known(db):
    with db.read() as conn:
        return study_orders.order_of(conn, "1.7.1")


def test_an_order_is_asked_for_once_and_its_side_is_kept(db) -> None:
    asked = []

    def ask(worklist, calling_ae, *, accession_number):
        asked.append(accession_number)
        return [order(), order(patient="P2", side="R")]

    ordering = Ordering(db, Destination("worklist", "127.0.0.1", 1, "RIS"), "CONSILIUM", lambda: NOW, ask)
    assert [ordering.once(), ordering.once()] == [1, 0]
    assert asked == ["A1"]
    found = known(db)
    assert (found.side, found.orders, found.stranger) == ("L", 1, False)
    assert order_in_words(found) == ("order: 1 scheduled under its accession number, left",)


def test_a_worklist_that_is_away_is_left_alone_and_asked_again(db) -> None:
    at, seconds, away = [NOW], [0.0], [True]

    def ask(worklist, calling_ae, *, accession_number):
        if away[0]:
            raise Unanswered("no connection")
        return [order()]

    worklist = Destination("worklist", "127.0.0.1", 1, "RIS")
    circuits = ArchiveCircuits(lambda: seconds[0])
    ordering = Ordering(db, worklist, "CONSILIUM", lambda: at[0], ask, circuits)
    for _ in range(3):
        assert ordering.once() == 1
        at[0] += timedelta(seconds=20)
    assert ordering.once() == 0
    assert order_in_words(known(db)) == ("order: the worklist did not answer (no connection)",)
    away[0], seconds[0] = False, PAUSE_S
    assert ordering.once() == 1
    assert known(db).side == "L"


def test_a_side_is_believed_when_all_orders_name_it() -> None:
    assert side_ordered([order(), order()]) == "L"
    assert side_ordered([order(), order(side="R")]) == ""
    assert side_ordered([order(), order(side="")]) == ""
    assert side_ordered([]) == ""


@pytest.mark.parametrize(
    ("orders", "stranger"),
    [
        ([], False),
        ([order()], False),
        ([order(patient="P2", born="19700101")], True),
        ([order(patient="P2", born="19700101"), order()], False),
        ([order(patient="0P1")], False),  # the same birth date: perhaps only written in another way
        ([order(patient="P2", born="")], False),
    ],
)
def test_an_order_is_for_another_patient_when_identifier_and_birth_date_say_so(orders, stranger) -> None:
    assert is_for_another(ONE, orders) is stranger


def test_a_study_that_contradicts_its_order_is_held_and_one_without_an_order_is_not() -> None:
    def said(side, stranger=False):
        return study_orders.StudyOrder("1.7.1", "asked", None, 1, side, stranger, NOW)

    right = [Header(image_laterality="R")]
    assert against_the_order(said("L"), right) == OTHER_SIDE
    assert against_the_order(said("R"), right) is None
    assert against_the_order(said("B"), right) is None
    assert against_the_order(said("", stranger=True), right) == OTHERS_ORDER
    assert against_the_order(said("L", stranger=True), []) is None  # a person has released all of them
    assert against_the_order(None, right) is None


def test_an_order_as_a_service_request_is_valid_and_says_the_side() -> None:
    made = as_service_request(order(side="R"), resource_id="o1", patient_id="p1")
    assert made["identifier"][0]["value"] == "A1"
    assert made["code"]["coding"] == [
        {"system": "http://snomed.info/sct", "code": "74016001", "display": "Knee X-ray"}
    ]
    assert made["orderDetail"][0]["coding"][0]["code"] == "24028007"
    assert (made["status"], made["intent"], made["occurrenceDateTime"]) == ("active", "order", "2026-01-02")
    assert made["reasonCode"] == [{"text": "pain"}]
    assert problems_of(made) == []
