"""The plots of `diabetes-risk`: path in the model's folder -> bytes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_export import plots
from model_export.datasets.nhanes_diabetes import Persons
from model_export.metrics import confusion_counts
from model_export.plots import Bar, Plot
from model_export.recipes.diabetes_features import FEATURES, LAB, NO_LAB
from model_export.recipes.diabetes_measure import Rule

Array = NDArray[np.float64]
TITLES = {NO_LAB: "without laboratory", LAB: "with fasting glucose"}
MODELS = {
    "logistic_regression": "logistic regression",
    "random_forest": "random forest",
    "boosted_trees": "boosted trees",
    "blend": "blend (shipped)",
}


def plots_of(
    persons: Persons, probability: Mapping[str, Array], rules: Mapping[str, Rule], metrics: Mapping[str, Any]
) -> dict[str, bytes]:
    """Return `plots/<name>.png` and `.svg`. probability: by graph (n,), NaN where it does not apply."""
    return {
        f"plots/{plot.name}.{kind}": content
        for plot in _plots(persons, probability, rules, metrics)
        for kind, content in (("png", plot.png), ("svg", plot.svg))
    }


def _plots(
    persons: Persons, probability: Mapping[str, Array], rules: Mapping[str, Rule], metrics: Mapping[str, Any]
) -> list[Plot]:
    series = {}
    for graph, title in TITLES.items():
        chosen = ~np.isnan(probability[graph])
        series[title] = (persons.diagnosed[chosen], probability[graph][chosen])
    thresholds = {title: rules[graph].policy.report_from for graph, title in TITLES.items()}
    found = [
        plots.roc(series, thresholds=thresholds),
        plots.precision_recall(series),
        plots.calibration(series),
        plots.selective({TITLES[LAB]: series[TITLES[LAB]]}),
    ]
    truth, given = series[TITLES[LAB]]
    if len(truth):
        said = (given >= 0.5).astype(np.intp)
        counts = confusion_counts(truth.astype(np.intp), said, 2)
        found.append(plots.confusion(counts, ("no diabetes", "diabetes"), title="With fasting glucose, at 0.5"))
    if "importance" in metrics:
        found += [_importance(graph, metrics["importance"][graph]) for graph in TITLES]
    if "comparison" in metrics:
        found.append(_comparison(metrics["comparison"]))
    return found


def _importance(graph: str, falls: Mapping[str, float | None]) -> Plot:
    labels = {feature.name: feature.label.split(" (")[0] for feature in FEATURES}
    ordered = sorted(falls.items(), key=lambda item: -(item[1] or 0.0))
    values: dict[str, Mapping[str, Bar]] = {labels[name]: {"fall": fall} for name, fall in ordered}
    return plots.bars(
        values,
        axis="fall of AUROC when shuffled",
        name=f"importance_{graph}",
        title=f"What it looks at, {TITLES[graph]}",
        note="one input shuffled between persons, out of fold",
        from_zero=True,
    )


def _comparison(comparison: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Plot:
    values: dict[str, Mapping[str, Bar]] = {
        title: {TITLES[graph]: comparison[graph][model]["auroc"] for graph in TITLES}
        for model, title in MODELS.items()
    }
    return plots.bars(
        values,
        axis="AUROC",
        name="comparison",
        title="Models beside each other",
        note="five folds by person, the same for all",
    )
