"""Records, outlines and image tokens as the tensors of a lesion model's graphs; trainer and server share this.

Graph `image`: `crop` and `shape`. Graph `diagnosis`: `record`, `record_known`, `image`, `image_known`. What is not
known is zeros, with a zero in the `_known` tensor: nothing is imputed.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clinical.errors import IncorrectInput
from clinical.image import GreyImage
from clinical.lesion import Kind, RecordFeature, RecordValues
from model_runtime.lesion_shape import shape_numbers
from model_runtime.lesion_view import CropRules, Outline, crop
from model_runtime.transforms import Float

Tensors = dict[str, NDArray[np.float32]]


def crop_tensors(image: GreyImage, outline: Outline, rules: CropRules) -> Tensors:
    """Return the inputs of graph `image` for one lesion: crop (1, size, size, 2) and shape (1, numbers)."""
    square = crop(image, outline, rules)
    return {"crop": square, "shape": shape_numbers(square, outline)[None]}


def columns_of(features: Sequence[RecordFeature]) -> dict[str, slice]:
    """Return the columns of tensor `record` that tell each feature: one for a number, one a value for others."""
    found, start = {}, 0
    for feature in features:
        width = 1 if feature.kind is Kind.NUMBER else len(feature.values)
        found[feature.name] = slice(start, start + width)
        start += width
    return found


def record_tensors(features: Sequence[RecordFeature], rows: Sequence[RecordValues]) -> Tensors:
    """Return record (n, columns) and record_known (n, features).

    A number is scaled so that its plausible range is -1..1; other features have a 1 in each column that holds.
    Raises IncorrectInput for a feature or value that the model does not know, or a number outside its range.
    """
    columns = columns_of(features)
    record = np.zeros((len(rows), sum(part.stop - part.start for part in columns.values())), np.float32)
    known = np.zeros((len(rows), len(features)), np.float32)
    names = {feature.name for feature in features}
    for n, row in enumerate(rows):
        if not set(row) <= names:
            raise IncorrectInput("the record holds a feature that the model does not know")
        for place, feature in enumerate(features):
            if feature.name in row:
                record[n, columns[feature.name]] = _column_values(feature, row[feature.name])
                known[n, place] = 1
    return {"record": record, "record_known": known}


def image_tensors(tokens: Float | None, rows: int, *, width: int, by_reader: bool = False) -> Tensors:
    """Return image (rows, width) and image_known (rows, 2).

    tokens: output `tokens` of graph `image`, (rows, width); None when there is no image. by_reader: True when a
    person drew the outline that they come from.
    Raises IncorrectInput when the tokens do not have the rows and width.
    """
    if tokens is None:
        return {"image": np.zeros((rows, width), np.float32), "image_known": np.zeros((rows, 2), np.float32)}
    if tokens.shape != (rows, width):
        raise IncorrectInput("the image tokens do not have the size that the model reads")
    known = np.tile(np.array([1, by_reader], np.float32), (rows, 1))
    return {"image": np.asarray(tokens, np.float32), "image_known": known}


def _column_values(feature: RecordFeature, value: float | frozenset[str]) -> list[float]:
    if feature.kind is Kind.NUMBER:
        low, high = feature.minimum, feature.maximum
        if not isinstance(value, float | int) or low is None or high is None or not low <= value <= high:
            raise IncorrectInput(f"{feature.label} must be a number within its range")
        return [2 * (value - low) / (high - low) - 1]
    names = [one.name for one in feature.values]
    if not isinstance(value, frozenset) or not value or not value <= set(names):
        raise IncorrectInput(f"{feature.label} has a value that the model does not know")
    if feature.kind is Kind.CHOICE and len(value) > 1:
        raise IncorrectInput(f"{feature.label} may have one value only")
    return [float(name in value) for name in names]
