"""Orders: asked once a study, believed for this patient alone, compared with what the images say."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from clinical.body_part import parts_of
from clinical.identity import IssuerTable, PatientKey
from consilium.circuit import PAUSE_S, ArchiveCircuits
from consilium.explain.prior_words import order_in_words
from consilium.holding import against_the_order
from consilium.interlocks import OTHER_SIDE, OTHERS_ORDER, SEVERAL_ORDERED
from consilium.order_keeping import OrderKeeping, as_imaging_order, as_service_request
from consilium.order_matching import (
    ACCESSION,
    MORE_THAN_ASKED,
    NAMES_ANOTHER,
    OTHER_PART,
    PART_UNSAID,
    PATIENT,
    PROCEDURE,
    SEVERAL_FIT,
    WRITTEN_OTHERWISE,
    Match,
    Question,
    matched,
    questions,
    side_ordered,
)
from consilium.ordering import Ordering
from dicom_node.destinations import Destination
from dicom_node.header import Header
from dicom_node.query.scu import Unanswered
from dicom_node.query.worklist import MOST_STEPS, Code, Order
from fhir_adapters.kept_orders import Kept
from fhir_adapters.resources.service_request import imaging_order
from fhir_adapters.validation import problems_of
from record_store import study_orders
from record_store.header_index import HeaderRows, add_headers
from record_store.instances import ReceivedInstance, record_instance
from record_store.study_orders import Unordered
from record_store.tables import audit
from record_store.testing import database

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
CLASS = "1.2.840.10008.5.1.4.1.1.1.1"
ONE = Unordered("1.7.1", "A1", "P1", "19600101", PatientKey("h", "P1"))


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

    def ask(worklist, calling_ae, **keys):
        asked.append(keys)
        return [order(), order(patient="P2", side="R")]

    ordering = Ordering(db, Destination("worklist", "127.0.0.1", 1, "RIS"), "CONSILIUM", lambda: NOW, ask)
    assert [ordering.once(), ordering.once()] == [1, 0]
    assert asked == [{"accession_number": "A1"}]
    found = known(db)
    assert (found.side, found.orders, found.stranger) == ("L", 1, False)
    assert order_in_words(found) == ("order: 1 scheduled, found by accession number, left",)


def test_the_number_beside_a_study_is_that_of_the_order_that_is_kept(db) -> None:
    orders = [order(accession_number="A2"), order(issuer_of_patient_id="H")]
    ordering = Ordering(
        db,
        Destination("worklist", "127.0.0.1", 1, "RIS"),
        "CONSILIUM",
        lambda: NOW,
        lambda *_, **__: orders,
        issuers=IssuerTable({"H": "h"}),
        keeping=OrderKeeping("RIS", {}, lambda key: "chart"),
    )
    assert ordering.once() == 1
    assert (known(db).accession_number, known(db).kept) == ("A1", Kept.WRITTEN)


def test_a_worklist_that_is_away_is_left_alone_and_asked_again(db) -> None:
    at, seconds, away = [NOW], [0.0], [True]

    def ask(worklist, calling_ae, **keys):
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
    ("orders", "stranger", "several"),
    [
        ([], False, False),
        ([order()], False, False),
        ([order(patient="P2", born="19700101")], True, False),
        ([order(patient="P2", born="19700101"), order()], False, True),
        ([order(patient="0P1")], False, False),  # the same birth date: perhaps only written in another way
        ([order(patient="P2", born="")], False, False),
        ([order(issuer_of_patient_id="I", born="19700101")], True, False),  # the same number of another issuer
        ([order(issuer_of_patient_id="H", born="19700101")], False, False),
    ],
)
def test_an_order_is_for_another_patient_when_identifier_and_birth_date_say_so(orders, stranger, several) -> None:
    found = matched(ONE, Question(ACCESSION, {}), orders, IssuerTable({"H": "h", "I": "i"}))
    assert (found.stranger, found.several) == (stranger, several)


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
    assert against_the_order(replace(said("R"), several=True), right) == SEVERAL_ORDERED


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


def test_several_procedures_of_one_number_are_one_order_with_each_of_them_once() -> None:
    steps = [order(), order(), order(requested_procedure_id="RP2", description="Hip", codes=(), side="")]
    made = imaging_order(as_imaging_order(steps), resource_id="o1", patient_id="p1")
    assert made["code"] == {"text": "Knee; Hip"}
    assert [one.get("text") for one in made["orderDetail"]] == ["Knee", "Hip"]
    assert problems_of(made) == []


def asked_of(one, known):
    """Ask the questions that a study gives rise to of a worklist that knows these orders."""
    for question in questions(one):
        answer = [
            each for each in known if all(getattr(each, key) == value for key, value in question.keys.items())
        ]
        found = matched(one, question, answer, IssuerTable({"": "h"}))
        if found.answers:
            return found
    return Match()


@pytest.mark.parametrize(
    ("says", "by"),
    [
        ({"accession_number": "A1"}, "accession number"),
        ({"accession_number": "typed wrong"}, "study"),
        ({"study_uid": "1.9"}, "patient and day"),
        ({"study_uid": "1.9", "study_id": "RP1"}, "requested procedure"),
        ({"study_uid": "1.9", "accession_number": "typed wrong"}, ""),  # it has an order, and not that of the day
        ({"study_uid": "1.9", "study_date": "20260105"}, ""),
        ({"study_uid": "1.9", "modalities": frozenset({"CT"})}, ""),
        ({"study_uid": "1.9", "patient_id": "P2", "patient": PatientKey("h", "P2")}, ""),
    ],
)
def test_an_order_is_found_by_what_names_it_best(says, by) -> None:
    plain = replace(PLAIN, study_uid="1.7.1")
    found = asked_of(replace(plain, **says), [order()])
    assert (found.by, len(found.theirs)) == (by, 1 if by else 0)


PLAIN = replace(
    ONE, study_uid="1.9", accession_number="", study_date="20260101", modalities=frozenset({"DX"}),
    shows=("", "KNEE"),
)  # fmt: skip
CHEST = order(accession_number="A2", description="Chest PA", codes=(), side="")
NUMBERLESS = order(accession_number="")
UNSAID = order(accession_number="A3", description="Radiograph", codes=(), side="")


def day(*orders, **says) -> Match:
    return matched(replace(PLAIN, **says), Question(PATIENT, {}), orders, IssuerTable({"": "h"}))


@pytest.mark.parametrize(
    ("orders", "shows", "number", "doubt"),
    [
        ([order(), order()], ("KNEE",), "A1", ""),  # two steps of one order
        ([order(), CHEST], ("KNEE",), "A1", ""),
        ([order(), CHEST], ("", "THORAX"), "A2", ""),
        ([order()], ("CHEST",), None, f"{OTHER_PART}KNEE, the images CHEST"),  # its own order is gone: performed
        ([order(), UNSAID], ("KNEE",), None, SEVERAL_FIT),
        ([order(), order(accession_number="A4")], ("KNEE",), None, SEVERAL_FIT),
        ([UNSAID], ("KNEE",), None, PART_UNSAID),
        ([order()], ("",), None, PART_UNSAID),
        ([order()], ("KNEE", "CHEST"), None, PART_UNSAID),  # some of the images are of another order
        ([NUMBERLESS, replace(NUMBERLESS, study_uid="1.7.2")], ("KNEE",), None, SEVERAL_FIT),
        ([order(patient="P2")], ("KNEE",), None, ""),
        ([order(scheduled_date="20260105")], ("CHEST",), None, ""),
        ([order()] * MOST_STEPS, ("KNEE",), None, MORE_THAN_ASKED),  # who knows what was not told
    ],
)
def test_an_order_of_the_day_is_taken_when_it_is_one_and_names_what_the_images_show(
    orders, shows, number, doubt
) -> None:
    found = day(*orders, shows=shows)
    assert ({one.accession_number for one in found.theirs}, found.doubt) == ({number} - {None}, doubt)


def test_a_number_that_images_may_have_by_chance_takes_no_order_of_another_part_of_the_body() -> None:
    asked = Question(PROCEDURE, {})
    found = matched(replace(PLAIN, study_id="RP1", shows=("CHEST",)), asked, [order()], IssuerTable({"": "h"}))
    assert (found.theirs, found.doubt) == ((), f"{OTHER_PART}KNEE, the images CHEST")
    assert matched(replace(PLAIN, shows=()), asked, [order()], IssuerTable({"": "h"})).theirs


def test_the_order_of_the_images_own_number_is_theirs_and_another_part_of_the_body_is_said() -> None:
    found = matched(replace(ONE, shows=("CHEST",)), Question(ACCESSION, {}), [order()], IssuerTable())
    assert (len(found.theirs), found.doubt) == (1, f"{NAMES_ANOTHER}KNEE, the images CHEST")
    several = [order(), CHEST]
    assert matched(replace(ONE, shows=("CHEST",)), Question(ACCESSION, {}), several, IssuerTable()).doubt == ""


def test_a_doubt_about_orders_is_told(db) -> None:
    worklist = Destination("worklist", "127.0.0.1", 1, "RIS")
    orders = [order(patient="0P1")]  # the same birth date: perhaps only written in another way
    ordering = Ordering(db, worklist, "CONSILIUM", lambda: NOW, lambda *_, **__: orders)
    assert ordering.once() == 1
    assert order_in_words(known(db)) == (f"order: none is taken ({WRITTEN_OTHERWISE})",)
    with db.read() as conn:
        (detail,) = conn.execute(select(audit.c.detail).where(audit.c.action == "order-asked")).scalars()
    assert WRITTEN_OTHERWISE in detail


def test_what_images_show_is_read_from_all_series_that_are_here(db) -> None:
    with db.write() as conn:
        for number, part in enumerate(("KNEE", "ANKLE")):
            place = {"study_uid": "1.7.1", "series_uid": f"1.8.{number}"}
            header = {"study_uid": "1.7.1", "patient_id": "P1"}
            instance = place | {"sop_instance_uid": f"1.9.{number}", "sop_class_uid": CLASS}
            add_headers(conn, [HeaderRows(header, place | {"body_part_examined": part}, instance)])
        (one,) = study_orders.unordered(conn, NOW, 8)
    assert parts_of(one.shows) == {"KNEE", "ANKLE"}
