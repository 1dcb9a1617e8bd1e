"""Fitting `diabetes-risk`: one blend a graph, and five folds of them whose probabilities are out of fold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from model_export.datasets.splits import Split, folds, groups_of
from model_export.onnx.trial import trial_session
from model_export.recipe import Progress
from model_export.recipes.diabetes_blend import COPY_WEIGHT, Blend, fit_additive, struck_out
from model_export.recipes.diabetes_features import GLUCOSE, NAMES, REQUIRED, Boosting, Design
from model_export.recipes.diabetes_graph import graph_of
from model_runtime.session import Session

Array = NDArray[np.float64]
Truth = NDArray[np.bool_]
FOLDS = 5
SHARE = 0.5  # of the trees in the blend; between 0.35 and 0.65 cross-validation does not tell


@dataclass(frozen=True, slots=True)
class People:
    """Who is learnt from. rows (n, 12) as the server reads them; learn: not those told "borderline".

    A doctor's "borderline" is neither yes nor no: such persons are measured on and not learnt from.
    """

    person: tuple[str, ...]
    rows: Array
    truth: Truth
    learn: Truth

    def part(self, chosen: NDArray[np.intp]) -> "People":
        """Return the chosen persons."""
        names = tuple(self.person[n] for n in chosen)
        return People(names, self.rows[chosen], self.truth[chosen], self.learn[chosen])


def fit(design: Design, people: People, seed: int, *, quick: bool = False) -> Blend:
    """Fit the blend of one graph, not yet calibrated."""
    known = people.rows[people.learn]
    keep = (*REQUIRED, GLUCOSE)  # a glucose is why the other graph is asked at all
    rows = np.concatenate([known, struck_out(known, keep, seed)])
    truth = np.tile(people.truth[people.learn], 2)
    weight = np.repeat([1.0, COPY_WEIGHT], len(known))
    columns, applies = design.table(rows), design.applies(rows)
    boosters = []
    for number, settings in enumerate(design.boosters[: 1 if quick else None]):
        chosen = np.ones(len(rows), np.bool_) if settings.everyone else applies
        model = booster(settings, [column.rising for column in design.columns], seed + number, quick=quick)
        boosters.append(model.fit(columns[chosen], truth[chosen], sample_weight=weight[chosen]))
    corners = [column.corners for column in design.columns]
    lines = fit_additive(columns, truth, weight, corners, penalty=design.lines_penalty)
    return Blend(tuple(boosters), lines, SHARE)


def booster(
    settings: Boosting, rising: Sequence[int], seed: int, *, quick: bool = False
) -> HistGradientBoostingClassifier:
    """Return boosted trees, not fitted. No early stopping: how long is in the settings, by cross-validation."""
    return HistGradientBoostingClassifier(
        learning_rate=settings.learning_rate,
        max_iter=10 if quick else settings.iterations,
        max_leaf_nodes=settings.leaves,
        min_samples_leaf=settings.smallest_leaf,
        l2_regularization=settings.penalty,
        max_features=settings.columns_per_split,
        monotonic_cst=list(rising),
        early_stopping=False,
        random_state=seed,
    )


@dataclass(frozen=True, slots=True)
class Trainer:
    """A fitted blend with the tensor of its graph as input: what is kept on request, and timed beside the ONNX."""

    blend: Blend
    design: Design

    def columns(self, features: Array) -> Array:
        """Return the columns of `features` (n, features of the design)."""
        rows = np.full((len(features), len(NAMES)), np.nan)
        rows[:, self.design.picked] = features
        return self.design.table(rows)

    def predict_proba(self, features: Array) -> Array:
        """Return the probabilities (n, 2), as scikit-learn's classifiers do."""
        positive = self.blend.probability(self.columns(features))
        return np.stack([1 - positive, positive], axis=1)


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold's exported graph in the server's own session, with the persons that it did not see."""

    split: Split
    session: Session

    def probability(self, design: Design, rows: Array) -> Array:
        """Return the probability of rows (n, 12)."""
        return session_probability(self.session, design, rows)


def session_probability(session: Session, design: Design, rows: Array) -> Array:
    """Run a graph in the server's session on rows (n, 12); an empty table gives no probabilities."""
    if not len(rows):
        return np.zeros(0)
    table = np.ascontiguousarray(rows[:, design.picked])
    return np.asarray(session.run({"features": table})["probability"], np.float64)[:, 0]


@dataclass(frozen=True, slots=True)
class CrossValidated:
    """What cross-validation of one graph gives.

    probability (n,): out of fold by the exported graphs, NaN where the graph does not apply. scores: the same
    before calibration. folds: to ask them more.
    """

    probability: Array
    scores: Array
    folds: tuple[Fold, ...]


def splits_of(people: People, seed: int) -> tuple[Split, ...]:
    """Return five folds by person, with equal shares of the diagnosed."""
    return folds(groups_of(patient=people.person), people.truth, count=FOLDS, seed=seed)


def cross_validate(
    design: Design, people: People, splits: Sequence[Split], seed: int, progress: Progress, *, quick: bool = False
) -> CrossValidated:
    """Fit on four fifths, export, run on the last fifth; each fold is calibrated on the scores of the others."""
    applies = design.applies(people.rows)
    scores = np.full(len(people.truth), np.nan)
    blends = []
    for number, split in enumerate(splits):
        progress(f"{design.graph}: fold {number + 1}", number, len(splits))
        blends.append(fit(design, people.part(split.train), seed + 100 * number, quick=quick))
        tested = split.test[applies[split.test]]
        scores[tested] = blends[-1].score(design.table(people.rows[tested]))
    found, probability = [], np.full(len(people.truth), np.nan)
    for split, blend in zip(splits, blends, strict=True):
        others = split.train[applies[split.train]]
        graph = graph_of(blend.calibrated(scores[others], people.truth[others]), design)
        fold = Fold(split, trial_session(graph, f"fold of {design.graph}"))
        tested = split.test[applies[split.test]]
        probability[tested] = fold.probability(design, people.rows[tested])
        found.append(fold)
    return CrossValidated(probability, scores, tuple(found))
