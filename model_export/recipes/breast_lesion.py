"""breast-lesion: outline and malignancy of a lesion on breast ultrasound, from the picture, its record, or both.

Every figure and every choice comes from patients that the judged networks have not seen; the shipped file has then
learnt from everything. About an hour on two cores. A training that was cut off goes on where it was when
CONSILIUM_TRAINING_STAGES names a folder to keep finished networks in.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.breast_codes import BREAST_LESION_TERMS, BREAST_RECORD, BREASTS
from clinical.codes import MALIGNANT_NEOPLASM_OF_BREAST
from clinical.conformal import Conformal, conformal_of
from clinical.errors import IncorrectInput
from clinical.image import GreyImage
from model_export.datasets import breast_usg, bus_bra
from model_export.datasets.folders import folder_digest, sets_at
from model_export.datasets.ultrasound import LesionPicture
from model_export.onnx.gate import NETWORKS, Candidate, GraphCandidate, release
from model_export.plots import Plot
from model_export.recipe import Progress, Recipe, TrainOptions
from model_export.recipes import breast_lesion_card as text
from model_export.recipes.breast_lesion_measure import (
    RESAMPLES,
    SETTINGS,
    Answers,
    Seen,
    answers,
    figures,
    outlined,
    see,
)
from model_runtime.engine import LocalEngine
from model_runtime.histogram import Histogram, histogram_of
from model_runtime.image_statistics import image_statistics
from model_runtime.lesion_shape import NAMES
from model_runtime.lesion_tensors import record_tensors
from model_runtime.lesion_view import CropRules, OutlineRules
from model_runtime.library import Library
from model_runtime.manifest import Manifest
from model_runtime.tasks.lesion import DIAGNOSIS, IMAGE, OUTLINE, Lesion, Token
from model_runtime.transforms import Float, image_spec, prepare

SEED = 1
LAYOUT = {bus_bra.NAME: bus_bra.LAYOUT, breast_usg.NAME: breast_usg.LAYOUT}
SETS = (bus_bra, breast_usg)
STAGES = "CONSILIUM_TRAINING_STAGES"
JUDGED_OUT_OF_FOLD = "cross-validation, out of fold"
JUDGED_WHOLE = "all subjects, none in training"
GATE_ROWS = 256
NEVER_SURE = 1.0
PICTURE = ("lesion", "row", "column", "grey value and outline")
TENSORS: Mapping[str, Mapping[str, Any]] = {
    "image": {"axes": ["picture", "row", "column", "grey value"], "unit": "", "range": [0.0, 1.0]},
    "outline": {"axes": ["picture", "row", "column", "probability"], "unit": "", "range": [0.0, 1.0]},
    "crop": {"axes": list(PICTURE), "unit": "", "range": [0.0, 1.0]},
    "shape": {"axes": ["lesion", "number of the outline"], "unit": "", "range": [-8.0, 8.0]},
    "tokens": {"axes": ["lesion", "token"], "unit": "", "range": [None, None]},
    "record": {"axes": ["lesion", "column of the record"], "unit": "", "range": [-1.0, 1.0]},
    "record_known": {"axes": ["lesion", "feature known"], "unit": "", "range": [0.0, 1.0]},
    "image_known": {"axes": ["lesion", "image there, outline by a reader"], "unit": "", "range": [0.0, 1.0]},
    "probability": {"axes": ["lesion", "malignant"], "unit": "", "range": [0.0, 1.0]},
}


def train(data: Path | None, out: Path, *, seed: int, progress: Progress, options: TrainOptions) -> Path:
    """Cross-validate, choose, fit on everything and export. See model_export.recipe.Train."""
    # TensorFlow takes seconds to import and may be absent where a recipe is only listed or evaluated.
    from model_export.recipes import breast_lesion_fit as training  # noqa: PLC0415

    started = time.process_time()
    if data is None:
        raise IncorrectInput("breast-lesion needs the folder of bus_bra or breast_usg, or of both")
    folders = sets_at(data, LAYOUT)
    missing = sorted(set(LAYOUT) - set(folders))
    if missing:
        raise IncorrectInput(f"breast-lesion learns from both sets; {', '.join(missing)} is not there")
    pictures = [picture for one in SETS for picture in one.load(folders[one.NAME])]
    plan = training.QUICK if options.quick else training.Plan()
    if options.quick:
        pictures = _few(pictures)
    with _stages_folder() as folder:
        stages = training.Stages(folder)
        fitted = training.fit(pictures, rules(), plan, stages, seed=seed, progress=progress)
    said = _out_of_fold(pictures, fitted)
    found = {
        "judged": JUDGED_OUT_OF_FOLD,
        **figures(pictures, fitted.seen, said, 50 if options.quick else RESAMPLES),
    }
    plots = text.plots_of(said, _by_site(pictures, fitted.seen), fitted.losses)
    document = text.document(
        variants(said),
        {"cross_validation": found},
        [_data_set(one, folders[one.NAME], pictures) for one in SETS],
        seed=seed,
        minutes=round((time.process_time() - started) / 60 + stages.found_minutes, 1),
        reference=_reference(pictures),
        trial=options.quick,
    )
    progress("export gate", 0, 1)
    graphs = _graphs(document, fitted, _gate_rows(seed))
    candidate = Candidate(document=document, graphs=graphs, card=text.card, extra=_plot_files(plots))
    folder, parity = release(candidate, out)
    if options.keep_trainer:
        training.keep(fitted, folder / "trainer")
    worst = max(one.difference for one in parity.values())
    progress(f"parity {worst:.1e} over {sum(one.rows for one in parity.values())} rows", 1, 1)
    return folder


def _few(pictures: Sequence[LesionPicture], each: int = 3) -> list[LesionPicture]:
    """Return a few pictures of every fold and class, more where there are no folds yet."""
    taken: dict[tuple[str, int | None, bool], list[LesionPicture]] = {}
    for picture in pictures:
        part = taken.setdefault((picture.site, picture.fold, picture.malignant), [])
        if len(part) < (each if picture.fold else 4 * each):
            part.append(picture)
    return [picture for part in taken.values() for picture in part]


def rules() -> Lesion:
    """Return the manifest's part as the trainer needs it: how outlines and crops are made; variants come later."""
    return Lesion(
        image=image_spec(text.IMAGE),
        outline=OutlineRules(**text.OUTLINE),
        outline_rule=text.OUTLINE_RULE,
        crop=CropRules(**text.CROP),
        shape=NAMES,
        tokens=tuple(Token(one["name"], one["label"]) for one in text.TOKENS),
        terms=BREAST_LESION_TERMS,
        outcome=MALIGNANT_NEOPLASM_OF_BREAST,
        body_parts=("BREAST",),
        regions=BREASTS,
        record=BREAST_RECORD,
        variants=(),
    )


def variants(said: Mapping[str, Answers]) -> list[dict[str, Any]]:
    """Return the manifest's variants: thresholds and conformal quantiles from answers out of fold, by patient."""
    made = []
    for name, (_, setting) in text.VARIANTS.items():
        truth, probability = said[setting].by_patient()
        lowest = np.quantile(probability[truth], 1 - text.SENSITIVE, method="lower") if truth.any() else 0.0
        made.append(text.variant_document(name, float(lowest), _conformal(truth, probability)))
    return made


def _conformal(truth: NDArray[np.bool_], probability: NDArray[np.float64]) -> Conformal:
    try:
        return conformal_of(truth, probability, text.ALPHA)
    except IncorrectInput:  # too few cases of a class: both labels stay in every set, so it is never sure
        return Conformal(text.ALPHA, NEVER_SURE, NEVER_SURE, max(1, len(truth)))


def _out_of_fold(pictures: Sequence[LesionPicture], fitted: Any) -> dict[str, Answers]:  # noqa: ANN401
    """Return the answers of every setting, each picture's from the files that have not seen its patient."""
    said = {}
    for name, setting in SETTINGS.items():
        parts = []
        for number in sorted(set(fitted.folds.tolist())):
            chosen = np.flatnonzero(fitted.folds == number).tolist()
            own = [pictures[n] for n in chosen]
            parts.append(answers(fitted.runs[number], rules(), own, [fitted.seen[n] for n in chosen], setting))
        said[name] = Answers(
            np.concatenate([part.truth for part in parts]),
            np.concatenate([part.probability for part in parts]),
            np.concatenate([part.patient for part in parts]),
        )
    return said


def evaluate(folder: Path, data: Path | None, *, progress: Progress, plots: Path | None) -> Mapping[str, Any]:
    """Measure the exported files through the engine and the server's code. See model_export.recipe.Evaluate."""
    manifest = Library(folder.parent).manifest(folder.name)
    if data is None:
        raise IncorrectInput("breast-lesion is measured on the folder of bus_bra or breast_usg, or of both")
    folders = sets_at(data, LAYOUT)
    digests = {name: folder_digest(path) for name, path in folders.items()}
    result: dict[str, Any] = {"model": manifest.name, "version": manifest.version, "sha256": manifest.digest}
    known = [name for name, digest in digests.items() if manifest.training.was_on(digest)]
    fresh = [one for one in SETS if one.NAME in folders and one.NAME not in known]
    pictures = [picture for one in fresh for picture in one.load(folders[one.NAME])]
    measured = _measured(folder, manifest, pictures, progress)
    result |= figures(pictures, *measured)
    if known:
        _fill(result, manifest.metrics["cross_validation"], known)
    result["sets"] = {
        name: {
            "sha256": digests[name],
            "subjects": _subjects(manifest, name, digests[name], pictures),
            "judged": JUDGED_OUT_OF_FOLD if name in known else JUDGED_WHOLE,
        }
        for name in folders
    }
    if plots is not None:
        _write_plots(folder, plots, pictures, measured)
    return result


def _measured(
    folder: Path, manifest: Manifest, pictures: Sequence[LesionPicture], progress: Progress
) -> tuple[list[Seen], dict[str, Answers]]:
    engine, part = LocalEngine(Library(folder.parent)), manifest.require(Lesion)

    def run(graph: str, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        return engine.run(folder.name, inputs, graph=graph)

    seen = []
    for n, picture in enumerate(pictures):
        seen.append(see(run, part, picture, outlined(run, part, picture)))
        progress("measuring", n + 1, len(pictures))
    return seen, {name: answers(run, part, pictures, seen, setting) for name, setting in SETTINGS.items()}


def _fill(result: dict[str, Any], stored: Mapping[str, Any], known: Sequence[str]) -> None:
    """Put the figures out of fold where a set is one that the model has learnt from."""
    for name, setting in SETTINGS.items():
        if setting.site in known:
            result[name] = stored[name]
    if bus_bra.NAME in known:
        result |= {key: stored[key] for key in ("dice", "selective")}
        result["subgroups"] |= {key: stored["subgroups"][key] for key in ("device", "view")}
    if breast_usg.NAME in known:
        result["dice_external"] = stored["dice_external"]
        result["subgroups"]["age"] = stored["subgroups"]["age"]


def _subjects(manifest: Manifest, name: str, digest: str, pictures: Sequence[LesionPicture]) -> int:
    for one in manifest.training.data:
        if one.sha256 == digest:
            return one.subjects
    return len({picture.patient for picture in pictures if picture.site == name})


def _write_plots(
    folder: Path, to: Path, pictures: Sequence[LesionPicture], measured: tuple[list[Seen], dict[str, Answers]]
) -> None:
    """Write the plots of what was measured; where nothing was, those of the card."""
    to.mkdir(parents=True, exist_ok=True)
    if pictures:
        files = _plot_files(text.plots_of(measured[1], _by_site(pictures, measured[0]), None))
    else:
        files = {f"plots/{path.name}": path.read_bytes() for path in sorted((folder / "plots").glob("*"))}
    for name, content in files.items():
        (to / Path(name).name).write_bytes(content)


def _by_site(pictures: Sequence[LesionPicture], seen: Sequence[Seen]) -> dict[str, list[Seen]]:
    return {
        one.NAME: [s for picture, s in zip(pictures, seen, strict=True) if picture.site == one.NAME]
        for one in SETS
    }


def _plot_files(plots: Sequence[Plot]) -> dict[str, bytes]:
    return {f"plots/{plot.name}.{kind}": getattr(plot, kind) for plot in plots for kind in ("png", "svg")}


def _data_set(one: Any, folder: Path, pictures: Sequence[LesionPicture]) -> dict[str, Any]:  # noqa: ANN401 - a module
    own = [picture for picture in pictures if picture.site == one.NAME]
    return {
        "name": one.NAME,
        "citation": one.CITATION,
        "licence": one.LICENCE,
        "subjects": len({picture.patient for picture in own}),
        "rows": len(own),
        "sha256": folder_digest(folder),
    }


def _reference(pictures: Sequence[LesionPicture]) -> dict[str, Histogram]:
    """Return what drift is measured against: the outline network's pictures, and ages."""
    part = rules()
    found = [image_statistics(prepare(picture.image, part.image)[0]) for picture in pictures]
    columns = {name: np.array([one[name] for one in found]) for name in found[0]}
    ages = [picture.record.get("age") for picture in pictures if picture.site == breast_usg.NAME]
    known = np.array([age if isinstance(age, float) else np.nan for age in ages])
    return {
        name: histogram_of(values)
        for name, values in {**columns, "age": known}.items()
        if not np.isnan(values).all()
    }


def _graphs(document: Mapping[str, Any], fitted: Any, rows: Mapping[str, Float]) -> dict[str, GraphCandidate]:  # noqa: ANN401
    from model_export.onnx.keras_network import keras_model  # noqa: PLC0415 - needs TensorFlow

    limits = sorted(
        {
            limit
            for one in document["variants"]
            for limit in (one["policy"]["report_from"], one["policy"]["warn_from"])
        }
    )
    inputs = {
        OUTLINE: ("image",),
        IMAGE: ("crop", "shape"),
        DIAGNOSIS: ("record", "record_known", "image", "image_known"),
    }
    made = {}
    for name, network in ((OUTLINE, fitted.outline), (IMAGE, fitted.image), (DIAGNOSIS, fitted.diagnosis)):
        own = {key: rows["tokens" if name == DIAGNOSIS and key == "image" else key] for key in inputs[name]}
        made[name] = GraphCandidate(
            model=keras_model(network),
            reference=_reference_of(network, inputs[name]),
            rows=own,
            limits=NETWORKS,
            output="probability",
            thresholds=(document["outline"]["report"],) if name == OUTLINE else tuple(limits),
            tensors=_tensors(name),
            golden_rows=1 if name == OUTLINE else 4,
            decide=_peak if name == OUTLINE else _itself,
            intra_op_threads=1 if name == DIAGNOSIS else 2,
            heavy=name != DIAGNOSIS,
        )
    return made


def _reference_of(network: Any, names: Sequence[str]) -> Any:  # noqa: ANN401 - keras carries no types
    def answer(tensors: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        said = network([tensors[name] for name in names] if len(names) > 1 else tensors[names[0]], training=False)
        found = said if isinstance(said, dict) else {"probability": said}
        return {name: np.asarray(values) for name, values in found.items()}

    return answer


def _tensors(graph: str) -> dict[str, Mapping[str, Any]]:
    if graph == OUTLINE:
        return {"image": TENSORS["image"], "probability": TENSORS["outline"]}
    if graph == IMAGE:
        return {name: TENSORS[name] for name in ("crop", "shape", "tokens", "probability")}
    own = {name: TENSORS[name] for name in ("record", "record_known", "image_known", "probability")}
    return own | {"image": TENSORS["tokens"], "record_probability": TENSORS["probability"]}


def _peak(maps: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(maps.max(axis=(1, 2, 3)))


def _itself(values: NDArray[Any]) -> NDArray[Any]:
    return values


def _gate_rows(seed: int) -> dict[str, Float]:
    """Return rows to compare, by tensor. The first are made up, so that no patient's picture is shipped as golden.

    Pictures: made-up ones, flat ones, noise. Records: nothing known, everything, single features, random ones.
    """
    rng = np.random.default_rng(seed)
    part = rules()
    pictures = [prepare(made_up_picture(rng), part.image)[0][0] for _ in range(64)]
    pictures += [np.full(pictures[0].shape, value, np.float32) for value in (0, 0.5, 1)]
    pictures += [rng.uniform(0, 1, pictures[0].shape).astype(np.float32) for _ in range(GATE_ROWS - len(pictures))]
    images = np.stack(pictures)
    size = part.crop.size
    rows, columns = np.indices((size, size)) / size - 0.5
    masks = np.stack(
        [
            (rows / rng.uniform(0.1, 0.4)) ** 2 + (columns / rng.uniform(0.1, 0.4)) ** 2 <= 1
            for _ in range(GATE_ROWS)
        ]
    )
    masks[64:67] = [np.zeros((size, size)), np.ones((size, size)), np.eye(size)]
    width = len(part.tokens)
    tokens = rng.normal(0, 1.5, (GATE_ROWS, width))
    tokens[:4] = [[value] * width for value in (0, 8, -8, 0.5)]
    known = np.tile(np.array([[1, 0], [1, 1], [0, 0]]), (GATE_ROWS, 1))[:GATE_ROWS]
    return {
        "image": images,
        "crop": np.concatenate([images, masks[..., None]], axis=3).astype(np.float32),
        "shape": np.clip(rng.normal(0, 1, (GATE_ROWS, len(part.shape))), -8, 8).astype(np.float32),
        "tokens": tokens.astype(np.float32),
        "image_known": known.astype(np.float32),
        **record_tensors(BREAST_RECORD, [_made_up_record(rng, n) for n in range(GATE_ROWS)]),
    }


def made_up_picture(rng: np.random.Generator) -> GreyImage:
    """Return speckle in layers with a dark ellipse: what it takes to try the networks, nobody's breast."""
    rows, columns = np.indices((160, 140))
    grey = 110 + 40 * np.sin(rows / rng.uniform(6, 14) + rng.uniform(0, 6)) * (rows < 60)
    centre, radii = rng.uniform(50, 100, 2), rng.uniform(12, 35, 2)
    inside = ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2 <= 1
    grey = np.where(inside, rng.uniform(15, 60), grey) * rng.gamma(6, 1 / 6, grey.shape)
    return GreyImage(np.clip(grey, 0, 255).astype(np.float32))


def _made_up_record(rng: np.random.Generator, number: int) -> dict[str, float | frozenset[str]]:
    """Return record 0: nothing, 1: everything, then each feature alone, then any."""
    chosen = rng.random(len(BREAST_RECORD)) < 0.5
    if number < 2 + len(BREAST_RECORD):
        chosen = np.full(len(BREAST_RECORD), number == 1)
        chosen[number - 2] |= number >= 2
    record: dict[str, float | frozenset[str]] = {}
    for feature, known in zip(BREAST_RECORD, chosen, strict=True):
        if known and feature.minimum is not None and feature.maximum is not None:
            record[feature.name] = float(rng.uniform(feature.minimum, feature.maximum))
        elif known:
            record[feature.name] = frozenset({feature.values[int(rng.integers(len(feature.values)))].name})
    return record


@contextmanager
def _stages_folder() -> Iterator[Path]:
    kept = os.environ.get(STAGES)
    if kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
        yield Path(kept)
        return
    with tempfile.TemporaryDirectory(prefix="consilium-breast-") as scratch:
        yield Path(scratch)


RECIPE = Recipe(
    name=text.NAME,
    title="U-Net, EfficientNet-Lite0 and Transformers: breast lesion on ultrasound, with its BI-RADS record",
    data_sets=(bus_bra.NAME, breast_usg.NAME),
    seed=SEED,
    train=train,
    evaluate=evaluate,
)
