"""The diabetes risk model: a random forest on seven values that a chart may hold, missing ones included.

Leaf size and policy are chosen by cross-validation on the training persons; the held-out quarter is looked at
once, with the file that is shipped. Race is reported on and never an input.
"""

import importlib.metadata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold

from clinical.codes import DIABETES_MELLITUS
from model_export.datasets import nhanes_diabetes as nhanes
from model_export.metrics import auroc, brier, decisions, rounded, subgroup, summary
from model_export.onnx.gate import TREES, Candidate, release, tabular_rows
from model_export.onnx.tree_ensemble import forest_model
from model_export.recipe import Progress, Recipe
from model_export.recipes.diabetes_card import card
from model_runtime.library import Library

Array = NDArray[np.float64]
Predict = Callable[[Array], Array]  # features (n, 7) -> probability (n,)

NAME = "diabetes-risk"
VERSION = "0.1.0"
SEED = 20261122
TREE_COUNT = 200
LEAF_SIZES = (5, 10, 20, 40, 80)
FEATURES_PER_SPLIT = 3
FOLDS = 5
# Who is told: a screening card must find three in four; a warning must be right at least every second time.
REPORT_SENSITIVITY = 0.75
WARN_PPV = 0.50
# (name, label, unit, required, plausible minimum and maximum); the order is the tensor's.
FEATURES = (
    ("age", "Age", "a", True, 20, 120),
    ("sex_male", "Sex", "", True, 0, 1),
    ("bmi", "Body mass index", "kg/m2", False, 10, 100),
    ("waist_cm", "Waist circumference", "cm", False, 40, 250),
    ("diastolic_mm_hg", "Diastolic blood pressure", "mm[Hg]", False, 20, 200),
    ("family_history", "Diabetes in a close relative", "", False, 0, 1),
    ("fasting_glucose_mg_dl", "Fasting glucose", "mg/dL", False, 20, 800),
)
GLUCOSE = 6
AGE_BANDS = ((20, 40), (40, 60), (60, 121))


def train(data: Path, out: Path, *, seed: int, progress: Progress) -> Path:
    """Choose, fit, measure and export. See model_export.recipe.Train."""
    persons = nhanes.load(data)
    judged = nhanes.held_out(persons.person, seed=SEED)
    learn, judge = persons.part(~judged), persons.part(judged)
    leaf_size, out_of_fold, scores = choose_leaf_size(learn, seed, progress)
    policy = choose_policy(learn.diagnosed, out_of_fold)
    progress("fitting", 0, 1)
    forest = fit(learn.features, learn.diagnosed, leaf_size, seed)
    progress("measuring", 0, 1)
    predict = predictor(forest)
    metrics = measure(predict, judge, policy["report_from"], seed)
    metrics["importance"] = importance(predict, judge, seed)
    metrics["chosen"] = {
        "min_samples_leaf": leaf_size,
        "trees": TREE_COUNT,
        "cv_brier": scores,
        "rows": len(learn),
    }
    document = manifest_document(persons.sha256, policy, metrics, seed)
    progress("export gate", 0, 1)
    folder, parity = release(_candidate(document, forest, judge, seed), out)
    progress(f"parity {parity.difference:.1e} over {parity.rows} rows", 1, 1)
    return folder


def evaluate(model_folder: Path, data: Path, *, progress: Progress) -> Mapping[str, Any]:
    """Measure the exported file through model_runtime. See model_export.recipe.Evaluate.

    On the data it was trained from only the held-out persons count; on other data, everybody.
    """
    library = Library(model_folder.parent)
    manifest = library.manifest(model_folder.name)
    session = library.verify(manifest.name)
    persons = nhanes.load(data)
    known_data = persons.sha256 == manifest.training.data_sha256
    if known_data:
        persons = persons.part(nhanes.held_out(persons.person, seed=SEED))

    def predict(features: Array) -> Array:
        return np.asarray(session.run({"features": features})["probability"])[:, 0]

    progress("measuring", 0, 1)
    measured = measure(predict, persons, manifest.require_risk().policy.report_from, manifest.training.seed)
    return {
        "model": manifest.name,
        "version": manifest.version,
        "sha256": manifest.sha256,
        "persons": "held out from training" if known_data else "all of another data set",
        **measured,
    }


def fit(features: Array, diagnosed: NDArray[np.bool_], leaf_size: int, seed: int) -> RandomForestClassifier:
    """Fit a forest; missing values are NaN and find their own way."""
    forest = RandomForestClassifier(
        TREE_COUNT,
        min_samples_leaf=leaf_size,
        max_features=FEATURES_PER_SPLIT,
        random_state=seed,
        n_jobs=2,
    ).fit(features, diagnosed)
    forest.set_params(n_jobs=None)  # threads cost more than they give at predict time
    return forest


def predictor(forest: RandomForestClassifier) -> Predict:
    """Return the trainer's own function: the probability of diagnosed diabetes."""

    def predict(features: Array) -> Array:
        return np.asarray(forest.predict_proba(features)[:, 1])

    return predict


def choose_leaf_size(learn: nhanes.Persons, seed: int, progress: Progress) -> tuple[int, Array, dict[str, float]]:
    """Return the leaf size of the lowest Brier score, its out-of-fold probabilities, and all scores.

    Brier and not AUROC: the card shows the probability, so it must be a probability.
    """
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(learn.features, learn.diagnosed))
    found: dict[int, Array] = {}
    for done, leaf_size in enumerate(LEAF_SIZES):
        progress(f"cross-validating leaf size {leaf_size}", done, len(LEAF_SIZES))
        found[leaf_size] = np.empty(len(learn))
        for rows, rest in folds:
            forest = fit(learn.features[rows], learn.diagnosed[rows], leaf_size, seed)
            found[leaf_size][rest] = predictor(forest)(learn.features[rest])
    scores = {leaf_size: brier(learn.diagnosed, probability) for leaf_size, probability in found.items()}
    best = min(scores, key=lambda leaf_size: scores[leaf_size])
    return best, found[best], {str(leaf_size): round(score, 5) for leaf_size, score in scores.items()}


def choose_policy(diagnosed: NDArray[np.bool_], out_of_fold: Array) -> dict[str, float]:
    """Return thresholds in hundredths, from probabilities that training did not see.

    report_from: the highest that still finds REPORT_SENSITIVITY of the diagnosed.
    warn_from: the lowest from which on at least WARN_PPV of those above are diagnosed.
    """
    steps = [step / 100 for step in range(1, 100)]
    at = {step: decisions(diagnosed, out_of_fold, step) for step in steps}
    report = max(step for step in steps if at[step]["sensitivity"] >= REPORT_SENSITIVITY)
    warn = min(step for step in steps if step >= report and (at[step]["ppv"] or 0) >= WARN_PPV)
    return {"report_from": report, "warn_from": warn}


def measure(predict: Predict, judge: nhanes.Persons, threshold: float, seed: int) -> dict[str, Any]:
    """Return the figures: as charted, without laboratory, with laboratory, by group, and the undiagnosed."""
    without = judge.features.copy()
    without[:, GLUCOSE] = np.nan
    charted, no_lab = predict(judge.features), predict(without)
    has_lab = ~np.isnan(judge.features[:, GLUCOSE])
    truth = judge.diagnosed
    return {
        "as_charted": summary(truth, charted, threshold=threshold, seed=seed),
        "no_lab": summary(truth, no_lab, threshold=threshold, seed=seed),
        "lab": summary(truth[has_lab], charted[has_lab], threshold=threshold, seed=seed),
        "undiagnosed": _undiagnosed(judge, no_lab),
        "subgroups": {
            title: {
                name: subgroup(truth[chosen], charted[chosen], threshold=threshold)
                for name, chosen in groups.items()
                if chosen.any()
            }
            for title, groups in _groups(judge).items()
        },
    }


def _groups(judge: nhanes.Persons) -> dict[str, dict[str, NDArray[np.bool_]]]:
    age, sex, race = judge.features[:, 0], np.array(judge.sex), np.array(judge.race)
    return {
        "sex": {str(name): sex == name for name in sorted(set(judge.sex))},
        "age": {f"{low}-{min(high - 1, 80)}": (age >= low) & (age < high) for low, high in AGE_BANDS},
        "race_ethnicity": {str(name): race == name for name in sorted(set(judge.race))},
    }


def _undiagnosed(judge: nhanes.Persons, no_lab: Array) -> dict[str, Any]:
    """Among persons nobody told: does the risk without laboratory find a fasting glucose >= 126 mg/dL?"""
    glucose = judge.features[:, GLUCOSE]
    asked = ~judge.diagnosed & ~np.isnan(glucose)
    high = glucose[asked] >= nhanes.UNDIAGNOSED_GLUCOSE_MG_DL
    return {"rows": int(asked.sum()), "positives": int(high.sum()), "auroc": rounded(auroc(high, no_lab[asked]))}


def importance(predict: Predict, judge: nhanes.Persons, seed: int, repeats: int = 5) -> dict[str, float]:
    """Return how much AUROC falls when one column is shuffled between persons (mean over repeats)."""
    rng = np.random.default_rng(seed)
    whole = auroc(judge.diagnosed, predict(judge.features))
    falls = {}
    for column, (name, *_) in enumerate(FEATURES):
        shuffled = [judge.features.copy() for _ in range(repeats)]
        for table in shuffled:
            rng.shuffle(table[:, column])
        falls[name] = round(whole - float(np.mean([auroc(judge.diagnosed, predict(t)) for t in shuffled])), 4)
    return falls


def manifest_document(
    data_sha256: str, policy: Mapping[str, float], metrics: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Return manifest.json without what the gate fills in."""
    keys = ("name", "label", "unit", "required", "minimum", "maximum")
    libraries = ("scikit-learn", "numpy", "onnx")
    return {
        "schema": 1,
        "name": NAME,
        "version": VERSION,
        "title": "Risk of diabetes in adults",
        "task": "risk",
        "intended_use": "Adults of 20 years and older without a known diabetes: the probability that a person "
        "with these values is one whom a doctor has told of diabetes, to prompt testing (HbA1c, fasting glucose).",
        "not_for": "Children, pregnancy, known diabetes, diagnosis, or withholding a test. Cross-sectional: it "
        "does not predict when diabetes will begin.",
        "intra_op_threads": 1,
        "features": [dict(zip(keys, feature, strict=True)) for feature in FEATURES],
        "outcome": {
            "system": DIABETES_MELLITUS.system,
            "code": DIABETES_MELLITUS.code,
            "display": DIABETES_MELLITUS.display,
        },
        "policy": dict(policy),
        "training": {
            "data": f"NHANES 2011-2016 adults, unweighted. {nhanes.CITATION}",
            "licence": nhanes.LICENCE,
            "data_sha256": data_sha256,
            "seed": seed,
            "versions": {name: importlib.metadata.version(name) for name in libraries},
        },
        "metrics": dict(metrics),
    }


def _candidate(
    document: dict[str, Any], forest: RandomForestClassifier, judge: nhanes.Persons, seed: int
) -> Candidate:
    low, high = (np.array([float(feature[n]) for feature in FEATURES]) for n in (4, 5))
    optional = np.array([not feature[3] for feature in FEATURES])
    predict = predictor(forest)
    return Candidate(
        document=document,
        model=forest_model(forest),
        card=card(document),
        reference=lambda rows: {"probability": predict(rows["features"])[:, None]},
        rows={"features": tabular_rows(low, high, optional, judge.features[:512], seed=seed)},
        limits=TREES,
        output="probability",
        thresholds=(document["policy"]["report_from"], document["policy"]["warn_from"]),
    )


RECIPE = Recipe(
    name=NAME,
    title="Random forest on seven chart values: probability of diagnosed diabetes",
    data_set=nhanes.NAME,
    seed=SEED,
    train=train,
    evaluate=evaluate,
)
