"""The diabetes model as it is shipped: it loads, and says what a clinician would expect of it."""

from pathlib import Path

import numpy as np
import pytest

from model_runtime.engine import LocalEngine, State
from model_runtime.library import Library

MODELS = Path(__file__).parents[2] / "models"
NAME = "diabetes-risk"
ORDER = ("age", "sex_male", "bmi", "waist_cm", "diastolic_mm_hg", "family_history", "fasting_glucose_mg_dl")


@pytest.fixture(scope="module")
def library():
    return Library(MODELS)


@pytest.fixture(scope="module")
def engine(library):
    return LocalEngine(library)


def risk(engine, **values):
    """The probability for one person; what is not given is missing."""
    row = np.array([[values.get(name, np.nan) for name in ORDER]], np.float64)
    return engine.run(NAME, {"features": row})["probability"].item()


YOUNG = {"age": 25, "sex_male": 1, "bmi": 21, "waist_cm": 76, "diastolic_mm_hg": 68, "family_history": 0}
OLD = {"age": 65, "sex_male": 1, "bmi": 38, "waist_cm": 125, "diastolic_mm_hg": 78, "family_history": 1}


def test_it_loads_and_reproduces_its_golden_output(engine):
    assert engine.warm(NAME).state is State.READY


def test_its_features_stand_in_the_agreed_order_and_race_is_none_of_them(library):
    assert tuple(feature.name for feature in library.manifest(NAME).require_risk().features) == ORDER


def test_an_old_heavy_person_with_high_glucose_is_at_higher_risk_than_a_young_slim_one(engine):
    assert risk(engine, **OLD, fasting_glucose_mg_dl=180) > 0.6
    assert risk(engine, **YOUNG) < 0.02
    assert risk(engine, **YOUNG, fasting_glucose_mg_dl=88) < 0.02


@pytest.mark.parametrize(
    ("name", "low", "high"), [("fasting_glucose_mg_dl", 90, 200), ("age", 25, 70), ("family_history", 0, 1)]
)
def test_a_stronger_risk_factor_gives_a_higher_risk(engine, name, low, high):
    middle = {**OLD, "age": 55, "bmi": 31, "waist_cm": 108, "fasting_glucose_mg_dl": 115}
    assert risk(engine, **{**middle, name: high}) > risk(engine, **{**middle, name: low})


def test_age_and_sex_alone_give_a_probability(engine):
    assert 0 < risk(engine, age=60, sex_male=0) < 1


def test_the_policy_tells_the_old_person_and_leaves_the_young_one_alone(engine, library):
    policy = library.manifest(NAME).require_risk().policy
    assert risk(engine, **OLD, fasting_glucose_mg_dl=180) >= policy.warn_from
    assert risk(engine, **YOUNG) < policy.report_from


def test_the_card_shows_the_manifests_figures_beside_the_majority_class(library):
    metrics, card = library.manifest(NAME).metrics, library.card(NAME)
    for part in ("as_charted", "no_lab", "lab"):
        assert f"{metrics[part]['auroc']:.3f}" in card
        assert f"{metrics[part]['accuracy']:.3f} / {metrics[part]['majority']:.3f}" in card
    assert "Race and ethnicity are not inputs" in card


def test_each_shipped_folder_is_smaller_than_ten_megabytes():
    for folder in MODELS.glob("*/"):
        assert sum(file.stat().st_size for file in folder.iterdir()) < 10_000_000, folder.name
