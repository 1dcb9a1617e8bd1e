"""How probable malignancy is, from what is known of a lesion: the one way in which graph `diagnosis` is asked.

Each input is taken away in turn in the same run: the difference is what knowing it changed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clinical.conformal import Answer
from clinical.errors import Fault
from clinical.finding import PROBABILITY_DECIMALS
from clinical.lesion import Basis, RecordValues
from clinical.risk import Contribution
from model_runtime.engine import Array
from model_runtime.lesion_tensors import image_tensors, record_tensors
from model_runtime.tasks.lesion import IMAGE, Lesion, LesionVariant, basis_of

# Runs graph `diagnosis`: its inputs -> its outputs by name.
Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]
IMAGE_LABEL = "Ultrasound image"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """probability: 0..1, rounded to three decimals. variant: how it is judged.

    contributions: what each input changed, largest first, the image among them when there is one.
    """

    probability: float
    basis: Basis
    variant: LesionVariant
    answer: Answer
    contributions: tuple[Contribution, ...]


def diagnose(
    run: Run, part: Lesion, values: RecordValues, views: Sequence[NDArray[np.float32]]
) -> Diagnosis | None:
    """Return the diagnosis, None when nothing is said of the lesion.

    views: the image tokens of each picture of the lesion, (tokens,); with several, probabilities are averaged.
    Raises Fault when the graph answers with something that is no probability.
    """
    known = part.known(values, image=bool(views))
    variant = part.variant_for(known)
    if variant is None:
        return None
    told = [feature for feature in part.record if feature.name in values]
    without = [{name: value for name, value in values.items() if name != feature.name} for feature in told]
    rows = [values, *without]
    seen = np.mean([_probabilities(run, part, rows, view) for view in views or (None,)], axis=0)
    changes = [
        Contribution(feature.name, feature.label, float(seen[0] - less))
        for feature, less in zip(told, seen[1:], strict=True)
    ]
    if views and values:
        alone = _probabilities(run, part, [values], None)[0]
        changes.append(Contribution(IMAGE, IMAGE_LABEL, float(seen[0] - alone)))
    probability = round(float(seen[0]), PROBABILITY_DECIMALS)
    return Diagnosis(
        probability=probability,
        basis=basis_of(values, image=bool(views)),
        variant=variant,
        answer=variant.conformal.answer(probability),
        contributions=tuple(sorted(changes, key=lambda change: -abs(change.change))),
    )


def _probabilities(
    run: Run, part: Lesion, rows: Sequence[RecordValues], view: NDArray[np.float32] | None
) -> NDArray[np.float64]:
    inputs = {**record_tensors(part.record, rows), **_image(part, view, len(rows))}
    found = np.asarray(run(inputs)["probability"], np.float64)
    if found.shape != (len(rows), 1) or not np.all((found >= 0) & (found <= 1)):
        raise Fault("the lesion model did not answer with one probability a row")
    return found[:, 0]


def _image(part: Lesion, view: NDArray[np.float32] | None, rows: int) -> dict[str, Array]:
    width = len(part.tokens)
    if view is None:
        return image_tensors(None, rows, width=width)
    if view.shape != (width,):
        raise Fault("stored image tokens are not those that this model reads")
    return image_tensors(np.tile(view, (rows, 1)), rows, width=width)
