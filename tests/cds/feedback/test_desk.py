"""Feedback is held against the cards that were really sent, stored once, and all of it or nothing."""

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from cds.caller import Caller
from cds.guidance import Guidance
from clinical.errors import Fault, IncorrectInput
from record_store import sent_cards
from record_store.database import open_database
from record_store.tables import audit, feedback, sent_card

OTHER = Caller("https://other.example", "other")


def rows(db, table=feedback):
    with db.read() as conn:
        return conn.execute(select(table)).mappings().all()


def refused(clinic, *reports, **more):
    with pytest.raises(IncorrectInput) as caught:
        clinic.says(*reports, **more)
    assert rows(clinic.db) == []
    assert clinic.taken == []
    return caught.value.expression[0]


def test_an_override_is_stored_with_its_reason_and_comment(clinic) -> None:
    card = clinic.sends()
    clinic.says(clinic.overridden(card, "patient-ineligible", comment="Zzcanary is pregnant"))
    (row,) = rows(clinic.db)
    assert (row["card"], row["outcome"], row["reason_code"]) == (card.uuid, "overridden", "patient-ineligible")
    assert row["user_comment"] == "Zzcanary is pregnant"
    assert row["received_at"] == "2026-11-22T09:00:00.000000Z"
    assert clinic.taken == [("diabetes-risk", "overridden")]


def test_the_same_report_again_is_one_row_and_another_one_keeps_the_history(clinic) -> None:
    card = clinic.sends()
    first = clinic.overridden(card, "need-more-info")
    for _ in range(3):
        clinic.says(first, first)
    clinic.later(hours=1)
    clinic.says(clinic.accepted(card))
    assert [row["outcome"] for row in rows(clinic.db)] == ["overridden", "accepted"]
    assert clinic.taken == [("diabetes-risk", "overridden"), ("diabetes-risk", "accepted")]


def test_a_card_that_was_never_sent_is_named_and_nothing_of_the_batch_is_kept(clinic) -> None:
    card, stranger = clinic.sends(), clinic.card()
    assert refused(clinic, clinic.accepted(card), clinic.accepted(stranger)) == "feedback[1].card"


def test_a_card_of_another_client_service_or_tenant_is_as_unknown_as_one_that_never_was(clinic) -> None:
    card = clinic.sends()
    tenant = replace(Caller("https://ehr.example", "ehr"), tenant="ward 9")
    assert refused(clinic, clinic.accepted(card), caller=OTHER) == "feedback[0].card"
    assert refused(clinic, clinic.accepted(card), caller=tenant) == "feedback[0].card"
    assert refused(clinic, clinic.accepted(card), service="heart-rate") == "feedback[0].card"


def test_a_suggestion_of_another_card_is_refused(clinic) -> None:
    card, other = clinic.sends(), clinic.sends()
    mixed = clinic.accepted(card) | {"acceptedSuggestions": [{"id": other.suggestions[0].uuid}]}
    assert refused(clinic, mixed) == "feedback[0].acceptedSuggestions[0].id"


def test_a_card_of_shadow_mode_was_not_sent(clinic) -> None:
    card, call = clinic.card(), clinic.call()
    clinic.shadow("diabetes-risk").record(call, Guidance((card,)))
    assert refused(clinic, clinic.accepted(card)) == "feedback[0].card"


def test_uuids_have_no_case(clinic) -> None:
    card = clinic.sends()
    report = clinic.accepted(card)
    clinic.says(report | {"card": card.uuid.upper(), "acceptedSuggestions": [{"id": card.suggestions[0].uuid}]})
    clinic.says(report)
    assert len(rows(clinic.db)) == 1


def test_the_audit_counts_and_tells_no_comment(clinic) -> None:
    clinic.says(clinic.overridden(clinic.sends(), comment="Zzcanary"))
    (row,) = [row for row in rows(clinic.db, audit) if row["action"] == "feedback-received"]
    assert (row["actor"], row["subject"], row["outcome"]) == ("client:ehr", "service:diabetes-risk", "new")
    assert row["detail"] == '{"new":1,"reports":1}'


def test_patients_and_users_stand_in_the_store_as_keyed_digests(clinic) -> None:
    clinic.sends(patient="zzcanary-4711", user="Practitioner/quillon")
    clinic.sends(patient="zzcanary-4711", user="Practitioner/quillon")
    clinic.sends(patient="zzcanary-4711", caller=OTHER)
    first, second, elsewhere = rows(clinic.db, sent_card)
    assert "zzcanary" not in str(dict(first)).lower()
    assert "quillon" not in str(dict(first)).lower()
    assert first["patient_key"] == second["patient_key"] != elsewhere["patient_key"]


def test_a_uuid_that_was_sent_before_is_a_fault_and_never_a_second_meaning(clinic) -> None:
    card = clinic.sends()
    with pytest.raises(Fault):
        clinic.sends(card)
    assert len(rows(clinic.db, sent_card)) == 1


def test_an_order_sign_card_names_the_patient_view_card_that_it_stands_for(clinic) -> None:
    first = clinic.sends()
    clinic.later(minutes=5)
    order = {"hook": "order-sign", "context": {"patientId": "p1", "draftOrders": {"resourceType": "Bundle"}}}
    card = clinic.sends(**order)
    other = clinic.sends(clinic.card(finding_key="something else"), **order)
    found = {row["card"]: row["replaces"] for row in rows(clinic.db, sent_card)}
    assert found == {first.uuid: None, card.uuid: first.uuid, other.uuid: None}


def test_a_card_in_the_chart_stands_for_no_card_of_a_decision_before(clinic) -> None:
    order = {"hook": "order-sign", "context": {"patientId": "p1", "draftOrders": {"resourceType": "Bundle"}}}
    clinic.sends(**order)
    clinic.later(minutes=5)
    clinic.sends()
    assert [row["replaces"] for row in rows(clinic.db, sent_card)] == [None, None]


def test_what_is_old_is_removed_with_its_feedback_and_what_is_young_stays(clinic, monkeypatch) -> None:
    monkeypatch.setattr(sent_cards, "PURGE_STEP", 2)
    old = [clinic.sends() for _ in range(5)]
    clinic.says(*(clinic.overridden(card) for card in old))
    clinic.shadow("x").record(clinic.call(), ValueError())
    clinic.later(days=2)
    young = clinic.sends()
    clinic.says(clinic.overridden(young))
    assert sent_cards.purge(clinic.db, clinic.at - timedelta(days=1)) == 6
    assert [row["card"] for row in rows(clinic.db, sent_card)] == [young.uuid]
    assert [row["card"] for row in rows(clinic.db)] == [young.uuid]


def test_many_senders_of_the_same_reports_in_any_order_leave_one_row_each(clinic) -> None:
    cards = [clinic.sends() for _ in range(6)]
    reports = [clinic.accepted(card) for card in cards]
    barrier = threading.Barrier(8)

    def send(number):
        barrier.wait()
        for turn in range(3):
            clinic.says(*(reports if (number + turn) % 2 else reversed(reports)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(8)))
    assert sorted(row["card"] for row in rows(clinic.db)) == sorted(card.uuid for card in cards)
    assert len(clinic.taken) == 6


def _report_until_killed(url, clinic, cards, told) -> None:
    clinic.db = open_database(url)
    for card in cards:
        clinic.says(clinic.accepted(card))
        told.send(card.uuid)


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9_and_can_be_sent_again(clinic) -> None:
    cards = [clinic.sends() for _ in range(40)]
    clinic.db.dispose()
    ours, theirs = multiprocessing.Pipe(duplex=False)
    spawn = multiprocessing.get_context("fork")
    child = spawn.Process(target=_report_until_killed, args=(clinic.db.url, clinic, cards, theirs))
    child.start()
    acknowledged = [ours.recv() for _ in range(10)]
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    time.sleep(0.05)
    while ours.poll():
        try:
            acknowledged.append(ours.recv())
        except EOFError:
            break
    stored = {row["card"] for row in rows(clinic.db)}
    assert set(acknowledged) <= stored
    assert len(stored) <= len(acknowledged) + 1
    clinic.says(*(clinic.accepted(card) for card in cards))
    with clinic.db.read() as conn:
        assert conn.execute(select(func.count()).select_from(feedback)).scalar_one() == 40
