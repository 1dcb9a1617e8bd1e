"""Image to tensor and back: the one code that trainer and server share, so that both see the same picture.

A manifest's "image" object is read by `image_spec`; `prepare` makes the tensor and remembers in a
`Placement` where the image lies in it; `restore` brings a map of the network back to the source pixels.
numpy only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.errors import IncorrectInput
from clinical.image import GreyImage

Float = NDArray[np.float32]
LOCAL_CLIP = 3.0  # local contrast is cut at so many local standard deviations
LOCAL_FLOOR = 0.02  # added to the local standard deviation: flat regions stay flat instead of becoming noise


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """The "image" object of a manifest.

    rows, columns: size of the tensor. modalities: DICOM modalities the model was made for.
    low_percentile, high_percentile: grey values of the tissue that become 0 and 1 (cut beyond).
    local_radius_px: radius, in tensor pixels, of the square neighbourhood that channel 1 is normalised
        by; None means that the tensor has channel 0 only.
    """

    modalities: tuple[str, ...]
    rows: int
    columns: int
    low_percentile: float
    high_percentile: float
    local_radius_px: int | None

    @property
    def channels(self) -> int:
        """Number of channels of the tensor."""
        return 1 if self.local_radius_px is None else 2


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the source image lies in the tensor: rows top..top+inner_rows, columns left..left+inner_columns."""

    source_rows: int
    source_columns: int
    rows: int
    columns: int
    top: int
    left: int
    inner_rows: int
    inner_columns: int

    def to_source(self, row: float, column: float) -> tuple[float, float]:
        """Map a tensor position to the source image; both count from the centre of the first pixel."""
        return (
            (row - self.top + 0.5) * self.source_rows / self.inner_rows - 0.5,
            (column - self.left + 0.5) * self.source_columns / self.inner_columns - 0.5,
        )

    def to_tensor(self, row: float, column: float) -> tuple[float, float]:
        """Map a source position to the tensor; the inverse of `to_source`."""
        return (
            (row + 0.5) * self.inner_rows / self.source_rows - 0.5 + self.top,
            (column + 0.5) * self.inner_columns / self.source_columns - 0.5 + self.left,
        )


def image_spec(node: Mapping[str, Any]) -> ImageSpec:
    """Read a manifest's "image" object.

    {"modalities": [...], "rows": n, "columns": n, "fit": "letterbox",
     "normalise": {"percentiles": [low, high], "local_radius_px": n or null}}

    Raises IncorrectInput naming what is wrong; unknown keys are wrong too, because a key that is
    ignored would mean a picture other than the one the model was trained on.
    """
    _keys(node, {"modalities", "rows", "columns", "fit", "normalise"}, "image")
    normalise = node["normalise"]
    if not isinstance(normalise, Mapping):
        raise IncorrectInput("image.normalise must be an object")
    _keys(normalise, {"percentiles", "local_radius_px"}, "image.normalise")
    if node["fit"] != "letterbox":
        raise IncorrectInput("image.fit must be 'letterbox'")
    try:
        low, high = (float(value) for value in normalise["percentiles"])
        radius = normalise["local_radius_px"]
        spec = ImageSpec(
            modalities=tuple(str(name) for name in node["modalities"]),
            rows=int(node["rows"]),
            columns=int(node["columns"]),
            low_percentile=low,
            high_percentile=high,
            local_radius_px=None if radius is None else int(radius),
        )
    except (TypeError, ValueError) as problem:
        raise IncorrectInput("image holds a value of the wrong kind") from problem
    if min(spec.rows, spec.columns) < 1 or not 0 <= low < high <= 100:
        raise IncorrectInput("image needs a positive size and percentiles 0 <= low < high <= 100")
    if spec.local_radius_px is not None and spec.local_radius_px < 1:
        raise IncorrectInput("image.normalise.local_radius_px must be at least 1, or null")
    return spec


def prepare(image: GreyImage, spec: ImageSpec) -> tuple[Float, Placement]:
    """Return the tensor, float32 (1, rows, columns, channels), and where the image lies in it.

    The image keeps its aspect ratio, centred, with zeros around it. Channel 0 is the grey value between
    two percentiles of the tissue (padding and non-finite pixels left out) cut to 0..1; channel 1, when
    asked for, is its local contrast. A constant image becomes zeros.

    Raises IncorrectInput when no pixel is tissue.
    """
    place = placement(image.pixels.shape[0], image.pixels.shape[1], spec)
    grey, tissue = _fit(image, place)
    scaled = normalise_grey(grey, tissue, spec)
    planes = [scaled]
    if spec.local_radius_px is not None:
        planes.append(local_contrast(scaled, tissue, spec.local_radius_px))
    tensor = np.zeros((1, spec.rows, spec.columns, spec.channels), np.float32)
    inner = (slice(place.top, place.top + place.inner_rows), slice(place.left, place.left + place.inner_columns))
    for channel, plane in enumerate(planes):
        tensor[(0, *inner, channel)] = plane
    return tensor, place


def restore(probability: Float, place: Placement) -> Float:
    """Bring a map of the tensor (rows, columns) back to the source pixels (source rows, source columns).

    Raises IncorrectInput when the map does not have the tensor's size.
    """
    if probability.shape != (place.rows, place.columns):
        raise IncorrectInput("the map does not have the size of the tensor it is said to come from")
    inner = probability[place.top : place.top + place.inner_rows, place.left : place.left + place.inner_columns]
    return resize(np.asarray(inner, np.float32), place.source_rows, place.source_columns)


def placement(source_rows: int, source_columns: int, spec: ImageSpec) -> Placement:
    """Return where an image of this size lies in the tensor: as large as it fits, centred."""
    scale = min(spec.rows / source_rows, spec.columns / source_columns)
    inner_rows = min(spec.rows, max(1, round(source_rows * scale)))
    inner_columns = min(spec.columns, max(1, round(source_columns * scale)))
    return Placement(
        source_rows=source_rows,
        source_columns=source_columns,
        rows=spec.rows,
        columns=spec.columns,
        top=(spec.rows - inner_rows) // 2,
        left=(spec.columns - inner_columns) // 2,
        inner_rows=inner_rows,
        inner_columns=inner_columns,
    )


def normalise_grey(grey: Float, tissue: NDArray[np.bool_], spec: ImageSpec) -> Float:
    """Return grey values between the spec's percentiles of the tissue, cut to 0..1; zeros outside the tissue."""
    low, high = np.percentile(grey[tissue], (spec.low_percentile, spec.high_percentile))
    span = float(high) - float(low)
    # A range below float32 resolution is noise of the conversion, not contrast.
    if not span > 1e-6 * max(abs(float(low)), abs(float(high)), 1e-6):
        return np.zeros_like(grey)
    scaled = np.clip((grey - np.float32(low)) / np.float32(span), 0, 1)
    return np.where(tissue, scaled, np.float32(0)).astype(np.float32)


def local_contrast(scaled: Float, tissue: NDArray[np.bool_], radius_px: int) -> Float:
    """Return (value - local mean) / local standard deviation over a square, cut and scaled to -1..1.

    A nodule of given contrast then looks the same on a dark and on a bright background.
    """
    weight = np.maximum(_box_sum(tissue.astype(np.float64), radius_px), 1.0)
    inside = np.where(tissue, scaled, 0).astype(np.float64)
    mean = _box_sum(inside, radius_px) / weight
    variance = np.maximum(_box_sum(inside * inside, radius_px) / weight - mean * mean, 0)
    score = (scaled - mean) / (np.sqrt(variance) + LOCAL_FLOOR)
    return np.where(tissue, np.clip(score, -LOCAL_CLIP, LOCAL_CLIP) / LOCAL_CLIP, 0).astype(np.float32)


def resize(values: Float, rows: int, columns: int) -> Float:
    """Resize (rows, columns) with a triangle filter: averaging when it shrinks, bilinear when it grows.

    Pixels are areas: the outer edges of both images coincide (half-pixel centres).
    """
    return _resize_axis(_resize_axis(values, rows, 0), columns, 1)


def _fit(image: GreyImage, place: Placement) -> tuple[Float, NDArray[np.bool_]]:
    """Resize the image to its inner size; say which pixels are tissue."""
    pixels = np.asarray(image.pixels, np.float32)
    valid = np.isfinite(pixels)
    if image.padding is not None:
        valid &= ~image.padding
    if valid.all():
        return resize(pixels, place.inner_rows, place.inner_columns), np.ones(
            (place.inner_rows, place.inner_columns), np.bool_
        )
    share = resize(valid.astype(np.float32), place.inner_rows, place.inner_columns)
    tissue = share > 0.5
    if not tissue.any():
        raise IncorrectInput("the image holds padding only")
    # Weighted mean: padding values (often far below air) must not bleed into the tissue beside them.
    total = resize(np.where(valid, pixels, np.float32(0)), place.inner_rows, place.inner_columns)
    return np.where(tissue, total / np.maximum(share, np.float32(0.5)), np.float32(0)), tissue


def _resize_axis(values: Float, size: int, axis: int) -> Float:
    source = values.shape[axis]
    if size == source:
        return values
    index, weight = _taps(source, size)
    shape = (size, 1) if axis == 0 else (1, size)
    out = np.take(values, index[0], axis=axis) * weight[0].reshape(shape)
    for position, share in zip(index[1:], weight[1:], strict=True):
        out += np.take(values, position, axis=axis) * share.reshape(shape)
    return np.asarray(out, np.float32)


def _taps(source: int, size: int) -> tuple[NDArray[np.intp], Float]:
    """Return source positions and weights, both (taps, size), of a triangle filter; weights sum to 1."""
    step = source / size
    support = max(1.0, step)
    centre = (np.arange(size) + 0.5) * step - 0.5
    first = np.floor(centre - support).astype(np.intp) + 1
    taps = int(np.ceil(2 * support)) + 1
    position = first[None, :] + np.arange(taps)[:, None]
    weight = np.maximum(0.0, 1.0 - np.abs(position - centre[None, :]) / support)
    weight /= weight.sum(axis=0, keepdims=True)
    used = weight.any(axis=1)
    return np.clip(position, 0, source - 1)[used], weight[used].astype(np.float32)


def _box_sum(values: NDArray[np.float64], radius: int) -> NDArray[np.float64]:
    """Sum over the square of side 2 * radius + 1 around each pixel, cut at the border."""
    for axis in (0, 1):
        total = np.cumsum(values, axis=axis)
        total = np.concatenate([np.zeros_like(np.take(total, [0], axis=axis)), total], axis=axis)
        size = values.shape[axis]
        high = np.minimum(np.arange(size) + radius + 1, size)
        low = np.maximum(np.arange(size) - radius, 0)
        values = np.take(total, high, axis=axis) - np.take(total, low, axis=axis)
    return values


def _keys(node: Mapping[str, Any], wanted: set[str], where: str) -> None:
    missing, unknown = sorted(wanted - set(node)), sorted(set(node) - wanted)
    if missing or unknown:
        raise IncorrectInput(f"{where}: missing {missing}, unknown {unknown}")
