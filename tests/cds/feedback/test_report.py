"""The report counts by hand-made histories whose answers are known, on both databases."""

from datetime import timedelta

import pytest

from cds.caller import Caller
from cds.feedback.outcomes import import_outcomes, read_outcomes
from cds.feedback.report import report_of
from cds.guidance import Guidance
from clinical.errors import IncorrectInput
from clinical.proportion import Proportion
from record_store.feedback_tallies import Span, comments

OTHER = Caller("https://other.example", "other")
EHR = "https://ehr.example"


def report(clinic, **only):
    span = Span(clinic.at - timedelta(days=30), clinic.at + timedelta(seconds=1), **only)
    with clinic.db.read() as conn:
        return report_of(conn, span)


def outcomes(clinic, *lines):
    text = ["card,issuer,patient,service,happened,observed_at", *lines]
    import_outcomes(clinic.db, read_outcomes(text, clinic.names), clinic.now)


def numbers(answered):
    return answered.sent, answered.accepted, answered.overridden, answered.replaced, answered.ignored


def test_cards_are_counted_by_what_became_of_them(clinic) -> None:
    cards = [clinic.sends() for _ in range(10)]
    clinic.says(*(clinic.accepted(card) for card in cards[:3]))
    clinic.says(*(clinic.overridden(card, "patient-ineligible") for card in cards[3:4]))
    ((group, answered),) = report(clinic).groups
    assert (group["service"], group["hook"], group["model"]) == ("diabetes-risk", "patient-view", "diabetes-risk")
    assert (group["model_version"], group["threshold"], group["client"]) == ("1.0.0", 0.3, "ehr")
    assert numbers(answered) == (10, 3, 1, 0, 6)
    assert answered.acceptance == Proportion(3, 4)


def test_the_last_report_of_a_card_counts_by_the_client_s_time_whenever_it_arrives(clinic) -> None:
    card = clinic.sends()
    clinic.says(clinic.accepted(card, at="2026-11-22T09:05:00Z"))
    clinic.says(clinic.overridden(card, at="2026-11-22T09:01:00Z"))
    ((_, answered),) = report(clinic).groups
    assert numbers(answered) == (1, 1, 0, 0, 0)


def test_hooks_clients_versions_and_thresholds_are_apart_and_can_be_asked_for(clinic) -> None:
    clinic.sends()
    clinic.sends(clinic.card(threshold=0.5))
    clinic.sends(caller=OTHER)
    clinic.sends(service="heart-rate", hook="encounter-start", context={"patientId": "p1", "encounterId": "e"})
    assert len(report(clinic).groups) == 4
    assert len(report(clinic, service="diabetes-risk").groups) == 3
    assert len(report(clinic, hook="encounter-start").groups) == 1
    assert len(report(clinic, client="other").groups) == 1
    assert report(clinic, model_version="9").groups == ()
    assert len(report(clinic).models) == 2


def test_a_card_that_a_later_hook_took_over_was_not_ignored(clinic) -> None:
    clinic.sends()
    order = {"hook": "order-sign", "context": {"patientId": "p1", "draftOrders": {"resourceType": "Bundle"}}}
    card = clinic.sends(**order)
    clinic.says(clinic.accepted(card))
    found = {row["hook"]: numbers(answered) for row, answered in report(clinic).groups}
    assert found == {"order-sign": (1, 1, 0, 0, 0), "patient-view": (1, 0, 0, 1, 0)}


def test_reasons_are_told_in_hl7_s_words_and_the_proxy_counts_who_questions_the_card(clinic) -> None:
    codes = ["patient-ineligible", "recipient-does-not-trust", "action-completed", "patient-refuses", None]
    cards = [clinic.sends() for _ in range(8)]
    for card, code in zip(cards[:5], codes, strict=True):
        clinic.says(clinic.overridden(card, code, comment="Zzcanary"))
    clinic.says(clinic.overridden(cards[5], "busy", system="urn:site"), clinic.accepted(cards[6]))
    (model,) = report(clinic).models
    told = {reason.display: (reason.count, reason.wrong) for reason in model.reasons}
    assert told == {
        "Patient does not meet eligibility for recommended action": (1, True),
        "Recipient does not agree with or trust the recommended action": (1, True),
        "Recommended action was already completed": (1, False),
        "Patient refuses/declines (no context given)*": (1, False),
        "no coded reason": (1, None),
        "busy": (1, None),
    }
    assert model.ppv_proxy == Proportion(3, 5)
    assert "Zzcanary" not in str(report(clinic).to_json())


def test_comments_are_shown_to_those_who_ask_for_them(clinic) -> None:
    clinic.says(clinic.overridden(clinic.sends(), comment="Zzcanary"))
    with clinic.db.read() as conn:
        (row,) = comments(conn, Span(clinic.at - timedelta(days=1), clinic.at + timedelta(days=1)), 10)
    assert row["user_comment"] == "Zzcanary"


def test_another_threshold_would_have_left_the_cards_above_it(clinic) -> None:
    for probability, accept in [(0.31, False), (0.34, False), (0.36, True), (0.41, False), (0.52, True)]:
        card = clinic.sends(clinic.card(probability=probability))
        clinic.says(clinic.accepted(card) if accept else clinic.overridden(card))
    clinic.sends(clinic.card(probability=None))
    (model,) = report(clinic).models
    steps = {step.threshold: (step.answered.sent, step.answered.acceptance) for step in model.what_if}
    assert steps == {
        0.3: (5, Proportion(2, 5)),
        0.35: (3, Proportion(2, 3)),
        0.4: (2, Proportion(1, 2)),
        0.45: (1, Proportion(1, 1)),
        0.5: (1, Proportion(1, 1)),
    }


def test_outcomes_of_cards_and_of_patients_make_the_real_ppv(clinic) -> None:
    first = clinic.sends(clinic.card(probability=0.3), patient="p1")
    clinic.sends(clinic.card(probability=0.5), patient="p2")
    clinic.sends(patient="p3")
    outcomes(clinic, f"{first.uuid.upper()},,,,no,2026-11-23", f",{EHR},p2,diabetes-risk,yes,2026-11-22")
    (model,) = report(clinic).models
    assert model.outcomes == Proportion(1, 2)
    assert [(step.threshold, step.outcomes) for step in model.what_if if step.threshold in (0.3, 0.5)] == [
        (0.3, Proportion(1, 2)),
        (0.5, Proportion(1, 1)),
    ]


def test_an_outcome_is_corrected_by_the_next_one_and_one_seen_before_the_card_says_nothing(clinic) -> None:
    card = clinic.sends(patient="p1")
    outcomes(clinic, f"{card.uuid},,,,yes,2026-11-23")
    outcomes(clinic, f"{card.uuid},,,,0,2026-11-24")
    clinic.sends(patient="p2")
    outcomes(clinic, f",{EHR},Patient/p2,diabetes-risk,1,2026-11-22T09:59:00+01:00")
    (model,) = report(clinic).models
    assert model.outcomes == Proportion(0, 1)


def test_a_shadowed_service_is_scored_by_patients_outcomes(clinic) -> None:
    shadow = clinic.shadow("next")
    said = {"p1": 1, "p2": 1, "p3": 0, "p4": 0, "p5": 0, "p6": 1}
    for patient, cards in said.items():
        guidance = Guidance(tuple(clinic.card() for _ in range(cards)))
        shadow.record(clinic.call(patient, "next"), guidance)
    shadow.record(clinic.call("p3", "next"), Guidance())
    shadow.record(clinic.call("p5", "next"), ValueError())
    shadow.record(clinic.call("p7", "next"), ValueError())  # a call that failed is no quiet one
    happened = {"p1": "yes", "p2": "no", "p3": "yes", "p4": "no", "p5": "no", "p7": "yes"}
    outcomes(clinic, *(f",{EHR},{patient},next,{said},2026-12-01" for patient, said in happened.items()))
    outcomes(clinic, f",{EHR},p6,next,yes,2026-11-01")  # seen before the call: the service did not foretell it
    found = report(clinic)
    assert found.groups == ()
    (one,) = found.shadow
    assert (one.calls, one.spoke, dict(one.failed)) == (9, 3, {"fault": 2})
    told = one.to_json()["outcomes"]
    names = ("true_positive", "false_positive", "false_negative", "true_negative")
    assert [told[name] for name in names] == [1, 1, 1, 2]
    assert one.measures["specificity"] == Proportion(2, 3)


def test_a_shadowed_service_is_held_against_what_clinicians_said_to_the_live_one_that_day(clinic) -> None:
    shadow = clinic.shadow("next")
    for patient, spoke, accept in [("p1", 1, True), ("p2", 0, False), ("p3", 0, True), ("p4", 1, False)]:
        shadow.record(clinic.call(patient, "next"), Guidance((clinic.card(),) * spoke))
        card = clinic.sends(patient=patient)
        clinic.says(clinic.accepted(card) if accept else clinic.overridden(card))
    clinic.later(days=1)
    clinic.says(clinic.accepted(clinic.sends(patient="p2")))
    (one,) = report(clinic).shadow
    assert {(row["live"], row["spoke"], row["outcome"]): row["cards"] for row in one.against} == {
        ("diabetes-risk", 1, "accepted"): 1,
        ("diabetes-risk", 1, "overridden"): 1,
        ("diabetes-risk", 0, "accepted"): 1,
        ("diabetes-risk", 0, "overridden"): 1,
    }


def test_what_hygiene_held_back_is_counted_by_reason(clinic) -> None:
    clinic.sends()
    clinic.hygiene(repeat_window_s=60).sift(clinic.call(), Guidance((clinic.card(), clinic.card())))
    assert report(clinic).suppressed == ({"service": "diabetes-risk", "reason": "repeated", "count": 2},)
    assert report(clinic, service="other").suppressed == ()


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        (["card,happened"], "the first line"),
        ([], "the first line"),
        (["card,happened,observed_at,name"], "the first line"),
        (["card,happened,observed_at", "x,yes,2026-11-22"], "line 2, card"),
        (["card,happened,observed_at", ",yes,2026-11-22"], "line 2, patient"),
        (["patient,service,happened,observed_at", "p,s,yes,2026-11-22"], "line 2, patient"),
        (["card,happened,observed_at", ",maybe,2026-11-22"], "line 2, happened"),
        (["card,happened,observed_at", ",yes,22.11.2026"], "line 2, observed_at"),
        (["card,happened,observed_at", ",yes,2026-11-22T09:00:00"], "line 2, observed_at"),
        (["card,happened,observed_at", ",yes"], "line 2, row"),
        (["card,happened,observed_at", ",yes,2026-11-22,more"], "line 2, row"),
        (["card,happened,observed_at", '"x"y,yes,2026-11-22'], "line 2: not CSV"),
    ],
)
def test_a_line_that_cannot_be_understood_is_named_without_its_values(one_clinic, lines, place) -> None:
    with pytest.raises(IncorrectInput) as caught:
        read_outcomes(lines, one_clinic.names)
    assert caught.value.message.startswith(place)


def test_one_unknown_card_keeps_the_whole_file_out(one_clinic) -> None:
    card = one_clinic.sends()
    with pytest.raises(IncorrectInput, match="1 of the cards"):
        outcomes(one_clinic, f"{card.uuid},,,,yes,2026-11-23", f"{one_clinic.new_uuid()},,,,yes,2026-11-23")
    (model,) = report(one_clinic).models
    assert model.outcomes == Proportion(0, 0)
