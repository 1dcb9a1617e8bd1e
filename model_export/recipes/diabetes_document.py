"""The manifest document of `diabetes-risk`, without what the gate adds."""

import importlib.metadata
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.codes import DIABETES_MELLITUS
from model_export.datasets import nhanes_diabetes as nhanes
from model_export.recipes.diabetes_card import transparency
from model_export.recipes.diabetes_features import DESIGNS, FEATURES, LAB, NAMES, NO_LAB, Design, feature_document
from model_export.recipes.diabetes_fit import CrossValidated, People
from model_export.recipes.diabetes_measure import Rule
from model_runtime.histogram import histogram_of
from model_runtime.tasks.coding import coding_document

Array = NDArray[np.float64]
NAME = "diabetes-risk"
VERSION = "1.0.0"
# Who is told: a screening card must find three in four; a warning must be right at least every second time.
REPORT_SENSITIVITY = 0.75
WARN_PPV = 0.50
QUICK = "Made with --quick: it only shows that the recipe runs, and is of no use."
RULE = (
    f"report_from: the highest hundredth that finds {REPORT_SENSITIVITY:.0%} of the diagnosed; warn_from: the "
    f"lowest hundredth from which on at least {WARN_PPV:.0%} of those above are diagnosed; both out of fold"
)
RECIPE_TEXT = (
    "Mean, in log-odds, of four histogram gradient boosted tree ensembles and of one additive model of broken "
    "lines (logistic regression, L2), then Platt scaling fitted out of fold. Every person is learnt from twice, "
    "the second time with inputs struck out at random and half the weight. Who was told borderline is measured "
    "on and not learnt from. Settings by five-fold cross-validation by person; fitted on all persons at the end."
)


def document_of(
    persons: nhanes.Persons,
    people: People,
    tried: Mapping[str, CrossValidated],
    rules: Mapping[str, Rule],
    metrics: Mapping[str, Any],
    seed: int,
    minutes: float,
    *,
    quick: bool,
) -> dict[str, Any]:
    """Return manifest.json without what the gate adds."""
    validated = {key: value for key, value in metrics.items() if key != "external"}
    return {
        "schema": 2,
        "name": NAME,
        "version": VERSION,
        "title": "Probability of diagnosed diabetes in adults",
        "task": "risk",
        "notice": QUICK if quick else None,
        "intended_use": "Research and demonstration of decision support: a prompt to test for diabetes, shown to "
        "a clinician with the inputs used, the inputs missing, and what moved the estimate. Not a medical device.",
        "population": "Adults of 20 years and older in primary care; learnt from the United States, 2011-2016.",
        "not_for": "Diagnosis; children; pregnancy; telling types of diabetes apart; people in acute illness; "
        "deciding not to test.",
        "training": _training(persons, seed, minutes),
        "metrics": {"cross_validation": validated, "external": metrics["external"]},
        "reference": _reference(people.rows, tried),
        "transparency": transparency(metrics),
        "features": [feature_document(feature) for feature in FEATURES],
        "outcome": coding_document(DIABETES_MELLITUS),
        "variants": [_variant(DESIGNS[graph], rules[graph]) for graph in (LAB, NO_LAB)],
    }


def _training(persons: nhanes.Persons, seed: int, minutes: float) -> dict[str, Any]:
    libraries = ("scikit-learn", "numpy", "onnx", "onnxruntime")
    return {
        "data": [
            {
                "name": nhanes.NAME,
                "citation": nhanes.CITATION,
                "licence": nhanes.LICENCE,
                "subjects": len(persons),
                "rows": len(persons),
                "sha256": persons.sha256,
            }
        ],
        "seed": seed,
        "recipe": RECIPE_TEXT,
        "minutes": round(minutes, 1),
        "versions": {name: importlib.metadata.version(name) for name in libraries},
    }


def _reference(rows: Array, tried: Mapping[str, CrossValidated]) -> dict[str, Any]:
    """Return how inputs and scores lay: a score is that of the graph that the server would have chosen."""
    score = np.where(np.isnan(tried[LAB].probability), tried[NO_LAB].probability, tried[LAB].probability)
    return {
        "features": {name: histogram_of(rows[:, n]).document() for n, name in enumerate(NAMES)},
        "score": histogram_of(score).document(),
    }


def _variant(design: Design, rule: Rule) -> dict[str, Any]:
    conformal = rule.conformal
    return {
        "graph": design.graph,
        "features": list(design.features),
        "requires": list(design.requires),
        "policy": {"report_from": rule.policy.report_from, "warn_from": rule.policy.warn_from, "rule": RULE},
        "conformal": {
            "alpha": conformal.alpha,
            "negative": conformal.negative,
            "positive": conformal.positive,
            "rows": conformal.rows,
        },
    }
