"""Train the three networks of the breast lesion model, each on what the one before it gives for unseen patients.

Outlines of a training picture come from a network that has not seen its patient; the image network and the
committee learn from these, because an expert's outline tells more than any network draws (AUROC falls by 0.07 to
0.10 when the expert is gone). Folds are those that the authors of bus_bra published. To save time two folds share
the start of their outline networks, learnt without both. Nothing but the committee has seen breast_usg: its
pictures tell how outlines and looks do at another hospital.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from clinical.breast_codes import BREAST_RECORD
from model_export.datasets import breast_usg, bus_bra
from model_export.datasets.splits import folds, groups_of
from model_export.datasets.ultrasound import LesionPicture
from model_export.onnx.keras_network import keras_model
from model_export.onnx.variants import runner
from model_export.recipe import Progress
from model_export.recipes import (
    breast_diagnosis,
    breast_image,
    breast_outline,
    efficientnet_lite,
    ultrasound_views,
)
from model_export.recipes.breast_lesion_measure import Run, Seen, outlined, see
from model_runtime.lesion_tensors import image_tensors, record_tensors
from model_runtime.lesion_view import Outline, box_of
from model_runtime.tasks.lesion import DIAGNOSIS, IMAGE, OUTLINE, Lesion
from model_runtime.transforms import Float

Network = Any  # a Keras model; TensorFlow carries no types
FOLDS = (1, 2, 3, 4, 5)
PAIRS = ((1, 2), (3, 4))  # folds whose outline networks share their start; fold 5 learns alone


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to learn. shared, then own: steps of a paired fold; alone: of fold 5; last: of the final network,
    which goes on from fold 5's. members: of the committee for each fold and for the final model. crossed: False
    for a trial, in which the final networks stand for those of every fold."""

    shared: int = 560
    own: int = 480
    alone: int = 1272
    last: int = 900
    image: breast_image.Course = field(default_factory=breast_image.Course)
    design: breast_diagnosis.Design = field(default_factory=breast_diagnosis.Design)
    committee: breast_diagnosis.Course = field(default_factory=breast_diagnosis.Course)
    fold_members: int = 4
    final_members: int = 8
    pretrained: bool = True
    crossed: bool = True


QUICK = Plan(
    shared=2,
    own=1,
    alone=2,
    last=1,
    image=breast_image.Course(epochs=0.1),
    committee=breast_diagnosis.Course(steps=4, batch=8),
    fold_members=1,
    final_members=2,
    pretrained=False,
    crossed=False,
)
READER_DRAWN = 0.5  # how often a row with the expert's outline is drawn, against one with the network's own
EXTERNAL_DRAWN = 1.5  # likewise a row of breast_usg: few, and the only ones with descriptors


@dataclass(frozen=True, slots=True)
class Fitted:
    """The final networks, what was seen of every picture out of fold, and how to run each fold's files.

    runs: one function a picture's fold (0: the final files), through ONNX Runtime. folds: of each picture.
    losses: network -> running loss of each fold, for the learning curves.
    """

    outline: Network
    image: Network
    diagnosis: Network
    seen: tuple[Seen, ...]
    folds: NDArray[np.int64]
    runs: Mapping[int, Run]
    calibration: breast_diagnosis.Calibration
    losses: Mapping[str, Sequence[Sequence[float]]]


class Stages:
    """Weights of finished networks in a folder, so that a training that was cut off goes on where it was."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found_minutes = 0.0  # of one core, that earlier runs spent on networks which this run found

    def network(
        self, name: str, build: Callable[[], Network], make: Callable[[], tuple[Network, list[float]]]
    ) -> tuple[Network, list[float]]:
        """Return a network and its losses, found or made."""
        path = self.file(name)
        if path.is_file():
            found = build()
            found.load_weights(path)
            return found, self._losses(name)
        started = time.process_time()
        made, losses = make()
        made.save_weights(path)
        minutes = (time.process_time() - started) / 60
        path.with_suffix(".json").write_text(json.dumps({"minutes": minutes, "losses": losses}), "utf-8")
        return made, losses

    def _losses(self, name: str) -> list[float]:
        """Return what is noted of a network that was found."""
        noted = json.loads(self.file(name).with_suffix(".json").read_text("utf-8"))
        self.found_minutes += float(noted["minutes"])
        return [float(one) for one in noted["losses"]]

    def file(self, name: str) -> Path:
        """Return where a network's weights are kept."""
        return self.folder / f"{name}.weights.h5"


def folds_of(pictures: Sequence[LesionPicture], seed: int) -> NDArray[np.int64]:
    """Return the fold of each picture, 1..5: published for bus_bra, by patient and class for breast_usg."""
    answer = np.array([picture.fold or 0 for picture in pictures], np.int64)
    other = np.flatnonzero(answer == 0).tolist()
    if other:
        truth = np.array([pictures[n].malignant for n in other])
        patients = groups_of(patient=[pictures[n].patient for n in other])
        for number, split in enumerate(folds(patients, truth, count=len(FOLDS), seed=seed), start=1):
            answer[np.array(other)[split.test]] = number
    return answer


def fit(
    pictures: Sequence[LesionPicture], part: Lesion, plan: Plan, stages: Stages, *, seed: int, progress: Progress
) -> Fitted:
    """Train everything. part: the rules by which outlines and crops are made (thresholds come later)."""
    fold = folds_of(pictures, seed)
    losses: dict[str, list[list[float]]] = {"outline": [], "image": [], "diagnosis": []}
    outline_networks = _outline_networks(pictures, fold, plan, stages, losses["outline"], seed, progress)
    runs = {number: _run({OUTLINE: network}) for number, network in outline_networks.items()}
    runs = {number: runs.get(number, runs[0]) for number in (0, *FOLDS)}
    outlines = _outlines(pictures, fold, part, runs, progress)
    image_networks = _image_networks(pictures, outlines, fold, part, plan, stages, losses["image"], seed, progress)
    for number, network in image_networks.items():
        model = breast_diagnosis.image_network(network, None)
        runs[number] = _both(runs[number], _run({IMAGE: model}))
    if not plan.crossed:
        runs = dict.fromkeys(runs, runs[0])
    seen = []
    for n, picture in enumerate(pictures):
        seen.append(see(runs[_unseen(picture, fold[n])], part, picture, outlines[n]))
        if n % 50 == 0:
            progress("describing lesions", n, len(pictures))
    committee, history = _committee(pictures, seen, fold, plan, seed, progress)
    losses["diagnosis"].append(history)
    calibration = _calibration(committee, pictures, seen, fold, plan)
    parts = {number: _members(number, plan) for number in ((0, *FOLDS) if plan.crossed else (0,))}
    answers = {
        number: breast_diagnosis.Answer(
            breast_diagnosis.chosen_members(committee, BREAST_RECORD, members), calibration
        )
        for number, members in parts.items()
    }
    for number, answer in answers.items():
        model = breast_diagnosis.diagnosis_network(answer.committee, calibration)
        runs[number] = _both(runs[number], _run({DIAGNOSIS: model}))
        progress("writing networks", number, len(answers))
    if not plan.crossed:
        runs = dict.fromkeys(runs, runs[0])
    return Fitted(
        outline=outline_networks[0],
        image=breast_diagnosis.image_network(image_networks[0], answers[0]),
        diagnosis=breast_diagnosis.diagnosis_network(answers[0].committee, calibration),
        seen=tuple(seen),
        folds=fold,
        runs=runs,
        calibration=calibration,
        losses=losses,
    )


def _unseen(picture: LesionPicture, fold: int) -> int:
    """Return whose networks have not seen a picture: those of its fold, of another site the final ones."""
    return int(fold) if picture.site == bus_bra.NAME else 0


def _run(networks: Mapping[str, Network]) -> Run:
    """Return a function that runs Keras models as exported files."""
    files = {name: runner(keras_model(network).SerializeToString()) for name, network in networks.items()}
    return lambda graph, inputs: files[graph](inputs)


def _both(one: Run, other: Run) -> Run:
    """Return a function that asks `other` and, for graphs that it does not have, `one`."""

    def run(graph: str, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        try:
            return other(graph, inputs)
        except KeyError:
            return one(graph, inputs)

    return run


def _outline_networks(
    pictures: Sequence[LesionPicture],
    fold: NDArray[np.int64],
    plan: Plan,
    stages: Stages,
    losses: list[list[float]],
    seed: int,
    progress: Progress,
) -> dict[int, Network]:
    """Return the outline network of each fold, and the final one as number 0."""
    examples = {
        n: breast_outline.example(one.pixels, one.mask)
        for n, one in enumerate(pictures)
        if one.site == bus_bra.NAME
    }
    found: dict[int, Network] = {}

    def learn(
        name: str, without: Sequence[int], steps: int, start: str | None, *, falling: bool = True
    ) -> Network:
        chosen = [example for n, example in examples.items() if fold[n] not in without]
        course = breast_outline.Course(steps, falling=falling)

        def make() -> tuple[Network, list[float]]:
            begun = None if start is None else stages.file(start)
            return breast_outline.learn(chosen, course, seed=seed + len(found), progress=progress, start=begun)

        network, history = stages.network(name, breast_outline.network, make)
        if history and falling:
            losses.append(history)
        return network

    if not plan.crossed:
        return {0: learn("outline_0", (), plan.last, None)}
    for pair in PAIRS:
        name = "outline_start_{}{}".format(*pair)
        learn(name, pair, plan.shared, None, falling=False)
        for number in pair:
            found[number] = learn(f"outline_{number}", (number,), plan.own, name)
    found[FOLDS[-1]] = learn(f"outline_{FOLDS[-1]}", FOLDS[-1:], plan.alone, None)
    found[0] = learn("outline_0", (), plan.last, f"outline_{FOLDS[-1]}")
    return found


def _outlines(
    pictures: Sequence[LesionPicture],
    fold: NDArray[np.int64],
    part: Lesion,
    runs: Mapping[int, Run],
    progress: Progress,
) -> list[Outline | None]:
    found = []
    for n, picture in enumerate(pictures):
        found.append(outlined(runs[_unseen(picture, fold[n])], part, picture))
        if n % 50 == 0:
            progress("outlining", n, len(pictures))
    return found


def _image_networks(
    pictures: Sequence[LesionPicture],
    outlines: Sequence[Outline | None],
    fold: NDArray[np.int64],
    part: Lesion,
    plan: Plan,
    stages: Stages,
    losses: list[list[float]],
    seed: int,
    progress: Progress,
) -> dict[int, Network]:
    """Return the image network of each fold, and the final one as number 0."""
    weights = efficientnet_lite.read_weights(efficientnet_lite.weights_file()) if plan.pretrained else None
    examples = {}
    for n, (picture, outline) in enumerate(zip(pictures, outlines, strict=True)):
        if picture.site == bus_bra.NAME and outline is not None:
            (category,) = picture.record["birads"]  # type: ignore[misc] # a choice is a set of one
            truth = breast_image.truth_of(picture.malignant, category)
            layers = ultrasound_views.layers_of(picture.pixels, outline.mask)
            examples[n] = breast_image.Example(layers, outline.box, truth)
    if not examples:  # a quick trial's networks outline nothing: learn from the experts, it is no model anyway
        examples = _experts(pictures)
    found = {}
    for number in (*FOLDS, 0) if plan.crossed else (0,):
        chosen = [example for n, example in examples.items() if number == 0 or fold[n] != number]

        def make(
            chosen: Sequence[breast_image.Example] = chosen, number: int = number
        ) -> tuple[Network, list[float]]:
            return breast_image.learn(
                chosen, part.crop, plan.image, weights, seed=seed + number, progress=progress
            )

        build = lambda: breast_image.network(None, part.crop.size)  # noqa: E731
        found[number], history = stages.network(f"image_{number}", build, make)
        if history:
            losses.append(history)
    return found


def _experts(pictures: Sequence[LesionPicture]) -> dict[int, breast_image.Example]:
    return {
        n: breast_image.Example(
            ultrasound_views.layers_of(one.pixels, one.mask),
            box_of(one.mask),
            breast_image.truth_of(one.malignant, "3"),
        )
        for n, one in enumerate(pictures)
        if one.site == bus_bra.NAME
    }


@dataclass(frozen=True, slots=True)
class _Table:
    """Rows of the committee. place: of each row's picture; own: True where the network drew the outline."""

    tensors: dict[str, Float]
    place: NDArray[np.intp]
    own: NDArray[np.bool_]


def _table(pictures: Sequence[LesionPicture], seen: Sequence[Seen]) -> _Table:
    """Return every picture twice: with the network's outline (none, if it found none) and with the expert's."""
    width = len(seen[0].read)
    place = np.tile(np.arange(len(pictures)), 2)
    own = np.arange(2 * len(pictures)) < len(pictures)
    tokens = [one.tokens if one.tokens is not None else np.zeros(width, np.float32) for one in seen]
    image = np.stack([*tokens, *(one.read for one in seen)]).astype(np.float32)
    known = np.ones((len(place), 2), np.float32)
    known[own] = [[one.tokens is not None, 0] for one in seen]
    tensors = record_tensors(BREAST_RECORD, [pictures[n].record for n in place])
    tensors |= image_tensors(image, len(image), width=width) | {"image_known": known}
    return _Table(tensors, place, own)


def _committee(
    pictures: Sequence[LesionPicture],
    seen: Sequence[Seen],
    fold: NDArray[np.int64],
    plan: Plan,
    seed: int,
    progress: Progress,
) -> tuple[breast_diagnosis.Committee, list[float]]:
    """Train the members of all folds and the final ones together; each draws its own patients (bagging)."""
    table = _table(pictures, seen)
    members = len(FOLDS) * plan.fold_members + plan.final_members
    rng = np.random.default_rng(seed)
    patients = groups_of(patient=[(one.site, one.patient) for one in pictures])
    weight = rng.poisson(1, (int(patients.max()) + 1, members))[patients].astype(np.float32)
    for number in FOLDS:
        weight[fold == number, _members(number, plan)] = 0
    external = np.array([one.site == breast_usg.NAME for one in pictures])
    drawn = np.where(external, EXTERNAL_DRAWN, 1.0)[table.place] * np.where(table.own, 1.0, READER_DRAWN)
    ours = table.tensors["image"][table.own & (table.tensors["image_known"][:, 0] > 0) & ~external[table.place]]
    numbers = ours if len(ours) else table.tensors["image"]
    committee = breast_diagnosis.Committee(
        BREAST_RECORD, members, plan.design, numbers.mean(axis=0), numbers.std(axis=0) + 1e-3
    )
    truth = np.array([one.malignant for one in pictures])[table.place]
    rows = breast_diagnosis.Rows(table.tensors, truth, drawn, weight[table.place])
    history = breast_diagnosis.learn(committee, rows, BREAST_RECORD, plan.committee, seed=seed, progress=progress)
    return committee, history


def _members(fold: int, plan: Plan) -> slice:
    """Return which members belong to a fold; the final ones are fold 0."""
    if fold == 0:
        return slice(len(FOLDS) * plan.fold_members, None)
    return slice((fold - 1) * plan.fold_members, fold * plan.fold_members)


def _calibration(
    committee: breast_diagnosis.Committee,
    pictures: Sequence[LesionPicture],
    seen: Sequence[Seen],
    fold: NDArray[np.int64],
    plan: Plan,
) -> breast_diagnosis.Calibration:
    """Fit Platt's factor and offset on log odds out of fold, by what an answer is made from."""
    table = _table(pictures, seen)
    truth = np.array([one.malignant for one in pictures])[table.place]
    groups, nothing = breast_diagnosis.record_groups(BREAST_RECORD), np.zeros_like

    def fitted(rows: NDArray[np.bool_], change: Mapping[str, Float]) -> tuple[float, float]:
        tensors = {name: values[rows] for name, values in {**table.tensors, **change}.items()}
        tensors["record"] = tensors["record"] * (tensors["record_known"] @ groups)
        every = breast_diagnosis.scores(committee, tensors)
        which = fold[table.place[rows]]
        odds = np.array([every[_members(int(which[n]), plan), n].mean() for n in range(len(which))])
        return platt(odds, truth[rows])

    blank = nothing(table.tensors["image"])
    no_image = {"image": blank, "image_known": nothing(table.tensors["image_known"])}
    with_image = table.own & (table.tensors["image_known"][:, 0] > 0)
    return breast_diagnosis.Calibration(
        record=fitted(table.own, no_image),
        image=fitted(with_image, {"record_known": nothing(table.tensors["record_known"])}),
        both=fitted(with_image, {}),
    )


def platt(odds: NDArray[np.float64], truth: NDArray[np.bool_]) -> tuple[float, float]:
    """Return factor and offset that make log odds (n,) calibrated; (1, 0) where they say nothing."""
    if len(odds) < 10 or truth.all() or not truth.any() or float(np.ptp(odds)) < 1e-6:
        return 1.0, 0.0
    fitted = LogisticRegression(C=1e4).fit(odds[:, None], truth)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def keep(fitted: Fitted, folder: Path) -> None:
    """Write the final networks as SavedModels."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, network in ((OUTLINE, fitted.outline), (IMAGE, fitted.image), (DIAGNOSIS, fitted.diagnosis)):
        network.export(folder / name, verbose=False)
