"""Three usual models beside the blend, on the same folds: logistic regression, random forest, boosted trees."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from model_export.datasets.splits import Split
from model_export.metrics import accuracy, auroc, brier, expected_calibration_error, rounded
from model_export.recipes.diabetes_features import Design
from model_export.recipes.diabetes_fit import CrossValidated, People, booster

Array = NDArray[np.float64]
Model = Any  # scikit-learn is untyped
# What was tried of each, on the first graph; the best by Brier score is compared. All of it is in the manifest.
INVERSE_PENALTIES = (0.01, 0.1, 1.0)
SMALLEST_LEAVES = (5, 15, 40)


def compare(
    design: Design, people: People, splits: Sequence[Split], blend: CrossValidated, seed: int, *, quick: bool
) -> dict[str, dict[str, Any]]:
    """Return figures of each model out of fold, with the setting that won, on whom the graph applies to."""
    applies = design.applies(people.rows)
    columns = design.table(people.rows)
    found: dict[str, dict[str, Any]] = {}
    for name, settings in _models(design, seed, quick=quick).items():
        tried = list(settings.items())[: 1 if quick else None]
        scored = {setting: _out_of_fold(make, columns, people, splits, applies) for setting, make in tried}
        truth = people.truth[applies]
        best = min(scored, key=lambda setting: brier(truth, scored[setting][applies]))
        found[name] = {"setting": best, **_figures(truth, scored[best][applies])}
    found["blend"] = {"setting": "shipped", **_figures(people.truth[applies], blend.probability[applies])}
    return found


def _models(design: Design, seed: int, *, quick: bool) -> Mapping[str, Mapping[str, Callable[[], Model]]]:
    rising = [column.rising for column in design.columns]
    trees = 10 if quick else 100

    def logistic(c: float) -> Callable[[], Model]:
        return lambda: make_pipeline(
            SimpleImputer(strategy="median", add_indicator=True), StandardScaler(), LogisticRegression(C=c)
        )

    def forest(leaf: int) -> Callable[[], Model]:
        return lambda: RandomForestClassifier(trees, min_samples_leaf=leaf, max_features=3, random_state=seed)

    return {
        "logistic_regression": {f"C {c:g}": logistic(c) for c in INVERSE_PENALTIES},
        "random_forest": {f"smallest leaf {leaf}": forest(leaf) for leaf in SMALLEST_LEAVES},
        "boosted_trees": {
            "monotone": lambda: booster(design.boosters[0], rising, seed, quick=quick),
            "not monotone": lambda: booster(design.boosters[0], [0] * len(rising), seed, quick=quick),
        },
    }


def _out_of_fold(
    make: Callable[[], Model],
    columns: Array,
    people: People,
    splits: Sequence[Split],
    applies: NDArray[np.bool_],
) -> Array:
    probability = np.full(len(people.truth), np.nan)
    for split in splits:
        train = split.train[(people.learn & applies)[split.train]]
        test = split.test[applies[split.test]]
        model = make().fit(columns[train], people.truth[train])
        probability[test] = model.predict_proba(columns[test])[:, 1]
    return probability


def _figures(truth: NDArray[np.bool_], probability: Array) -> dict[str, float | None]:
    return {
        "auroc": rounded(auroc(truth, probability)),
        "accuracy": rounded(accuracy(truth, probability)),
        "brier": rounded(brier(truth, probability)),
        "ece": rounded(expected_calibration_error(truth, probability)),
    }
