"""The lung nodule model: trained on simulated radiographs, measured on held-out and real ones, exported.

Real projections of CT (LIDC-IDRI, reader outlines), nodules added to real and simulated radiographs, and
made-up chests. Pictures are split by patient into training, validation (thresholds) and test
(the numbers on the card).
"""

import importlib.metadata
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.codes import LUNG, NODULE_OF_LUNG, SNOMED_CT, Coding
from clinical.image import GreyImage
from model_export.datasets import lidc_drr
from model_export.datasets.synthetic import chest, insert_nodule
from model_export.onnx.gate import NETWORKS, Candidate
from model_export.recipe import Progress, Recipe
from model_export.recipes.lung_nodule_card import card
from model_export.recipes.lung_nodule_data import IMAGE, SPEC, Sets, load_sets
from model_export.recipes.lung_nodule_measure import Predict, measure
from model_runtime.library import Library
from model_runtime.transforms import prepare

NAME = "lung-nodule"
VERSION = "0.1.0"
SEED = 1
GATE_ROWS = 256
MORPHOLOGICALLY_ABNORMAL = Coding(SNOMED_CT, "49755003", "Morphologically abnormal structure")
NODULE = Coding(SNOMED_CT, "27925004", "Nodule")

Float = NDArray[np.float32]


def train(data: Path, out: Path, *, seed: int, progress: Progress) -> Path:
    """Fit, choose thresholds, measure and export. See model_export.recipe.Train. About 20 min on 2 cores."""
    # TensorFlow takes seconds to import and may be absent where a recipe is only listed or evaluated.
    from model_export.recipes import lung_nodule_training as training  # noqa: PLC0415

    sets = load_sets(data)
    with tempfile.TemporaryDirectory() as work:
        weights = training.fit(sets, Path(work), seed=seed, progress=progress)
        return training.export(sets, weights, out, seed=seed, progress=progress)


def evaluate(model_folder: Path, data: Path, *, progress: Progress) -> Mapping[str, Any]:
    """Measure the exported file on the test patients. See model_export.recipe.Evaluate."""
    sets = load_sets(data)
    manifest = Library(model_folder.parent).manifest(model_folder.name)
    limits = manifest.require_segmentation().thresholds
    thresholds = {"mask": limits.mask, "report": limits.report, "min_area_px": limits.min_area_px}
    progress("measuring", 0, 1)
    measured = measure(sets, onnx_predict(model_folder), thresholds, manifest.training.seed)
    return {"model": manifest.name, "version": manifest.version, "sha256": manifest.sha256, **measured}


def onnx_predict(model_folder: Path) -> Predict:
    """Return a prediction function on whole pictures through the server's own session."""
    session = Library(model_folder.parent).verify(model_folder.name)

    def predict(tensor: Float) -> Float:
        return np.asarray(session.run({"image": tensor})["probability"])

    return predict


def gate_rows(seed: int, count: int = GATE_ROWS) -> Float:
    """Return tensors to compare, (count, rows, columns, channels).

    The first is a made-up chest with one nodule: it becomes the golden input, so no patient's picture is
    shipped. Then zeros, ones, the extremes of channel 1, single bright pixels, noise, and more chests.
    """
    rng = np.random.default_rng(seed)
    shape = (SPEC.rows, SPEC.columns, SPEC.channels)
    rows = [_made_up(rng)]
    rows += [np.full(shape, value, np.float32) for value in (0, 1, -1, 0.5)]
    rows += [np.indices(shape).sum(axis=0).astype(np.float32) % 2]
    for place in ((0, 0), (-1, -1), (SPEC.rows // 2, SPEC.columns // 2)):
        spot = np.zeros(shape, np.float32)
        spot[place] = 1
        rows.append(spot)
    while len(rows) < count:
        noisy = len(rows) % 2
        rows.append(rng.uniform(-1, 1, shape).astype(np.float32) if noisy else _made_up(rng))
    return np.stack(rows)


def _made_up(rng: np.random.Generator) -> Float:
    grey = chest(SPEC.rows, rng)
    insert_nodule(grey, np.zeros(grey.shape, np.uint8), np.ones(grey.shape, np.bool_), rng)
    tensor, _ = prepare(GreyImage(grey), SPEC)
    return np.asarray(tensor[0])


def candidate(document: dict[str, Any], model: object, reference: Predict, rows: Float) -> Candidate:
    return Candidate(
        document=document,
        model=model,
        card=card(document),
        reference=lambda inputs: {"probability": reference(inputs["image"])},
        rows={"image": rows},
        limits=NETWORKS,
        output="probability",
        decide=lambda values: values.max(axis=(1, 2, 3)),
        thresholds=(document["thresholds"]["report"],),
        golden_rows=1,
    )


def manifest_document(
    thresholds: Mapping[str, Any], metrics: Mapping[str, Any], sets: Sets, seed: int
) -> dict[str, Any]:
    """Return manifest.json without what the gate fills in."""
    return {
        "schema": 1,
        "name": NAME,
        "version": VERSION,
        "title": "Lung nodules on a frontal chest radiograph",
        "task": "segmentation",
        "intended_use": "Research and demonstration: marks places on a frontal chest radiograph of an adult that "
        "resemble a lung nodule of 10 to 30 mm, for a radiologist to look at again.",
        "not_for": "Diagnosis, exclusion of a nodule, screening, lateral views, children. No finding does not "
        "mean no nodule: most nodules are missed.",
        "intra_op_threads": 2,
        "image": IMAGE,
        "segment": {
            "category": _coding(MORPHOLOGICALLY_ABNORMAL),
            "kind": _coding(NODULE),
            "observation": _coding(NODULE_OF_LUNG),
            "body_site": _coding(LUNG),
            "label": "lung nodule",
        },
        "thresholds": dict(thresholds),
        "training": {
            "data": "Simulated radiographs (projections of LIDC-IDRI CT) with reader outlines; nodules added to "
            "them and to real NIH ChestX-ray14 radiographs without nodule label; made-up chests.",
            "licence": "Projections: academic and research use only (their repository); LIDC-IDRI CT and "
            "outlines: CC BY 3.0 (Armato et al., Med Phys 2011;38:915-931, doi 10.7937/K9/TCIA.2015.LO9QL9SX); "
            "ChestX-ray14: no restriction, credit to the NIH Clinical Center (Wang et al., CVPR 2017).",
            "data_sha256": sets.sha256,
            "seed": seed,
            "versions": {
                name: importlib.metadata.version(name) for name in ("tensorflow-cpu", "keras", "tf2onnx", "numpy")
            },
        },
        "metrics": dict(metrics),
    }


def _coding(coding: Coding) -> dict[str, str]:
    return {"system": coding.system, "code": coding.code, "display": coding.display}


RECIPE = Recipe(
    name=NAME,
    title="Light U-Net: lung nodules on a frontal chest radiograph (trained on simulated radiographs)",
    data_set=lidc_drr.NAME,
    seed=SEED,
    train=train,
    evaluate=evaluate,
)
