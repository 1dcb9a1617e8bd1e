"""How good the breast lesion model is: outlines, diagnoses from every set of inputs, by patient, with intervals.

A patient's views are averaged. A lesion that was not outlined has no image; when nothing else is known of it
either, the model has no answer, and that counts as a probability of 0: nobody would be warned.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.lesion import RecordValues
from model_export import metrics
from model_export.datasets import breast_usg, bus_bra
from model_export.datasets.ultrasound import LesionPicture
from model_export.resampling import interval
from model_runtime.lesion_tensors import crop_tensors, image_tensors, record_tensors
from model_runtime.lesion_view import Mask, Outline, find_outline, reader_outline
from model_runtime.tasks.lesion import DIAGNOSIS, IMAGE, OUTLINE, Lesion
from model_runtime.transforms import Float

# Runs a graph of the model: its name, its inputs -> its outputs.
Run = Callable[[str, Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]
Probability = NDArray[np.float64]
SEED = 20261122
COVERAGE = 0.8
RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Seen:
    """What the image side made of one picture. dice: of its outline with the expert's, 0 when it found none.

    tokens: from its own outline, None when it found none. read: tokens from the expert's outline.
    """

    outline: Outline | None
    dice: float
    tokens: Float | None
    read: Float


@dataclass(frozen=True, slots=True)
class Setting:
    """What a diagnosis may use. image: "own" (its own outline), "reader" (the expert's) or None."""

    site: str
    category: bool
    descriptors: bool
    image: str | None


SETTINGS: Mapping[str, Setting] = {
    "birads": Setting(bus_bra.NAME, category=True, descriptors=False, image=None),
    "auto": Setting(bus_bra.NAME, category=False, descriptors=False, image="own"),
    "auto_birads": Setting(bus_bra.NAME, category=True, descriptors=False, image="own"),
    "outline": Setting(bus_bra.NAME, category=False, descriptors=False, image="reader"),
    "outline_birads": Setting(bus_bra.NAME, category=True, descriptors=False, image="reader"),
    "record": Setting(breast_usg.NAME, category=False, descriptors=True, image=None),
    "record_image": Setting(breast_usg.NAME, category=False, descriptors=True, image="own"),
    "record_birads": Setting(breast_usg.NAME, category=True, descriptors=True, image=None),
    "record_image_birads": Setting(breast_usg.NAME, category=True, descriptors=True, image="own"),
    "external": Setting(breast_usg.NAME, category=False, descriptors=False, image="own"),
    "external_birads": Setting(breast_usg.NAME, category=True, descriptors=False, image=None),
}
# Whose figures stand beside those of a site: the reader's category by itself.
BESIDE = {bus_bra.NAME: "birads", breast_usg.NAME: "external_birads"}


@dataclass(frozen=True, slots=True)
class Answers:
    """Probabilities of one setting, one entry a picture of its site."""

    truth: NDArray[np.bool_]
    probability: Probability
    patient: NDArray[np.str_]

    def by_patient(self) -> tuple[NDArray[np.bool_], Probability]:
        """Return truth and mean probability of each patient, in the order of their names."""
        _, number = np.unique(self.patient, return_inverse=True)
        count = np.bincount(number)
        return np.bincount(number, self.truth) / count > 0.5, np.bincount(number, self.probability) / count


def dice(one: Mask, other: Mask) -> float:
    """Return twice the common area over the sum of areas."""
    return float(2 * (one & other).sum() / max(1, one.sum() + other.sum()))


def see(run: Run, part: Lesion, picture: LesionPicture, outline: Outline | None) -> Seen:
    """Return what graph `image` makes of a picture, with an outline and with the expert's."""
    drawn = reader_outline(picture.mask)
    return Seen(
        outline=outline,
        dice=0.0 if outline is None else dice(outline.mask, picture.mask),
        tokens=None if outline is None else _tokens(run, part, picture, outline),
        read=_tokens(run, part, picture, drawn),
    )


def outlined(run: Run, part: Lesion, picture: LesionPicture) -> Outline | None:
    """Return the outline that the model draws."""

    def network(tensors: Float) -> Float:
        return np.asarray(run(OUTLINE, {"image": tensors})["probability"], np.float32)

    return find_outline(network, picture.image, part.image, part.outline)


def answers(
    run: Run, part: Lesion, pictures: Sequence[LesionPicture], seen: Sequence[Seen], setting: Setting
) -> Answers:
    """Return the probabilities of one setting for the pictures of its site."""
    chosen = [n for n, picture in enumerate(pictures) if picture.site == setting.site]
    rows = [_allowed(pictures[n].record, setting) for n in chosen]
    probability = np.zeros(len(chosen))
    by_reader = setting.image == "reader"
    tokens = [_image_of(seen[n], setting) for n in chosen]
    for has_image in (True, False):
        places = [k for k, one in enumerate(tokens) if (one is not None) == has_image and (has_image or rows[k])]
        if places:
            stack = (
                np.stack([one for one in (tokens[k] for k in places) if one is not None]) if has_image else None
            )
            inputs = record_tensors(part.record, [rows[k] for k in places])
            inputs |= image_tensors(stack, len(places), width=len(part.tokens), by_reader=by_reader)
            probability[places] = run(DIAGNOSIS, inputs)["probability"][:, 0]
    return Answers(
        np.array([pictures[n].malignant for n in chosen], np.bool_),
        probability,
        np.array([pictures[n].patient for n in chosen], np.str_),
    )


def _tokens(run: Run, part: Lesion, picture: LesionPicture, outline: Outline) -> Float:
    return np.asarray(run(IMAGE, crop_tensors(picture.image, outline, part.crop))["tokens"][0], np.float32)


def _image_of(seen: Seen, setting: Setting) -> Float | None:
    return {"own": seen.tokens, "reader": seen.read, None: None}[setting.image]


def _allowed(record: RecordValues, setting: Setting) -> RecordValues:
    return {
        name: value
        for name, value in record.items()
        if (setting.category if name == "birads" else setting.descriptors)
    }


def figures(
    pictures: Sequence[LesionPicture],
    seen: Sequence[Seen],
    said: Mapping[str, Answers],
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Return every figure, by the keys that the project's table names; a set that is not there gives null."""
    result: dict[str, Any] = {"dice": _dice(pictures, seen, bus_bra.NAME, resamples)}
    result["dice_external"] = _dice(pictures, seen, breast_usg.NAME, resamples)
    for name, setting in SETTINGS.items():
        result[name] = _summary(said[name], resamples) if len(said[name].truth) else None
        beside = said[BESIDE[setting.site]]
        if result[name] is not None:
            truth, probability = beside.by_patient()
            result[name]["beside"] = {
                "majority": metrics.rounded(metrics.majority(truth)),
                "birads_auroc": metrics.rounded(metrics.auroc(truth, probability)),
                "birads_accuracy": metrics.rounded(metrics.accuracy(truth, probability)),
            }
    result["selective"] = _selective(said["auto_birads"], resamples)
    result["subgroups"] = _subgroups(pictures, said)
    return result


def _summary(said: Answers, resamples: int) -> dict[str, Any]:
    truth, probability = said.by_patient()
    return {
        **metrics.summary(truth, probability, threshold=0.5, seed=SEED, resamples=resamples),
        "patients": len(truth),
        "pictures": len(said.truth),
    }


def _selective(said: Answers, resamples: int) -> dict[str, Any] | None:
    """Return the accuracy on the most certain patients; the others would be referred."""
    truth, probability = said.by_patient()
    if not len(truth):
        return None
    low, high = interval(
        lambda rows: metrics.selective_accuracy(truth[rows], probability[rows], COVERAGE),
        len(truth),
        seed=SEED,
        resamples=resamples,
    )
    return {
        "of": "auto_birads",
        "coverage": COVERAGE,
        "accuracy_at_80": metrics.rounded(metrics.selective_accuracy(truth, probability, COVERAGE)),
        "accuracy_at_80_ci95": [metrics.rounded(low), metrics.rounded(high)],
    }


def _dice(
    pictures: Sequence[LesionPicture], seen: Sequence[Seen], site: str, resamples: int
) -> dict[str, Any] | None:
    chosen = [n for n, picture in enumerate(pictures) if picture.site == site]
    if not chosen:
        return None
    values = np.array([seen[n].dice for n in chosen])
    _, number = np.unique([pictures[n].patient for n in chosen], return_inverse=True)
    patients = np.bincount(number, values) / np.bincount(number)
    result: dict[str, Any] = {
        "patients": len(patients),
        "pictures": len(values),
        "not_outlined": sum(seen[n].outline is None for n in chosen),
        "above_0.7": metrics.rounded(float((values > 0.7).mean())),
    }
    return (
        result
        | _middle("mean", np.mean, values, patients, resamples)
        | _middle("median", np.median, values, patients, resamples)
    )


def _middle(
    name: str,
    statistic: Callable[[Probability], Any],
    pictures: Probability,
    patients: Probability,
    resamples: int,
) -> dict[str, Any]:
    low, high = interval(
        lambda rows: float(statistic(patients[rows])), len(patients), seed=SEED, resamples=resamples
    )
    return {
        name: metrics.rounded(float(statistic(patients))),
        f"{name}_ci95": [metrics.rounded(low), metrics.rounded(high)],
        f"{name}_by_picture": metrics.rounded(float(statistic(pictures))),
    }


def _subgroups(pictures: Sequence[LesionPicture], said: Mapping[str, Answers]) -> dict[str, Any]:
    """Return few figures by scanner and view (bus_bra) and by age (breast_usg): pictures, not patients."""
    bus = [picture for picture in pictures if picture.site == bus_bra.NAME]
    usg = [picture for picture in pictures if picture.site == breast_usg.NAME]
    return {
        "device": _parts([one.reported["device"] for one in bus], said["auto_birads"]),
        "view": _parts([one.reported["view"] for one in bus], said["auto_birads"]),
        "age": _parts([_age_band(one) for one in usg], said["record_image"]),
    }


def _age_band(picture: LesionPicture) -> str:
    age = picture.record.get("age")
    if not isinstance(age, float):
        return "not known"
    return "below 50" if age < 50 else "50 and older"


def _parts(labels: Sequence[str], said: Answers) -> dict[str, Any]:
    found = {}
    for label in sorted(set(labels)):
        rows = np.array([one == label for one in labels])
        found[label] = metrics.subgroup(said.truth[rows], said.probability[rows], threshold=0.5)
    return found
