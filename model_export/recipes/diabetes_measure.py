"""How good `diabetes-risk` is: the same figures for cross-validation and for any other persons.

Keys are those of `consilium-export evaluate --json`. A class, a subgroup or all laboratory values may be absent;
then the figures are null.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.conformal import Answer, Conformal
from clinical.risk import RiskPolicy
from model_export.datasets.nhanes_diabetes import Persons
from model_export.metrics import auroc, brier, decisions, expected_calibration_error, rounded, subgroup, summary
from model_export.recipes.diabetes_features import DESIGNS, GLUCOSE, NAMES, NO_LAB, Design

Array = NDArray[np.float64]
Truth = NDArray[np.bool_]
Ask = Callable[
    [Design, Array, NDArray[np.intp]], Array
]  # design, rows (m, 12), whose they are -> probability (m,)

RESAMPLES = 1000
AGE_BANDS = ((20, 40), (40, 60), (60, 121))
LEAST_ROWS = 20  # of a subgroup; figures of fewer persons would be noise
# What charts typically hold, beside age and sex.
CHARTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "bmi": ("bmi",),
        "vitals_smoking": ("bmi", "diastolic_mm_hg", "smoking"),
        "vitals_smoking_family": ("bmi", "diastolic_mm_hg", "smoking", "family_history"),
        "all_but_waist": tuple(name for name in NAMES if name != "waist_cm"),
        "all_but_insulin": tuple(name for name in NAMES if name != "fasting_insulin_u_ml"),
    }
)


@dataclass(frozen=True, slots=True)
class Rule:
    """What is done with a graph's probability."""

    policy: RiskPolicy
    conformal: Conformal


def measure(people: Persons, rows: Array, ask: Ask, rules: Mapping[str, Rule], *, seed: int) -> dict[str, Any]:
    """Return all figures. rows (n, 12): what the server read of `people`."""
    everyone = np.arange(len(people))
    found: dict[str, Any] = {}
    probability: dict[str, Array] = {}
    for graph, design in DESIGNS.items():
        chosen = everyone[design.applies(rows)]
        given = ask(design, rows[chosen], chosen)
        truth = people.diagnosed[chosen]
        threshold = rules[graph].policy.report_from
        found[graph] = {
            **summary(truth, given, threshold=threshold, seed=seed, resamples=RESAMPLES),
            "subgroups": subgroups(people, rows, chosen, given, threshold),
            "abstention": abstention(truth, given, rules[graph].conformal),
            "charts": charts(design, people, rows, chosen, ask),
        }
        probability[graph] = _spread(given, chosen, len(people))
    found["undiagnosed"] = undiagnosed(people, probability[NO_LAB], rules[NO_LAB].policy.report_from, seed)
    return found


def _spread(values: Array, places: NDArray[np.intp], length: int) -> Array:
    whole = np.full(length, np.nan)
    whole[places] = values
    return whole


def subgroups(
    people: Persons, rows: Array, chosen: NDArray[np.intp], probability: Array, threshold: float
) -> dict[str, dict[str, Any]]:
    """Return figures by sex, age band and race/ethnicity; the latter is reported and never an input."""
    age, male = rows[chosen, 0], rows[chosen, 1] > 0
    race = np.array(people.race, dtype=object)[chosen]
    groups = {
        "sex": {"female": ~male, "male": male},
        "age": {f"{low}-{high - 1}": (age >= low) & (age < high) for low, high in AGE_BANDS},
        "race_ethnicity": {name or "not recorded": race == name for name in sorted(set(people.race))},
    }
    truth = people.diagnosed[chosen]
    return {
        kind: {
            name: subgroup(truth[members], probability[members], threshold=threshold)
            for name, members in parts.items()
            if members.sum() >= LEAST_ROWS
        }
        for kind, parts in groups.items()
    }


def abstention(truth: Truth, probability: Array, conformal: Conformal) -> dict[str, Any]:
    """Return how often one class is named, how often that is right, and how often the true class is excluded."""
    answers = np.array([conformal.answer(float(p)) for p in probability], dtype=object)
    named = answers != Answer.UNSURE
    right = (answers == Answer.POSITIVE) == truth
    wrongly_excluded = named & ~right
    return {
        "answered": _share(named),
        "accuracy_answered": _share(right[named]),
        "negative_excluded": _share(wrongly_excluded[~truth]),
        "positive_excluded": _share(wrongly_excluded[truth]),
    }


def charts(
    design: Design, people: Persons, rows: Array, chosen: NDArray[np.intp], ask: Ask
) -> dict[str, dict[str, Any]]:
    """Return discrimination and calibration when a chart holds no more than CHARTS (and what is required)."""
    found = {}
    for name, held in CHARTS.items():
        if design.graph == NO_LAB and name == "all_but_insulin":
            continue  # the same as the whole row
        keep = {*held, *design.requires}
        left = np.where([feature in keep for feature in NAMES], rows[chosen], np.nan)
        given, truth = ask(design, left, chosen), people.diagnosed[chosen]
        found[name] = {
            "auroc": rounded(auroc(truth, given)),
            "brier": rounded(brier(truth, given)),
            "ece": rounded(expected_calibration_error(truth, given)),
            "predicted": _share(given),
            "observed": _share(truth),
        }
    return found


def undiagnosed(people: Persons, no_lab: Array, threshold: float, seed: int) -> dict[str, Any]:
    """Return how the risk without laboratory finds those with the glucose of diabetes whom nobody told."""
    chosen = ~people.diagnosed & ~np.isnan(people.features[:, GLUCOSE])
    truth, given = people.undiagnosed[chosen], no_lab[chosen]
    found = summary(truth, given, threshold=threshold, seed=seed, resamples=200)
    keys = ("rows", "positives", "auroc", "auroc_ci95", "auprc", "at_threshold")
    return {key: found[key] for key in keys}


def importance(people: Persons, rows: Array, ask: Ask, seed: int) -> dict[str, dict[str, float | None]]:
    """Return by graph the fall of AUROC when one feature is shuffled between persons."""
    rng = np.random.default_rng(seed)
    found: dict[str, dict[str, float | None]] = {}
    for graph, design in DESIGNS.items():
        chosen = np.flatnonzero(design.applies(rows))
        truth = people.diagnosed[chosen]
        whole = auroc(truth, ask(design, rows[chosen], chosen))
        found[graph] = {}
        for name in design.features:
            mixed = rows[chosen].copy()
            column = NAMES.index(name)
            mixed[:, column] = rng.permutation(mixed[:, column])
            found[graph][name] = rounded(whole - auroc(truth, ask(design, mixed, chosen)))
    return found


def policy_of(truth: Truth, probability: Array, sensitivity: float, ppv: float) -> RiskPolicy:
    """Return thresholds in hundredths.

    report_from: the highest that still finds `sensitivity` of the diagnosed. warn_from: the lowest from which on
    at least `ppv` of those above are diagnosed.
    """
    steps = [step / 100 for step in range(1, 100)]
    at = {step: decisions(truth, probability, step) for step in steps}
    report = max((step for step in steps if (at[step]["sensitivity"] or 0) >= sensitivity), default=steps[0])
    warn = min((step for step in steps if step >= report and (at[step]["ppv"] or 0) >= ppv), default=steps[-1])
    return RiskPolicy(report, warn)


def _share(values: NDArray[Any]) -> float | None:
    return rounded(float(np.mean(values.astype(np.float64)))) if len(values) else None
