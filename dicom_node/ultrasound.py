"""What ultrasound adds to an image: calibrated regions, and grey pictures that are stored in colour.

Runs in the decoder's child process. A screen holds one or two B-mode pictures beside text, scales and logos;
each picture is a region with its own scale (PS3.3 C.8.5.5, US Region Calibration).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from clinical.errors import IncorrectInput, Unsupported
from clinical.image import SpacingOrigin

COLOUR_INTERPRETATIONS = frozenset(("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT", "PALETTE COLOR"))
COLOUR = "it shows colour (Doppler, elastography or a tinted display); grey B-mode images are read"
# PS3.3 C.8.5.5.1.1 Region Spatial Format, .2 Region Data Type, .15 Physical Units.
_TWO_D, _TISSUE, _COLOUR_FLOW, _CENTIMETRES = 1, 1, 2, 3
_MM_PER_CM = 10.0
_SAME_SCALE = 0.01  # relative difference of two regions that are called equal
_MOST_REGIONS = 64
# A pixel is coloured when its channels differ by more than JPEG and rounding make them. Callipers, body marks and
# logos are coloured too, and small; flow and elastography are not.
_COLOURED_FROM = 40
_COLOURED_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Region:
    """A B-mode picture on the screen.

    box: (row0, column0, row1, column1), the last two exclusive. spacing: (row, column) in mm, None when the
    region is not calibrated in lengths.
    """

    box: tuple[int, int, int, int]
    spacing: tuple[float, float] | None


def regions_of(ds: Dataset) -> tuple[Region, ...]:
    """Return the 2D tissue regions of an image, in their order; none when it states none that can be read.

    Raises Unsupported when a region is colour flow.
    """
    found: list[Region] = []
    for item in list(ds.get("SequenceOfUltrasoundRegions") or [])[:_MOST_REGIONS]:
        kind = (_whole(item, "RegionSpatialFormat"), _whole(item, "RegionDataType"))
        if kind == (_TWO_D, _COLOUR_FLOW):
            raise Unsupported(COLOUR)
        if kind == (_TWO_D, _TISSUE):
            box = _box(item, int(ds.Rows), int(ds.Columns))
            found += [] if box is None else [Region(box, _spacing(item))]
    return tuple(dict.fromkeys(found))


def spacing_of_regions(regions: tuple[Region, ...]) -> tuple[float, float, SpacingOrigin] | None:
    """Return the one spacing of all regions, None when one is not calibrated or they differ.

    An image has one spacing in every result, so what holds in one half of a split screen only is not said.
    """
    spacings = [region.spacing for region in regions]
    first = spacings[0] if spacings else None
    if first is None:
        return None
    for other in spacings[1:]:
        if other is None or any(abs(a - b) > _SAME_SCALE * a for a, b in zip(first, other, strict=True)):
            return None
    return first[0], first[1], SpacingOrigin.ULTRASOUND_REGION


def refuse_declared_colour(ds: Dataset) -> None:
    """Raise Unsupported when the image says that it holds colour data (0028,0014; PS3.3 C.8.5.6.1)."""
    if _whole(ds, "UltrasoundColorDataPresent") == 1:
        raise Unsupported(COLOUR)


def grey_from_colour(stored: NDArray[np.generic], ds: Dataset, regions: tuple[Region, ...]) -> NDArray[np.uint8]:
    """Return the brightness of a grey picture that is stored in colour, uint8 (rows, columns).

    stored: RGB (rows, columns, 3), or the indices of a palette. Raises Unsupported when it is no grey picture.
    """
    rgb = rgb_of(stored, ds)
    spread = rgb.max(axis=2) - rgb.min(axis=2)
    coloured = spread > _COLOURED_FROM
    looked_at = _inside(regions, coloured.shape)
    if np.count_nonzero(coloured & looked_at) > _COLOURED_SHARE * np.count_nonzero(looked_at):
        raise Unsupported(COLOUR)
    # ITU-R BT.601, as PS3.3 C.7.6.3.1.2 writes YBR_FULL; grey stays exactly what it was.
    weights = np.array((0.299, 0.587, 0.114), np.float32)
    return np.asarray(np.rint(rgb.astype(np.float32) @ weights), np.uint8)


def rgb_of(stored: NDArray[np.generic], ds: Dataset) -> NDArray[np.uint8]:
    """Return the 8-bit RGB (rows, columns, 3) of a decoded frame in colour.

    Raises IncorrectInput when its palette is malformed.
    """
    if ds.PhotometricInterpretation != "PALETTE COLOR":
        return np.asarray(stored, np.uint8)
    try:
        looked_up = apply_color_lut(stored, ds)
    except (AttributeError, KeyError, ValueError):
        raise IncorrectInput("the colour palette is malformed") from None
    shift = 8 * (looked_up.dtype.itemsize - 1)
    return np.asarray(looked_up >> shift, np.uint8)


def _inside(regions: tuple[Region, ...], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    inside = np.full(shape, not regions)
    for region in regions:
        row0, column0, row1, column1 = region.box
        inside[row0:row1, column0:column1] = True
    return inside


def _box(item: Dataset, rows: int, columns: int) -> tuple[int, int, int, int] | None:
    """Return the region's box cut to the image; its maxima are the last pixel inside (C.8.5.5.1.14)."""
    names = ("RegionLocationMinY0", "RegionLocationMinX0", "RegionLocationMaxY1", "RegionLocationMaxX1")
    edges = [_whole(item, name) for name in names]
    if None in edges:
        return None
    row0, column0, row1, column1 = (edge or 0 for edge in edges)
    box = (max(row0, 0), max(column0, 0), min(row1 + 1, rows), min(column1 + 1, columns))
    return box if box[0] < box[2] and box[1] < box[3] else None


def _spacing(item: Dataset) -> tuple[float, float] | None:
    """Return (row, column) spacing in mm when both directions count centimetres."""
    units = (_whole(item, "PhysicalUnitsYDirection"), _whole(item, "PhysicalUnitsXDirection"))
    if units != (_CENTIMETRES, _CENTIMETRES):
        return None
    try:
        # The sign tells the direction of growing values; a distance has none.
        row, column = (_MM_PER_CM * abs(float(item[name].value)) for name in ("PhysicalDeltaY", "PhysicalDeltaX"))
    except (KeyError, TypeError, ValueError):
        return None
    return (row, column) if 0 < row < 100 and 0 < column < 100 else None


def _whole(ds: Dataset, keyword: str) -> int | None:
    try:
        return int(ds[keyword].value)
    except (KeyError, TypeError, ValueError):
        return None
