"""The diabetes risk model: two graphs, without and with laboratory, each a calibrated blend (diabetes_blend).

Everything that is chosen (calibration, thresholds, conformal quantiles) comes from five-fold cross-validation by
person, whose models are run as exported ONNX on rows that the server's own feature code read. The shipped graphs
are then fitted on everybody. Race is reported on and never an input.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from clinical.conformal import conformal_of
from clinical.errors import IncorrectInput
from model_export.datasets import nhanes_2009_2012 as earlier
from model_export.datasets import nhanes_diabetes as nhanes
from model_export.datasets import nhanes_xpt
from model_export.datasets.folders import sets_at
from model_export.datasets.nhanes_fhir import server_rows
from model_export.metrics import summary
from model_export.onnx.gate import release
from model_export.onnx.trial import trial_session
from model_export.recipe import Progress, Recipe, TrainOptions
from model_export.recipes.diabetes_blend import Blend
from model_export.recipes.diabetes_compare import compare
from model_export.recipes.diabetes_document import NAME, REPORT_SENSITIVITY, WARN_PPV, document_of
from model_export.recipes.diabetes_features import DESIGNS, FEATURES, NAMES, NO_LAB, Design
from model_export.recipes.diabetes_fit import (
    CrossValidated,
    People,
    Trainer,
    cross_validate,
    fit,
    session_probability,
    splits_of,
)
from model_export.recipes.diabetes_graph import graph_of
from model_export.recipes.diabetes_measure import Rule, importance, measure, policy_of
from model_export.recipes.diabetes_plots import plots_of
from model_export.recipes.diabetes_release import candidate_of
from model_runtime.library import Library
from model_runtime.manifest import Manifest
from model_runtime.session import Session
from model_runtime.tasks.risk import Risk

Array = NDArray[np.float64]

SEED = 20261122
SETS = {nhanes.NAME: nhanes.LAYOUT, earlier.NAME: earlier.LAYOUT, nhanes_xpt.NAME: nhanes_xpt.LAYOUT}
ALPHA = 0.1  # of either class one in ten may be excluded wrongly


def train(data: Path | None, out: Path, *, seed: int, progress: Progress, options: TrainOptions) -> Path:
    """Cross-validate, fit on everybody, measure and export. See model_export.recipe.Train."""
    # One thread: the trees are small, and threads that wait for each other take longer than they save.
    with threadpool_limits(limits=1):
        return _train(data, out, seed, progress, options)


def _train(data: Path | None, out: Path, seed: int, progress: Progress, options: TrainOptions) -> Path:
    if data is None:
        raise IncorrectInput(f"{NAME} is trained on {nhanes.NAME}: give its folder")
    began = time.monotonic()
    folders = sets_at(data, SETS)
    main = folders.get(nhanes.NAME) or folders.get(nhanes_xpt.NAME)
    if main is None:
        raise IncorrectInput(f"{nhanes.NAME} is not there, and nothing else holds what is learnt from")
    persons = nhanes.load(main)
    progress("reading the records as the server does", 0, 1)
    rows = server_rows(persons.features, FEATURES)
    people = People(persons.person, rows, persons.diagnosed, ~persons.borderline)
    splits = splits_of(people, seed)
    tried = {
        graph: cross_validate(design, people, splits, seed, progress, quick=options.quick)
        for graph, design in DESIGNS.items()
    }
    rules = {graph: _rule(people, tried[graph]) for graph in DESIGNS}
    progress("measuring out of fold", 0, 1)
    metrics = _cross_validation(persons, people, tried, rules, seed)
    metrics["comparison"] = {
        graph: compare(design, people, splits, tried[graph], seed, quick=options.quick)
        for graph, design in DESIGNS.items()
    }
    blends = {graph: _shipped(design, people, tried[graph], seed, options) for graph, design in DESIGNS.items()}
    metrics["external"] = _external(folders, blends, rules, seed)
    minutes = (time.monotonic() - began) / 60
    document = document_of(persons, people, tried, rules, metrics, seed, minutes, quick=options.quick)
    progress("export gate", 0, 1)
    plots = plots_of(persons, {graph: found.probability for graph, found in tried.items()}, rules, metrics)
    folder, parity = release(candidate_of(document, blends, people, rules, plots, seed, quick=options.quick), out)
    if options.keep_trainer:
        (folder / "trainer").mkdir()
        for graph, design in DESIGNS.items():
            joblib.dump(Trainer(blends[graph], design), folder / "trainer" / f"{graph}.joblib")
    progress(f"parity {max(found.difference for found in parity.values()):.1e}", 1, 1)
    return folder


def evaluate(folder: Path, data: Path | None, *, progress: Progress, plots: Path | None) -> Mapping[str, Any]:
    """Measure the shipped file through model_runtime. See model_export.recipe.Evaluate."""
    if data is None:
        raise IncorrectInput(f"{NAME} is measured on {nhanes.NAME} or {earlier.NAME}: give its folder")
    library = Library(folder.parent)
    sessions = library.verify_all(folder.name)
    manifest = library.manifest(folder.name)
    rules = _rules_of(manifest)
    result: dict[str, Any] = {"model": manifest.name, "version": manifest.version, "sha256": manifest.digest}
    result["sets"] = {}
    for name, where in sets_at(data, SETS).items():
        progress(f"measuring {name}", 0, 1)
        if name != earlier.NAME:
            persons = nhanes.load(where)
            stored = manifest.training.was_on(persons.sha256)
            figures = manifest.metrics["cross_validation"] if stored else _judged(persons, sessions, rules, plots)
            result.update({key: value for key, value in figures.items() if key != "external"})
        else:
            persons, stored = earlier.load(where, earlier.EXTERNAL_CYCLE), False
            result["external"] = _external_figures(persons, sessions[NO_LAB], rules, manifest.training.seed)
        judged = "cross-validation, out of fold" if stored else "all subjects, none in training"
        result["sets"][name] = {"sha256": persons.sha256, "subjects": len(persons), "judged": judged}
    result["judged"] = "; ".join(dict.fromkeys(said["judged"] for said in result["sets"].values()))
    return result


def _judged(
    persons: nhanes.Persons, sessions: Mapping[str, Session], rules: Mapping[str, Rule], plots: Path | None
) -> dict[str, Any]:
    rows = server_rows(persons.features, FEATURES)

    def ask(design: Design, asked: Array, _whose: NDArray[np.intp]) -> Array:
        return session_probability(sessions[design.graph], design, asked)

    found = measure(persons, rows, ask, rules, seed=SEED)
    if plots is not None:
        everyone = np.arange(len(persons))
        given = {graph: np.full(len(persons), np.nan) for graph in DESIGNS}
        for graph, design in DESIGNS.items():
            chosen = everyone[design.applies(rows)]
            given[graph][chosen] = ask(design, rows[chosen], chosen)
        plots.mkdir(parents=True, exist_ok=True)
        for name, content in plots_of(persons, given, rules, found).items():
            (plots / Path(name).name).write_bytes(content)
    return found


def _rule(people: People, tried: CrossValidated) -> Rule:
    chosen = ~np.isnan(tried.probability)
    truth, given = people.truth[chosen], tried.probability[chosen]
    return Rule(policy_of(truth, given, REPORT_SENSITIVITY, WARN_PPV), conformal_of(truth, given, ALPHA))


def _rules_of(manifest: Manifest) -> dict[str, Rule]:
    return {one.graph: Rule(one.policy, one.conformal) for one in manifest.require(Risk).variants}


def _cross_validation(
    persons: nhanes.Persons,
    people: People,
    tried: Mapping[str, CrossValidated],
    rules: Mapping[str, Rule],
    seed: int,
) -> dict[str, Any]:
    """Return the figures of `measure`, everybody asked of the fold that did not see them."""

    def ask(design: Design, asked: Array, whose: NDArray[np.intp]) -> Array:
        given = np.full(len(people.truth), np.nan)
        rows = np.full((len(people.truth), len(NAMES)), np.nan)
        rows[whose] = asked
        for fold in tried[design.graph].folds:
            mine = np.intersect1d(fold.split.test, whose)
            given[mine] = fold.probability(design, rows[mine])
        return given[whose]

    found = measure(persons, people.rows, ask, rules, seed=seed)
    found["importance"] = importance(persons, people.rows, ask, seed)
    return found


def _shipped(design: Design, people: People, tried: CrossValidated, seed: int, options: TrainOptions) -> Blend:
    """Fit on everybody; calibrated on the scores out of fold, which no fitted person can flatter."""
    chosen = ~np.isnan(tried.scores)
    return fit(design, people, seed, quick=options.quick).calibrated(tried.scores[chosen], people.truth[chosen])


def _external(
    folders: Mapping[str, Path], blends: Mapping[str, Blend], rules: Mapping[str, Rule], seed: int
) -> dict[str, Any] | None:
    if earlier.NAME not in folders:
        return None
    persons = earlier.load(folders[earlier.NAME], earlier.EXTERNAL_CYCLE)
    session = trial_session(graph_of(blends[NO_LAB], DESIGNS[NO_LAB]), NAME)
    return _external_figures(persons, session, rules, seed)


def _external_figures(
    persons: nhanes.Persons, session: Session, rules: Mapping[str, Rule], seed: int
) -> dict[str, Any]:
    """Return figures on the earlier cycle, nobody of which was learnt from."""
    given = session_probability(session, DESIGNS[NO_LAB], server_rows(persons.features, FEATURES))
    return {
        "set": earlier.NAME,
        "cycle": earlier.EXTERNAL_CYCLE,
        "missing": "waist, family history, pregnancies, laboratory",
        **summary(persons.diagnosed, given, threshold=rules[NO_LAB].policy.report_from, seed=seed),
    }


RECIPE = Recipe(
    name=NAME,
    title="Diabetes risk: boosted trees and an additive model, with and without laboratory",
    data_sets=(nhanes.NAME, earlier.NAME),
    seed=SEED,
    train=train,
    evaluate=evaluate,
)
