"""heart-rate-simulated: the recipe of heart-rate-trend on a simulator, for machines without recordings.

Shows that training, gate, card and evaluation run, and nothing about people: the model has a name of its own and
says so first.
"""

import hashlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clinical.errors import IncorrectInput
from clinical.trend import DAY_MIN, MinuteSeries
from model_export.datasets import heart_simulator
from model_export.datasets.fitbit_hr import part
from model_export.recipe import Progress, Recipe, TrainOptions
from model_export.recipes.heart_rate import MAKER, judge, told_of
from model_export.recipes.heart_rate_document import Study
from model_runtime.library import Library

NAME = "heart-rate-simulated"
SEED = 20261122
PEOPLE, LEARN_DAYS, LATER_DAYS, STRANGERS = 8, 12, 2, 2


def train(data: Path | None, out: Path, *, seed: int, progress: Progress, options: TrainOptions) -> Path:
    """Simulate people and train on them. data: must be None. See model_export.recipe.Train."""
    _refuse(data)
    series = {name: part(one, 0, LEARN_DAYS * DAY_MIN) for name, one in _people(seed, PEOPLE).items()}
    made: Path = importlib.import_module(MAKER).make(
        _study(series), series, out, seed=seed, progress=progress, options=options
    )
    return made


def evaluate(folder: Path, data: Path | None, *, progress: Progress, plots: Path | None) -> Mapping[str, Any]:
    """Judge the file on later days of the same people, and on others. See model_export.recipe.Evaluate."""
    _refuse(data)
    manifest = Library(folder.parent).manifest(folder.name)
    seed = manifest.training.seed
    later = {
        name: part(one, LEARN_DAYS * DAY_MIN, len(one)) for name, one in _people(seed, PEOPLE + STRANGERS).items()
    }
    progress("measuring simulated people", 0, 1)
    judged = judge(folder, later)
    result = {"model": manifest.name, "version": manifest.version, "sha256": manifest.digest, "sets": {}}
    return result | told_of(judged, "simulated people; known ones on later days", plots) | {"activity": None}


def _people(seed: int, count: int) -> dict[str, MinuteSeries]:
    return heart_simulator.recordings(count, LEARN_DAYS + LATER_DAYS, seed)


def _study(series: Mapping[str, MinuteSeries]) -> Study:
    digest = hashlib.sha256()
    for name, one in series.items():
        digest.update(name.encode() + np.ascontiguousarray(one.heart_rate).tobytes())
    entry = {
        "name": "simulated",
        "citation": "model_export.datasets.heart_simulator",
        "licence": "Apache-2.0, made by this package",
        "subjects": len(series),
        "rows": sum(int(np.count_nonzero(~np.isnan(one.heart_rate))) for one in series.values()),
        "sha256": digest.hexdigest(),
    }
    return Study(
        name=NAME,
        version="1.0.0",
        title="Simulated heart rate in the next hour",
        notice="Synthetic: learnt from a simulator. Its figures say nothing about people; not for any patient.",
        population="None: simulated people.",
        source="simulated people",
        data=(entry,),
    )


def _refuse(data: Path | None) -> None:
    if data is not None:
        raise IncorrectInput(f"{NAME} is made from a simulator and reads no data")


RECIPE = Recipe(
    name=NAME,
    title="The GRU of heart-rate-trend on a simulator (synthetic)",
    data_sets=(),
    seed=SEED,
    train=train,
    evaluate=evaluate,
)
