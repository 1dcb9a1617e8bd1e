"""The diabetes model as it is shipped: it loads, and says what a clinician would expect of it."""

from pathlib import Path

import numpy as np
import pytest

from clinical.conformal import Answer
from clinical.explanation import explainer_of
from model_runtime.engine import LocalEngine, State
from model_runtime.library import Library
from model_runtime.tasks.risk import Risk

MODELS = Path(__file__).parents[2] / "models"
NAME = "diabetes-risk"


@pytest.fixture(scope="module")
def library():
    return Library(MODELS)


@pytest.fixture(scope="module")
def engine(library):
    return LocalEngine(library)


@pytest.fixture(scope="module")
def risk(engine, library):
    """risk(**values): the probability of one person by the graph that the server chooses; else missing."""
    part = library.manifest(NAME).require(Risk)

    def ask(**values):
        variant = part.variant_for(values)
        row = np.array([[values.get(name, np.nan) for name in variant.features]], np.float64)
        return engine.run(NAME, {"features": row}, graph=variant.graph)["probability"].item()

    return ask


YOUNG = {"age": 25, "sex_male": 1, "bmi": 21, "waist_cm": 76, "diastolic_mm_hg": 68, "family_history": 0}
OLD = {"age": 65, "sex_male": 1, "bmi": 38, "waist_cm": 125, "diastolic_mm_hg": 78, "family_history": 1}


def test_it_loads_and_reproduces_its_golden_outputs(engine):
    assert engine.warm(NAME).state is State.READY


def test_the_graph_is_chosen_by_what_the_chart_holds(library):
    part = library.manifest(NAME).require(Risk)
    assert part.variant_for({"age", "sex_male"}).graph == "no_lab"
    assert part.variant_for({"age", "sex_male", "fasting_insulin_u_ml"}).graph == "no_lab"
    assert part.variant_for({"age", "sex_male", "fasting_glucose_mg_dl"}).graph == "lab"
    assert part.variant_for({"age"}) is None


def test_race_is_none_of_its_features(library):
    names = [feature.name for feature in library.manifest(NAME).require(Risk).features]
    assert len(names) == 12
    assert not {name for name in names if "race" in name or "ethnic" in name}


def test_an_old_heavy_person_with_high_glucose_is_at_higher_risk_than_a_young_slim_one(risk):
    assert risk(**OLD, fasting_glucose_mg_dl=180) > 0.6
    assert risk(**YOUNG) < 0.02
    assert risk(**YOUNG, fasting_glucose_mg_dl=88) < 0.02


@pytest.mark.parametrize("name", ["bmi", "waist_cm", "family_history", "general_health"])
def test_more_of_what_medicine_calls_a_risk_raises_the_risk(risk, name):
    low, high = {"bmi": (22, 40), "waist_cm": (85, 125), "family_history": (0, 1), "general_health": (1, 5)}[name]
    middle = {**OLD, "age": 55, "bmi": 31, "waist_cm": 108, "general_health": 3}
    # The waist goes along, so that a heavier person is not a slimmer one of the same waist.
    along = {"waist_cm": 108 * (high / 31) ** 0.5} if name == "bmi" else {}
    assert risk(**{**middle, **along, name: high}) > risk(**{**middle, name: low})


@pytest.mark.parametrize(("name", "low", "high"), [("fasting_glucose_mg_dl", 90, 200), ("age", 25, 70)])
def test_a_stronger_risk_factor_gives_a_higher_risk(risk, name, low, high):
    middle = {**OLD, "age": 55, "fasting_glucose_mg_dl": 115}
    assert risk(**{**middle, name: high}) > risk(**{**middle, name: low})


def test_age_and_sex_alone_give_a_probability(risk):
    assert 0 < risk(age=60, sex_male=0) < 1


def test_the_policy_tells_the_old_person_and_leaves_the_young_one_alone(risk, library):
    lab, no_lab = library.manifest(NAME).require(Risk).variants
    assert risk(**OLD, fasting_glucose_mg_dl=180) >= lab.policy.warn_from
    assert risk(**YOUNG) < no_lab.policy.report_from


def test_it_is_sure_of_the_young_and_of_the_sick_and_not_of_those_between(risk, library):
    lab, no_lab = library.manifest(NAME).require(Risk).variants
    assert no_lab.conformal.answer(risk(**YOUNG)) is Answer.NEGATIVE
    assert lab.conformal.answer(risk(**OLD, fasting_glucose_mg_dl=180)) is Answer.POSITIVE
    assert (
        no_lab.conformal.answer((1 - no_lab.conformal.positive + no_lab.conformal.negative) / 2) is Answer.UNSURE
    )


@pytest.mark.parametrize("graph", ["no_lab", "lab"])
def test_its_explanation_adds_up_to_its_answer(library, engine, graph):
    manifest = library.manifest(NAME)
    variant = next(one for one in manifest.require(Risk).variants if one.graph == graph)
    explainer = explainer_of(library.arrays(NAME, f"{graph}_explanation"))
    known = {**OLD, "fasting_glucose_mg_dl": 140, "general_health": 4, "fasting_insulin_u_ml": 22}
    for without in ("", *(name for name in known if name not in variant.requires)):
        row = np.array([np.nan if name == without else known.get(name, np.nan) for name in variant.features])
        said = engine.run(NAME, {"features": row[None]}, graph=graph)["log_odds"].item()
        found = explainer.explain(row)
        assert found.score == pytest.approx(said, abs=1e-9)


def test_its_figures_reach_what_was_asked_out_of_fold(library):
    measured = library.manifest(NAME).metrics["cross_validation"]
    assert measured["no_lab"]["auroc"] >= 0.84
    assert measured["lab"]["accuracy"] >= 0.91 > measured["lab"]["majority"] + 0.04
    assert max(measured[part]["ece"] for part in ("no_lab", "lab")) <= 0.02


def test_the_card_shows_the_manifests_figures_beside_the_majority_class(library):
    metrics, card = library.manifest(NAME).metrics["cross_validation"], library.card(NAME)
    for part in ("no_lab", "lab"):
        assert f"{metrics[part]['auroc']:.3f}" in card
        assert f"{metrics[part]['accuracy']:.3f}" in card
        assert str(metrics[part]["majority"]) in card
    assert "not a medical device" in card
    assert "never an input" in card


def test_each_shipped_folder_is_smaller_than_ten_megabytes():
    for folder in MODELS.glob("*/"):
        assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 10_000_000, folder.name
