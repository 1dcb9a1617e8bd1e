"""order-imaging: a chest radiograph ordered again although a recent one shows something, and nothing else."""

from datetime import UTC, datetime, timedelta

import pytest

from cds.services import order_imaging
from cds.services.order_imaging import RECENT
from cds.testing import hook_body
from cds.wire_schema.testing import problems
from clinical.breast_codes import BREAST_LESION_TERMS
from clinical.codes import LOINC, LONG_AXIS, LUNG, NODULE_OF_LUNG, SHORT_AXIS, SNOMED_CT
from clinical.finding import Finding, FindingTerms, ImageRef, Measurement, ModelRef, Reading
from clinical.identity import PatientKey
from clinical.image import PixelSpacing, SpacingOrigin
from clinical.imaging_codes import CHEST_RADIOGRAPHS, CPT, RADLEX
from record_store.database import open_database
from record_store.instances import ReceivedInstance, close_study, record_instance
from record_store.readings import QUEUED, JobRow, add_job, put_reading
from record_store.testing import empty_all_tables

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
DAY = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
HOSPITAL = "urn:oid:1.2.3"
CANARY = PatientKey(HOSPITAL, "ZZCANARY-4711")
LUNG_TERMS = FindingTerms(NODULE_OF_LUNG, NODULE_OF_LUNG, NODULE_OF_LUNG, LUNG, "lung nodule")
TWO_VIEWS = {"system": LOINC, "code": "36643-5"}


def finding(number=1, probability=0.912, long_axis=12.3):
    outline = ((0.0, 0.0), (0.0, 1.0), (1.0, 1.0))
    axes = Measurement(LONG_AXIS, long_axis, "mm"), Measurement(SHORT_AXIS, 7.0, "mm")
    return Finding(number, probability, (10.0, 10.0), (0, 0, 20, 20), outline, *axes)


@pytest.fixture
def store(shared_db):
    """store(findings, study=..., at=...) puts one reading of the canary patient; ids count up."""
    empty_all_tables(shared_db)
    count = iter(range(1, 99))

    def put(*findings, study="1.2.3", patient=CANARY, at=DAY, modality="DX", terms=LUNG_TERMS):
        number = next(count)
        spacing = PixelSpacing(0.14, 0.14, SpacingOrigin.PIXEL_SPACING)
        image = ImageRef(study, f"{study}.1", f"{study}.1.{number}", "1.2.840", modality, 64, 64, spacing)
        reading = Reading(image, ModelRef("lung-nodule", "0.1.0", "a" * 64), terms, 0.5, findings)
        ids = {"reading_id": f"reading-{number}", "job_key": f"job-{number}"}
        with shared_db.write() as conn:
            put_reading(conn, reading, **ids, patient=patient, mask_sha256="0" * 64, now=at)

    return put


@pytest.fixture
def received(store, shared_db):
    """received(modality) puts a closed study of one image that a model has still to read."""

    def put(modality="DX", at=DAY):
        image = ReceivedInstance(
            "1.2.3.1", "1.2", "1.2.840", "1.2.3", "1.9", modality, CANARY, "0" * 64, 9, "PACS", "CONSILIUM"
        )
        with shared_db.write() as conn:
            record_instance(conn, image, at)
            assert close_study(conn, "1.2.3", at + timedelta(seconds=1)) is not None
            add_job(conn, JobRow("job", "1.2.3", 1, "0" * 64, "lung-nodule", "0.1.0", at, QUEUED, None))

    return put


def order(*codings, ident="o1", status="draft", kind="ServiceRequest", **more):
    return {
        "resourceType": kind,
        "id": ident,
        "status": status,
        "intent": "order",
        "subject": {"reference": "Patient/p1"},
        "code": {"coding": list(codings or (TWO_VIEWS,))},
        **more,
    }


def body_of(
    *orders, hook="order-sign", selections=(), identifiers=({"system": HOSPITAL, "value": "ZZCANARY-4711"},)
):
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in orders]}
    context = {"userId": "Practitioner/d1", "patientId": "p1", "draftOrders": bundle}
    if hook == "order-select":
        context["selections"] = list(selections or [f"{one['resourceType']}/{one['id']}" for one in orders])
    patient = {"resourceType": "Patient", "id": "p1", "identifier": list(identifiers)}
    return hook_body(prefetch={"patient": patient}, hook=hook, context=context)


@pytest.fixture
def client(make_client):
    return make_client(order_imaging.SERVICES)


@pytest.fixture
def cards(client, post):
    def ask(*orders, **more):
        response = post(client, "order-imaging", body_of(*orders, **more))
        assert response.status_code == 200, response.text
        assert problems("response", response.json) == []
        return response.json["cards"]

    return ask


@pytest.mark.parametrize("hook", ["order-sign", "order-select"])
def test_a_second_chest_radiograph_is_questioned_with_what_the_first_one_shows(store, cards, hook):
    store(finding(1, 0.912, 9.0), finding(2, 0.6, 12.3))
    (card,) = cards(order(), hook=hook)
    assert card["summary"] == (
        "Chest radiograph ordered again: one read on 2026-11-20 shows 2 possible lung nodules, largest 12.3 mm"
    )
    assert card["indicator"] == "warning"
    assert card["source"]["topic"]["code"] == NODULE_OF_LUNG.code
    assert "| 1 | 2 | 12.3 mm | 0.600 |" in card["detail"]
    assert card["links"][0]["url"].startswith("https://cds.example/overlay/reading-1?")


def test_it_offers_to_delete_each_draft_and_at_most_one_of_them(store, cards):
    store(finding())
    (card,) = cards(order(ident="o1"), order({"system": CPT, "code": "71045"}, ident="o2"), order({"code": "x"}))
    assert card["selectionBehavior"] == "at-most-one"
    actions = [suggestion["actions"] for suggestion in card["suggestions"]]
    assert [[(one["type"], one["resourceId"]) for one in few] for few in actions] == [
        [("delete", "ServiceRequest/o1")],
        [("delete", "ServiceRequest/o2")],
    ]


def test_an_order_that_is_no_draft_is_warned_of_and_not_deleted(store, cards):
    store(finding())
    (card,) = cards(order(status="active"))
    assert "suggestions" not in card
    assert "selectionBehavior" not in card


def test_at_order_select_only_what_was_just_chosen_counts(store, cards):
    store(finding())
    orders = (order(ident="o1"), order({"system": LOINC, "code": "24627-2"}, ident="o2"))
    assert cards(*orders, hook="order-select", selections=["ServiceRequest/o2"]) == []
    assert len(cards(*orders, hook="order-select", selections=["ServiceRequest/o1"])) == 1


@pytest.mark.parametrize("code", CHEST_RADIOGRAPHS, ids=lambda one: one.code)
def test_every_code_of_the_table_is_known(store, cards, code):
    store(finding())
    assert (
        len(cards(order({"system": "urn:local", "code": "CXR"}, {"system": code.system, "code": code.code}))) == 1
    )


def test_the_table_has_each_code_system_and_no_code_twice():
    assert {one.system for one in CHEST_RADIOGRAPHS} == {LOINC, RADLEX, CPT, SNOMED_CT}
    assert len({(one.system, one.code) for one in CHEST_RADIOGRAPHS}) == len(CHEST_RADIOGRAPHS)


@pytest.mark.parametrize(
    "other",
    [
        order({"system": LOINC, "code": "24627-2"}),  # CT Chest
        order({"system": CPT, "code": "36643-5"}),  # a code of another system
        order({"code": "36643-5"}),
        order(status="revoked"),
        order(kind="MedicationRequest"),
        order() | {"code": {"text": "XR Chest 2 Views"}},
        order() | {"code": "36643-5"},
        order() | {"code": {"coding": [None, 7, {"system": [], "code": {}}]}},
    ],
    ids=["ct", "other-system", "no-system", "revoked", "medication", "words", "no-concept", "nonsense"],
)
def test_any_other_order_is_left_in_peace(store, cards, other):
    store(finding())
    assert cards(other) == []


def test_no_order_at_all_gives_no_card_and_asks_for_no_identifier(store, cards):
    assert cards(identifiers=()) == []


@pytest.mark.parametrize(
    "reading",
    [
        {"at": NOW - RECENT - timedelta(seconds=1)},
        {"modality": "CT"},
        {"terms": BREAST_LESION_TERMS},
        {"patient": PatientKey("urn:oid:9.9", "ZZCANARY-4711")},
        {"patient": PatientKey(HOSPITAL, "ANOTHER")},
        {"patient": None},
    ],
    ids=["old", "ct", "breast", "other-issuer", "other-patient", "nobody"],
)
def test_a_reading_that_does_not_answer_the_question_gives_no_card(store, cards, reading):
    store(finding(), **reading)
    assert cards(order()) == []


def test_a_recent_radiograph_that_shows_nothing_gives_no_card(store, cards):
    store()
    assert cards(order()) == []


def test_the_last_moment_of_the_window_still_counts(store, cards):
    store(finding(), at=NOW - RECENT)
    assert len(cards(order())) == 1


def test_an_image_read_again_without_findings_is_not_held_against_the_order(store, cards, shared_db):
    store(finding(), study="1.2.3")
    with shared_db.write() as conn:
        image = ImageRef("1.2.3", "1.2.3.1", "1.2.3.1.1", "1.2.840", "DX", 64, 64, None)
        reading = Reading(image, ModelRef("lung-nodule", "0.2.0", "b" * 64), LUNG_TERMS, 0.5, ())
        put_reading(conn, reading, reading_id="r2", job_key="j2", patient=CANARY, mask_sha256="0" * 64, now=NOW)
    assert cards(order()) == []


def test_a_recent_radiograph_that_nobody_has_read_is_said(received, cards):
    received()
    (card,) = cards(order())
    assert card["summary"] == "1 imaging study has not been read by the model"
    assert cards(order({"system": LOINC, "code": "24627-2"})) == []


def test_an_unread_image_of_something_else_is_not_our_matter(received, cards):
    received("US")
    assert cards(order()) == []


def test_an_unread_radiograph_of_long_ago_is_not_our_matter(received, cards):
    received(at=NOW - RECENT - timedelta(days=1))
    assert cards(order()) == []


def test_a_patient_without_an_identifier_is_412_and_never_no_cards(store, client, post):
    store(finding())
    response = post(client, "order-imaging", body_of(order(), identifiers=({"value": "ZZCANARY-4711"},)))
    assert response.status_code == 412
    assert response.json["issue"][0]["expression"] == ["prefetch.patient.identifier"]
    assert "ZZCANARY" not in response.text


def test_a_store_that_is_away_is_503_and_never_no_cards(make_client, post):
    client = make_client(order_imaging.SERVICES, db=open_database("sqlite:////nonexistent/none.db"))
    assert post(client, "order-imaging", body_of(order())).status_code in {500, 503}


@pytest.mark.parametrize("ident", ["", " ", "a b", "..", "x" * 65, 7, None, []])
def test_a_draft_without_a_proper_id_is_warned_of_and_not_offered_to_be_deleted(store, cards, ident):
    store(finding())
    (card,) = cards(order(ident=ident))
    assert "suggestions" not in card


def test_an_order_of_another_patient_is_refused(store, client, post):
    store(finding())
    response = post(client, "order-imaging", body_of(order(subject={"reference": "Patient/p2"})))
    assert response.status_code == 400


def test_both_hooks_are_announced_with_one_id(client):
    listed = client.get("/cds-services").json["services"]
    assert {(one["id"], one["hook"]) for one in listed} == {
        ("order-imaging", "order-sign"),
        ("order-imaging", "order-select"),
    }
