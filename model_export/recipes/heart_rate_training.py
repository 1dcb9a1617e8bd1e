"""Cross-validation and the final fit of heart-rate-trend. Imports the training stack.

Each fold's members go through the export gate and are judged as the ONNX file in the server's own runtime, on
recordings that went through the server's feature code.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_export.recipe import Progress
from model_export.recipes import heart_rate_network as network
from model_export.recipes import heart_rate_ridge as ridge
from model_export.recipes.heart_rate_judging import PLAIN, FoldResult, Scales, forecasts, judge_examples
from model_export.recipes.heart_rate_network import Network
from model_export.recipes.heart_rate_settings import Settings
from model_export.recipes.heart_rate_windows import BLOCKS, Examples, Fold, Series, folds, to_judge, to_learn
from model_runtime.library import Library

# Writes a model folder of these members with these scales through the gate; returns it.
Export = Callable[[Sequence[Network], Scales, ridge.Coefficients, Examples, Path], Path]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done. members: seeds averaged; copies: varied copies of the recordings; blocks: of time."""

    settings: Settings
    members: int
    copies: int
    blocks: tuple[tuple[float, float], ...]


FULL = Plan(Settings(), members=2, copies=6, blocks=BLOCKS)
QUICK = Plan(Settings(units=4, dense=8, epochs=1), members=1, copies=1, blocks=((0.7, 1.0),))


def cross_validate(series: Series, plan: Plan, seed: int, export: Export, progress: Progress) -> list[FoldResult]:
    """Train, export and judge every fold; folds in which nothing can be judged are left out."""
    everything = list(folds(series, blocks=plan.blocks))
    found = []
    for number, fold in enumerate(everything):
        progress(f"cross-validation, {fold.name}", number, len(everything))
        judge = judge_examples(fold.judge)
        if judge is not None:
            found.append(_judge_fold(fold, judge, plan, seed + 1000 * number, export))
    return found


def _judge_fold(fold: Fold, judge: Examples, plan: Plan, seed: int, export: Export) -> FoldResult:
    members, losses = fit_members(fold.learn, plan, seed, judge)
    line = fit_ridge(fold.learn)
    with tempfile.TemporaryDirectory(prefix="consilium-fold-") as scratch:
        folder = export(members, PLAIN, line, judge, Path(scratch))
        session = Library(folder.parent).verify(folder.name)
        return FoldResult(fold, forecasts(session, line, judge), losses)


def fit_members(
    series: Series, plan: Plan, seed: int, judge: Examples | None = None
) -> tuple[list[Network], NDArray[np.float64]]:
    """Return the members and the losses of the first."""
    copies = [to_learn(series, copy, seed) for copy in range(plan.copies)]
    found = [
        network.fit(copies, plan.settings, seed + number, judge if number == 0 else None)
        for number in range(plan.members)
    ]
    return [one for one, _ in found], found[0][1]


def fit_ridge(series: Series) -> ridge.Coefficients:
    """Return the ridge of the recordings as they are. Raises ValueError when they hold no window."""
    examples = to_judge(series)
    if examples is None:
        raise ValueError("the recordings hold no window to learn from")
    return ridge.fit(examples)
