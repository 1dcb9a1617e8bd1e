"""From stored values to grey values (PS3.3 C.7.6.3, C.11.1, C.11.2). Runs in the decoder's child process.

Arrays and a parsed header in, arrays out; every step is tested against values worked out by hand.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from clinical.errors import IncorrectInput
from clinical.image import SpacingOrigin
from dicom_node.attributes import integer, numbers
from dicom_node.declared import is_grey_in_colour
from dicom_node.syntaxes import NATIVE
from dicom_node.ultrasound import Region, grey_from_colour, spacing_of_regions

_Whole = NDArray[np.signedinteger[Any]]


_PROJECTIONS = frozenset(("CR", "DX", "MG", "XA", "RF", "RG", "IO", "PX"))
_SAME = 1e-4  # two spacings that were written with different numbers of digits


@dataclass(frozen=True, slots=True)
class Grey:
    """pixels: float32 (rows, columns), larger is brighter. padding: bool (rows, columns) or None."""

    pixels: NDArray[np.float32]
    window: tuple[float, float] | None
    padding: NDArray[np.bool_] | None


def grey_of(stored: NDArray[np.generic], ds: Dataset, regions: tuple[Region, ...] = ()) -> Grey:
    """Return what a reader sees of a decoded frame of shape (rows, columns), before any window.

    regions: of an ultrasound screen. Raises Unsupported when a picture in colour is not a grey one.
    """
    if is_grey_in_colour(ds):
        return Grey(grey_from_colour(stored, ds, regions).astype(np.float32), None, None)
    if stored.dtype.kind == "f":
        return _grey_of_floats(stored, ds)
    values = _values(stored, ds)
    padding = _padding(values, ds)
    pixels, low, high = _modality(values, ds)
    window, function = _window(ds)
    if window is None and ds.get("VOILUTSequence"):
        pixels, low, high = _looked_up(values, pixels, ds.VOILUTSequence[0], ds)
        window, function = ((low + high + 1) / 2, high - low + 1), "LINEAR"
    if ds.PhotometricInterpretation == "MONOCHROME1":
        pixels = np.float32(low + high) - pixels
        if window is not None:
            # The linear function is centred half a step below its centre (PS3.3 C.11.2.1.2.1).
            window = (low + high - window[0] + (1 if function == "LINEAR" else 0), window[1])
    return Grey(np.ascontiguousarray(pixels, np.float32), window, padding)


def _grey_of_floats(stored: NDArray[np.generic], ds: Dataset) -> Grey:
    """Return floating point pixels (PS3.3 C.7.6.24), which have neither a modality transform nor a range.

    What is no number, is infinite or is the padding value is padding and gets the lowest value.
    """
    pixels = np.asarray(stored, np.float32)
    first = next(iter(numbers(ds, "FloatPixelPaddingValue") + numbers(ds, "DoubleFloatPixelPaddingValue")), None)
    padding = ~np.isfinite(pixels)
    if first is not None:
        padding |= pixels == np.float32(first)
    if padding.all():
        raise IncorrectInput("the image holds no finite value")
    low, high = pixels[~padding].min(), pixels[~padding].max()
    pixels = np.where(padding, low, pixels)
    if ds.get("PhotometricInterpretation") == "MONOCHROME1":
        pixels = low + high - pixels
    return Grey(np.ascontiguousarray(pixels, np.float32), _window(ds)[0], padding if padding.any() else None)


def spacing_of(ds: Dataset, regions: tuple[Region, ...] = ()) -> tuple[float, float, SpacingOrigin] | None:
    """Return (row mm, column mm, where it was read), or None when the image states none that is usable.

    regions: of an ultrasound screen; where there are any, only they count. In a projection Pixel Spacing may have
    been calibrated (PS3.3 10.7.1.3), which shows in its difference from Imager Pixel Spacing, the one at the
    detector, or in its Calibration Type. Neither is ever guessed: not from a nominal or scanned spacing, an aspect
    ratio, a magnification factor or the detector's size.
    """
    if regions:
        return spacing_of_regions(regions)
    pixel, imager = _millimetres(ds, "PixelSpacing"), _millimetres(ds, "ImagerPixelSpacing")
    if pixel is None:
        return imager and (*imager, SpacingOrigin.IMAGER_PIXEL_SPACING)
    calibrated = ds.get("PixelSpacingCalibrationType") in {"GEOMETRY", "FIDUCIAL"}
    if ds.get("Modality") not in _PROJECTIONS or calibrated:
        return *pixel, SpacingOrigin.PIXEL_SPACING
    if imager is None:
        return *pixel, SpacingOrigin.UNCALIBRATED
    same = all(math.isclose(one, other, rel_tol=_SAME) for one, other in zip(pixel, imager, strict=True))
    return *pixel, SpacingOrigin.IMAGER_PIXEL_SPACING if same else SpacingOrigin.PIXEL_SPACING


def _millimetres(ds: Dataset, keyword: str) -> tuple[float, float] | None:
    pair = numbers(ds, keyword)
    return (pair[0], pair[1]) if len(pair) == 2 and all(0 < one < 100 for one in pair) else None


def _values(stored: NDArray[np.generic], ds: Dataset) -> _Whole:
    """Return stored values as numbers: overlay bits dropped, sign restored, lossy overshoot clipped."""
    bits = integer(ds, "BitsStored", 16)
    signed = integer(ds, "PixelRepresentation", 0) == 1
    values: _Whole = np.asarray(stored).astype(np.int64 if stored.dtype.itemsize > 2 else np.int32)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if ds.file_meta.TransferSyntaxUID not in NATIVE:
        return np.clip(values, low, high)
    if bits == stored.dtype.itemsize * 8:
        return values
    shifted = (values >> (integer(ds, "HighBit", bits - 1) + 1 - bits)) & ((1 << bits) - 1)
    return np.where(shifted > high, shifted - (1 << bits), shifted) if signed else shifted


def _padding(values: _Whole, ds: Dataset) -> NDArray[np.bool_] | None:
    """Return where Pixel Padding Value .. Pixel Padding Range Limit stands (PS3.3 C.7.5.1.1.2)."""
    first = _sample(ds, "PixelPaddingValue")
    if first is None:
        return None
    limit = _sample(ds, "PixelPaddingRangeLimit")
    last = first if limit is None else limit
    mask = (values >= min(first, last)) & (values <= max(first, last))
    return mask if mask.any() else None


def _modality(values: _Whole, ds: Dataset) -> tuple[NDArray[np.float32], float, float]:
    """Return (values after the modality transform, the lowest and the highest one possible)."""
    if ds.get("ModalityLUTSequence"):
        return _looked_up(values, values.astype(np.float32), ds.ModalityLUTSequence[0], ds)
    slope = (numbers(ds, "RescaleSlope") or [1.0])[0] or 1.0
    intercept = (numbers(ds, "RescaleIntercept") or [0.0])[0]
    low, high = _range(ds)
    ends = sorted((low * slope + intercept, high * slope + intercept))
    return values.astype(np.float32) * np.float32(slope) + np.float32(intercept), ends[0], ends[1]


def _range(ds: Dataset) -> tuple[int, int]:
    bits = integer(ds, "BitsStored", 16)
    signed = integer(ds, "PixelRepresentation", 0) == 1
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def _looked_up(
    values: _Whole, pixels: NDArray[np.float32], item: Dataset, ds: Dataset
) -> tuple[NDArray[np.float32], float, float]:
    """Apply a look-up table (PS3.3 C.11.1.1, C.11.2.1.1); a VOI table is indexed by modality values."""
    try:
        count, first, bits = (int(one) for one in item.LUTDescriptor)
        data = item.LUTData
        table = np.asarray(np.frombuffer(data, "<u2") if isinstance(data, bytes) else data, np.float32)
    except (AttributeError, TypeError, ValueError):
        raise IncorrectInput("a look-up table is malformed") from None
    count = count or 65536
    if len(table) < count or not 1 <= bits <= 16:
        raise IncorrectInput("a look-up table is malformed")
    if _range(ds)[0] < 0 and first > 32767:
        first -= 65536
    index = np.rint(pixels).astype(np.int64) if values.shape == pixels.shape else values
    return table[np.clip(index - first, 0, count - 1)], 0.0, float((1 << bits) - 1)


def _window(ds: Dataset) -> tuple[tuple[float, float] | None, str]:
    centres, widths = numbers(ds, "WindowCenter"), numbers(ds, "WindowWidth")
    function = str(ds.get("VOILUTFunction") or "LINEAR")
    if not centres or not widths or widths[0] < (1 if function == "LINEAR" else 1e-9):
        return None, function
    return (centres[0], widths[0]), function


def _sample(ds: Dataset, keyword: str) -> int | None:
    """Return a value that is written like a pixel: US or SS by Pixel Representation, often confused."""
    if ds.get(keyword) in (None, ""):
        return None
    value = integer(ds, keyword, 0)
    low, high = _range(ds)
    span = 1 << 16
    return value + span if value < low and low == 0 else value - span if value > high and low < 0 else value
