"""What every model card tells beside its answer: what moved it, from what, and how good the model is."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cds import calibration
from cds.about import input_hash
from cds.explanation_block import AboutModel, Explanation, Factors, Used, block, not_seen, used_of
from cds.origins import origins_of
from cds.override_reasons import OF_A_RISK, OF_AN_IMAGE, group_of
from cds.prefetch import Prefetched, State
from clinical.finding import ModelRef
from clinical.inputs import InputUsed
from clinical.override_codes import GROUPS, NON_ADHERENCE_REASON

MODEL = ModelRef("diabetes-risk", "1.0.0", "ab" * 32)
ABOUT = AboutModel(MODEL, "a card from 20.0 %", "Brier score 0.065")
BARE = Explanation((), (), {}, ABOUT)


def test_the_model_is_named_with_version_threshold_and_calibration():
    assert block(BARE).splitlines() == [
        "**About the model**",
        "",
        "- Model: diabetes-risk 1.0.0 (manifest sha256 abababababab)",
        "- Threshold: a card from 20.0 %",
        "- Calibration: Brier score 0.065",
    ]


def test_the_models_card_is_linked_where_one_is_published():
    url = origins_of("https://cards.example").url("https://cards.example/diabetes-risk/card.md")
    text = block(replace(BARE, about=replace(ABOUT, card=url)))
    assert text.endswith("\n- [Model card](https://cards.example/diabetes-risk/card.md)")


def test_only_the_five_largest_factors_are_shown_and_what_is_unknown_after_them():
    rows = [(f"input {number}", "+1") for number in range(7)]
    text = block(
        replace(BARE, factors=Factors("What moved it", "in points", ("Input", "Change"), rows, (("rest", "0"),)))
    )
    assert "**What moved it** (in points)" in text
    assert "| input 4 | +1 |\n| rest | 0 |\n" in text
    assert "input 5" not in text


def test_inputs_stand_with_unit_and_date_and_empty_columns_are_left_out():
    taken = datetime(2026, 3, 4, 10, tzinfo=UTC)
    used = used_of([InputUsed("bmi", "Body mass index", 31.2, "31.2", "kg/m2", taken, None)])
    assert (
        "| Input | Value | Unit | Date |\n|---|---|---|---|\n| Body mass index | 31.2 | kg/m² | 2026-03-04 |"
        in block(replace(BARE, used=used))
    )
    assert "| Input | Value |\n|---|---|\n| Minutes | 5 |" in block(replace(BARE, used=[Used("Minutes", "5")]))


def test_what_is_missing_is_named_with_the_reason():
    assert "**Inputs missing or not used**\n\n| Input | Why |\n|---|---|\n| Waist | none recorded |" in block(
        replace(BARE, missing=[("Waist", "none recorded")])
    )


def test_keys_that_did_not_come_whole_are_named_and_the_late_ones_as_dropped():
    prefetch = {
        "patient": Prefetched(State.COMPLETE, {"resourceType": "Patient"}),
        "waist": Prefetched(State.NULL),
        "insulin": Prefetched(State.ABSENT, reason="it was not sent, and there was no time", late=True),
        "glucose": Prefetched(State.FAILED, reason="the client's own query for it failed"),
    }
    assert not_seen(prefetch) == [
        ("insulin", "dropped, as it came too late for this call: it was not sent, and there was no time"),
        ("glucose", "the client's own query for it failed"),
    ]
    assert "| insulin | dropped, as it came too late" in block(replace(BARE, prefetch=prefetch))


def test_texts_of_models_and_records_are_escaped():
    hostile = "[x](https://evil.example) <img src=x> | *y*"
    used = [Used(hostile, hostile, hostile, hostile)]
    about = replace(ABOUT, threshold=hostile, calibration=hostile, notice=hostile)
    factors = Factors(hostile, hostile, (hostile, "b"), [(hostile, hostile)])
    text = block(Explanation(used, [(hostile, hostile)], {}, about, factors))
    assert "https://" not in text
    assert "<img" not in text.replace(r"\<", "")
    assert text.count(r"\*y\*") == 14  # as often as it was put in


def metrics_of(name):
    path = Path(__file__).parents[2] / "models" / name / "manifest.json"
    return json.loads(path.read_text(encoding="utf-8"))["metrics"]


def test_calibration_is_told_from_the_figures_of_the_manifest():
    # models/diabetes-risk/card.md: Brier 0.0649, ECE 0.0062, 5631 people
    said = calibration.of_probabilities(metrics_of("diabetes-risk"), "lab")
    assert said == "Brier score 0.065, expected error 0.6 percentage points (cross-validation, 5,631 cases)"
    assert calibration.of_probabilities({"cross_validation": {"lab": 3}}, "lab") == "not measured"
    assert calibration.of_probabilities({}, "lab") == "not measured"


def test_the_calibration_of_a_forecast_is_how_often_its_interval_held():
    said = calibration.of_intervals(metrics_of("heart-rate-trend"), 60)
    assert said.startswith("at 60 minutes 78 % of the values lay between P10 and P90 (80 % are meant")
    assert calibration.of_intervals({}, 60) == "not measured"


def test_the_same_inputs_have_the_same_hash_and_unknown_ones_are_none():
    values = {"age": 57.0, "shape": frozenset({"oval", "round"}), "waist": float("nan"), "image": None}
    assert input_hash(MODEL, values) == input_hash(MODEL, {"shape": frozenset({"round", "oval"}), "age": 57.0})
    assert input_hash(MODEL, values) != input_hash(MODEL, values | {"age": 58.0})
    assert input_hash(MODEL, values) != input_hash(replace(MODEL, digest="cd" * 32), values)


def test_the_code_system_of_override_reasons_is_here_whole():
    reasons = [reason for group in GROUPS.values() for reason in group]
    assert (len(GROUPS), len(reasons)) == (6, 29)
    every = [*GROUPS, *reasons]
    assert len({one.code for one in every}) == 35
    assert all(one.system == NON_ADHERENCE_REASON and one.display for one in every)


@pytest.mark.parametrize("offered", [OF_A_RISK, OF_AN_IMAGE])
def test_the_reasons_that_are_offered_are_few_and_of_the_code_system(offered):
    assert 4 <= len(offered) <= 6
    assert all(group_of(one.system, one.code) for one in offered)


def test_a_reason_of_another_system_has_no_group():
    assert group_of(NON_ADHERENCE_REASON, "patient-refuses").code == "does-not-align-preferences"
    assert group_of(NON_ADHERENCE_REASON, "cds-not-applicable").code == "cds-not-applicable"
    assert group_of("urn:other", "patient-refuses") is None
