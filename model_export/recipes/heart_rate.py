"""heart-rate-trend: where a heart rate goes in the next hour, from the wearers of fitbit_hr.

Chosen by cross-validation in time (the last part of each wearer's days, as in the held-out data) and by wearer;
the shipped file has then learnt from everything.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clinical.errors import IncorrectInput
from model_export.datasets import applewatch_fitbit_lab as lab
from model_export.datasets import fitbit_hr
from model_export.datasets.folders import folder_digest, sets_at
from model_export.recipe import Progress, Recipe, TrainOptions
from model_export.recipes.heart_rate_activity import activity_figures
from model_export.recipes.heart_rate_document import Study
from model_export.recipes.heart_rate_judging import forecasts, judge_examples
from model_export.recipes.heart_rate_measure import PARTS, Judged, figures, limited
from model_export.recipes.heart_rate_plots import plots_of
from model_export.recipes.heart_rate_windows import Series
from model_runtime.library import Library
from model_runtime.manifest import Manifest
from model_runtime.tasks.forecast import Forecast

SEED = 20261122
LAYOUT = {fitbit_hr.NAME: fitbit_hr.LAYOUT, lab.NAME: lab.LAYOUT}
MAKER = "model_export.recipes.heart_rate_release"  # imports TensorFlow: for training only


def train(data: Path | None, out: Path, *, seed: int, progress: Progress, options: TrainOptions) -> Path:
    """Cross-validate, choose, fit on everything and export. See model_export.recipe.Train."""
    sets = sets_at(fitbit_hr.folder_of(data), LAYOUT)
    if fitbit_hr.NAME not in sets:
        raise IncorrectInput(f"the data set {fitbit_hr.NAME} is not there")
    recordings = fitbit_hr.load(sets[fitbit_hr.NAME])
    study = Study.of_fitbit(recordings, folder_digest(sets[fitbit_hr.NAME]))
    sessions = lab.load(sets[lab.NAME]) if lab.NAME in sets else ()
    made: Path = importlib.import_module(MAKER).make(
        study, recordings.series, out, seed=seed, progress=progress, options=options, sessions=sessions
    )
    return made


def evaluate(folder: Path, data: Path | None, *, progress: Progress, plots: Path | None) -> Mapping[str, Any]:
    """Measure the exported file on recordings that went through the server's feature code.

    Wearers that the manifest names are "known", all others "unseen". See model_export.recipe.Evaluate.
    """
    manifest = Library(folder.parent).manifest(folder.name)
    sets = sets_at(fitbit_hr.folder_of(data), LAYOUT)
    result: dict[str, Any] = {"model": manifest.name, "version": manifest.version, "sha256": manifest.digest}
    result |= {"sets": {}, "judged": None, **dict.fromkeys(PARTS), "activity": None}
    if fitbit_hr.NAME in sets:
        progress(f"measuring {fitbit_hr.NAME}", 0, len(sets))
        found, result["sets"][fitbit_hr.NAME] = _recorded(manifest, folder, sets[fitbit_hr.NAME], plots)
        result |= found
    if lab.NAME in sets:
        progress(f"measuring {lab.NAME}", len(sets) - 1, len(sets))
        result["activity"], result["sets"][lab.NAME] = _laboratory(folder, sets[lab.NAME])
    return result


def _recorded(
    manifest: Manifest, folder: Path, data: Path, plots: Path | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the figures of recordings, and what is said of the set."""
    digest = folder_digest(data)
    recordings = fitbit_hr.load(data)
    about = {"sha256": digest, "subjects": len(recordings.series), "rows": recordings.rows}
    if manifest.training.was_on(digest):
        found = dict(manifest.metrics["cross_validation"])
        if plots is not None:
            _copy_plots(folder, plots)
    else:
        whose = "all subjects, none in training but the known wearers, at another time than was learnt from"
        found = told_of(judge(folder, recordings.series), whose, plots)
    return found, about | {"judged": found["judged"]}


def _laboratory(folder: Path, data: Path) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return the figures of the treadmill sessions, and what is said of the set."""
    sessions = lab.load(data)
    found = activity_figures(Library(folder.parent).verify(folder.name), sessions)
    return found, {
        "sha256": folder_digest(data),
        "subjects": len({one.person for one in sessions}),
        "judged": "all sessions; nothing was learnt from this set",
    }


def told_of(judged: Mapping[str, Judged], whose: str, plots: Path | None) -> dict[str, Any]:
    """Return the figures of "known" and "unseen" (None for a part without windows), and write the plots."""
    told: dict[str, Any] = {part: figures(judged[part]) if part in judged else None for part in PARTS}
    if plots is not None and judged:
        plots.mkdir(parents=True, exist_ok=True)
        for plot in plots_of(told, judged, []):
            for kind in ("png", "svg"):
                (plots / f"{plot.name}.{kind}").write_bytes(getattr(plot, kind))
    return told | {"judged": whose}


def judge(folder: Path, series: Series) -> dict[str, Judged]:
    """Return a model's forecasts for recordings as "known" and "unseen"; a part without windows is absent."""
    library = Library(folder.parent)
    manifest = library.manifest(folder.name)
    part = manifest.require(Forecast)
    examples = judge_examples(series)
    if examples is None:
        return {}
    line = library.arrays(manifest.name, "ridge")
    judged = limited(forecasts(library.verify(manifest.name), line, examples), part.policy)
    known = np.isin(judged.wearer, list(part.subjects))
    return {name: judged.rows(rows) for name, rows in zip(PARTS, (known, ~known), strict=True) if rows.any()}


def _copy_plots(folder: Path, plots: Path) -> None:
    plots.mkdir(parents=True, exist_ok=True)
    for path in sorted((folder / "plots").glob("*.*")):
        (plots / path.name).write_bytes(path.read_bytes())


RECIPE = Recipe(
    name="heart-rate-trend",
    title="GRU on two hours of heart rate: P10, P50, P90 and trend at 15, 30 and 60 minutes",
    data_sets=(fitbit_hr.NAME, lab.NAME),
    seed=SEED,
    train=train,
    evaluate=evaluate,
)
