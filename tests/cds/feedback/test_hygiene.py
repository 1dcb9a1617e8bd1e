"""A card is held back only when a site asks for it, and never when that could hide something."""

import json
from dataclasses import replace

import pytest
from sqlalchemy import select

from cds.actions import Action
from cds.guidance import Guidance
from clinical.errors import Busy
from clinical.finding import ModelRef
from clinical.risk import Indicator
from record_store.database import open_database
from record_store.tables import audit

HOUR = 3600.0
ORDER_SIGN = {"hook": "order-sign", "context": {"patientId": "p1", "draftOrders": {"resourceType": "Bundle"}}}


def kept(clinic, card, call=None, rules=None, **more):
    """Whether the card of a further call is sent, with the repeat window of an hour unless told otherwise."""
    hygiene = clinic.hygiene(**(rules if rules is not None else {"repeat_window_s": HOUR}))
    sifted = hygiene.sift(call or clinic.call(**more), Guidance((card,)))
    assert sifted.cards in ((), (card,))
    return bool(sifted.cards)


def suppressed(db):
    with db.read() as conn:
        rows = conn.execute(select(audit).where(audit.c.action == "card-suppressed")).mappings().all()
    return [dict(row) | json.loads(row["detail"]) for row in rows]


def test_nothing_is_held_back_unless_a_site_asks_for_it(one_clinic) -> None:
    for _ in range(5):
        one_clinic.says(one_clinic.overridden(one_clinic.sends(), "action-completed"))
    assert kept(one_clinic, one_clinic.card(), rules={})
    assert suppressed(one_clinic.db) == []


def test_rules_that_are_off_ask_no_database(tmp_path, one_clinic) -> None:
    one_clinic.db = open_database(f"sqlite:///{tmp_path / 'absent' / 'x.db'}")
    assert kept(one_clinic, one_clinic.card(), rules={})
    with pytest.raises(Busy):
        kept(one_clinic, one_clinic.card())


def test_the_same_finding_is_shown_once_in_the_window_and_each_suppression_is_in_the_audit(clinic) -> None:
    first = clinic.sends()
    clinic.later(minutes=59)
    again = clinic.card()
    assert not kept(clinic, again)
    (row,) = suppressed(clinic.db)
    assert (row["subject"], row["outcome"], row["because"]) == (again.uuid, "repeated", first.uuid)
    assert (row["actor"], row["client"]) == ("service:diabetes-risk", "ehr")
    assert clinic.held == [("diabetes-risk", "repeated")]
    assert "p1" not in str({name: row[name] for name in ("subject", "actor", "detail")})
    clinic.later(minutes=1)
    assert kept(clinic, clinic.card())


@pytest.mark.parametrize(
    "changes",
    [
        {"finding_key": "another"},
        {"finding_key": None},
        {"model": ModelRef("diabetes-risk", "1.1.0", "d" * 64)},
        {"model": None},
        {"probability": 0.46},
        {"probability": None},
        {"could_not_look": True},
        {"indicator": Indicator.WARNING},
        {"indicator": Indicator.CRITICAL},
    ],
)
def test_what_is_another_finding_or_a_worse_one_or_may_hide_something_is_sent(one_clinic, changes) -> None:
    one_clinic.sends()
    assert kept(one_clinic, one_clinic.card(**changes))


@pytest.mark.parametrize("changes", [{"probability": 0.44}, {"probability": 0.1}, {"threshold": 0.2}])
def test_what_is_no_worse_is_held_back(one_clinic, changes) -> None:
    one_clinic.sends(one_clinic.card(indicator=Indicator.WARNING))
    assert not kept(one_clinic, one_clinic.card(**changes))


def test_a_critical_card_and_one_that_could_not_look_are_sent_however_often(one_clinic) -> None:
    everything = {
        "repeat_window_s": HOUR,
        "cool_down_s": {"*": HOUR},
        "user_cards_per_hour": 1,
        "patient_cards_per_hour": 1,
        "across_users": True,
        "worse_by": 1.0,
    }
    for changes in ({"indicator": Indicator.CRITICAL}, {"could_not_look": True}):
        for _ in range(3):
            card = one_clinic.card(**changes)
            assert kept(one_clinic, card, rules=everything)
            one_clinic.says(one_clinic.overridden(one_clinic.sends(card), "action-completed"))


def test_the_card_that_tells_of_system_actions_is_sent(one_clinic) -> None:
    one_clinic.sends()
    action = Action("create", "Record it", {"resourceType": "Observation", "status": "preliminary"})
    guidance = Guidance((one_clinic.card(), one_clinic.card()), (action,))
    sifted = one_clinic.hygiene(repeat_window_s=HOUR).sift(one_clinic.call(), guidance)
    assert sifted.cards == guidance.cards[:1]
    assert sifted.system_actions == (action,)


def test_another_clinician_another_patient_and_another_client_have_seen_nothing(one_clinic) -> None:
    one_clinic.sends()
    assert kept(one_clinic, one_clinic.card(), user="Practitioner/d2")
    assert kept(one_clinic, one_clinic.card(), patient="p2")
    elsewhere = replace(one_clinic.call().caller, issuer="https://other.example")
    assert kept(one_clinic, one_clinic.card(), caller=elsewhere)


def test_where_a_hook_names_no_user_nobody_is_taken_for_somebody_who_has_seen_the_card(one_clinic) -> None:
    medications = {"resourceType": "Bundle", "type": "collection", "entry": []}
    refill = {
        "hook": "medication-refill",
        "context": {"patientId": "p1", "medications": medications},
        "user": None,
    }
    one_clinic.sends(**refill)
    assert kept(one_clinic, one_clinic.card(), **refill)


def test_a_site_may_say_that_what_one_saw_all_have_seen(one_clinic) -> None:
    one_clinic.sends()
    rules = {"repeat_window_s": HOUR, "across_users": True}
    assert not kept(one_clinic, one_clinic.card(), rules=rules, user="Practitioner/d2")


def test_a_client_that_asks_again_in_the_same_instance_is_answered_again(one_clinic) -> None:
    call = one_clinic.call()
    one_clinic.sends(call=call)
    assert kept(one_clinic, one_clinic.card(), call)


def test_two_services_do_not_show_one_finding_in_the_same_instance(one_clinic) -> None:
    call = one_clinic.call()
    one_clinic.sends(call=call)
    assert not kept(one_clinic, one_clinic.card(), replace(call, service_id="beside"))
    assert one_clinic.held == [("beside", "shown-beside")]


def test_where_something_is_decided_a_card_seen_in_the_chart_is_shown_again(one_clinic) -> None:
    one_clinic.sends()
    assert kept(one_clinic, one_clinic.card(), **ORDER_SIGN)
    one_clinic.sends(**ORDER_SIGN)
    assert not kept(one_clinic, one_clinic.card(), **ORDER_SIGN)


def test_a_card_of_shadow_mode_was_seen_by_nobody(one_clinic) -> None:
    one_clinic.shadow("diabetes-risk").record(one_clinic.call(), Guidance((one_clinic.card(),)))
    assert kept(one_clinic, one_clinic.card())


COOL_DOWN = {"cool_down_s": {"action-completed": 90 * HOUR, "cds-not-applicable": 10 * HOUR, "*": HOUR}}


@pytest.mark.parametrize(
    ("code", "hours"), [("action-completed", 90), ("patient-ineligible", 10), ("limited-time", 1), (None, 1)]
)
def test_an_override_keeps_the_finding_away_as_long_as_its_reason_says(clinic, code, hours) -> None:
    card = clinic.sends()
    clinic.later(minutes=5)
    clinic.says(clinic.overridden(card, code, at="1999-01-01T00:00:00Z"))
    clinic.later(hours=hours, seconds=-1)
    assert not kept(clinic, clinic.card(), rules=COOL_DOWN)
    assert clinic.held == [("diabetes-risk", "cooling-down")]
    clinic.later(seconds=1)
    assert kept(clinic, clinic.card(), rules=COOL_DOWN)


def test_a_code_of_another_system_is_in_no_group_of_hl7(one_clinic) -> None:
    report = one_clinic.overridden(one_clinic.sends(), "patient-ineligible", system="urn:site")
    one_clinic.says(report)
    one_clinic.later(hours=2)
    assert kept(one_clinic, one_clinic.card(), rules=COOL_DOWN)


def test_without_a_star_only_the_named_reasons_cool_down(one_clinic) -> None:
    one_clinic.says(one_clinic.overridden(one_clinic.sends(), "need-more-info"))
    assert kept(one_clinic, one_clinic.card(), rules={"cool_down_s": {"action-completed": HOUR}})


def test_an_override_that_was_taken_back_cools_nothing_down(one_clinic) -> None:
    card = one_clinic.sends()
    one_clinic.says(one_clinic.overridden(card, "action-completed"))
    assert not kept(one_clinic, one_clinic.card(), rules=COOL_DOWN)
    one_clinic.says(one_clinic.accepted(card))
    assert kept(one_clinic, one_clinic.card(), rules=COOL_DOWN)


def test_a_finding_that_got_worse_is_shown_also_while_it_cools_down(one_clinic) -> None:
    one_clinic.says(one_clinic.overridden(one_clinic.sends(), "action-completed"))
    assert kept(one_clinic, one_clinic.card(probability=0.5), rules=COOL_DOWN)


def test_a_user_who_has_seen_enough_is_spared_info_cards_and_gets_warnings(clinic) -> None:
    rules = {"user_cards_per_hour": 3}
    for number in range(3):
        assert kept(clinic, clinic.card(finding_key=str(number)), rules=rules, patient=f"p{number}")
        clinic.sends(clinic.card(finding_key=str(number)), patient=f"p{number}")
    assert not kept(clinic, clinic.card(), rules=rules, patient="p9")
    assert kept(clinic, clinic.card(indicator=Indicator.WARNING), rules=rules, patient="p9")
    assert kept(clinic, clinic.card(), rules=rules, patient="p9", user="Practitioner/d2")
    assert clinic.held == [("diabetes-risk", "too-many")]
    clinic.later(hours=1, seconds=1)
    assert kept(clinic, clinic.card(), rules=rules, patient="p9")


def test_the_cap_of_a_patient_counts_the_cards_of_the_same_call(one_clinic) -> None:
    cards = tuple(one_clinic.card(finding_key=str(number)) for number in range(4))
    sifted = one_clinic.hygiene(patient_cards_per_hour=2).sift(one_clinic.call(), Guidance(cards))
    assert sifted.cards == cards[:2]
    assert len(suppressed(one_clinic.db)) == 2


def test_a_card_is_not_held_back_when_its_suppression_cannot_be_audited(own_clinic) -> None:
    own_clinic.sends()
    hygiene = own_clinic.hygiene(repeat_window_s=HOUR)
    with own_clinic.db.write() as conn:
        conn.exec_driver_sql("CREATE TRIGGER no_audit BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(Exception, match="the database refused"):
        hygiene.sift(own_clinic.call(), Guidance((own_clinic.card(),)))
