"""Where images lie by their headers, for `clinical.volume`. Nothing is guessed.

The Image Plane (PS3.3 C.7.6.2) of a classic image, the plane groups (C.7.6.16.2.3 and .4) of each frame of an
enhanced one.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from clinical.volume import Slice, Vector

# What comes as a stack of slices: an image of another modality has no plane in the patient.
STACKED = frozenset(("CT", "MR", "PT"))
MOST_FRAMES = 5000  # that are told apart where none says where it lies
_GROUPS = (
    ("PlanePositionSequence", "ImagePositionPatient"),
    ("PlaneOrientationSequence", "ImageOrientationPatient"),
    ("PixelMeasuresSequence", "PixelSpacing"),
    ("PixelMeasuresSequence", "SliceThickness"),
)
_TAGS = (
    *(keyword for _, keyword in _GROUPS),
    "Rows",
    "Columns",
    "FrameOfReferenceUID",
    "NumberOfFrames",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
NOWHERE = Slice(None, None, None, 0, 0)


def placed(path: Path) -> list[Slice]:
    """Return where the frames of a stored file lie; one that cannot be read says nothing."""
    try:
        return slices_of(dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS)))
    except Exception:  # noqa: BLE001 - pydicom raises anything at all on hostile values; then nothing is said
        return [NOWHERE]


def slices_of(ds: Dataset) -> list[Slice]:
    """Return where each frame of an image lies."""
    if "PerFrameFunctionalGroupsSequence" not in ds:
        count = min(int(ds.get("NumberOfFrames") or 1), MOST_FRAMES)
        return [_slice(ds, ds) if count == 1 else NOWHERE] * count
    shared = list(ds.get("SharedFunctionalGroupsSequence") or [])[:1]
    return [_slice(_flat([*shared, frame]), ds) for frame in ds.PerFrameFunctionalGroupsSequence]


def _flat(groups: Sequence[Dataset]) -> Dataset:
    """Return what groups say as a classic image says it; later groups stand above earlier ones."""
    flat = Dataset()
    for group in groups:
        for sequence, keyword in _GROUPS:
            for item in list(group.get(sequence) or [])[:1]:
                if keyword in item:
                    flat.add(item[keyword])
    return flat


def _slice(plane: Dataset, image: Dataset) -> Slice:
    position, directions = (
        _numbers(plane, "ImagePositionPatient", 3),
        _numbers(plane, "ImageOrientationPatient", 6),
    )
    spacing = _numbers(plane, "PixelSpacing", 2)
    return Slice(
        position=_vector(position) if position else None,
        orientation=(_vector(directions[:3]), _vector(directions[3:])) if directions else None,
        spacing_mm=(spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None,
        rows=int(image.get("Rows") or 0),
        columns=int(image.get("Columns") or 0),
        frame_of_reference=str(image.get("FrameOfReferenceUID") or ""),
        thickness_mm=_thickness(plane),
    )


def _numbers(ds: Dataset, keyword: str, count: int) -> list[float]:
    value = ds.get(keyword)
    numbers = [float(one) for one in value] if isinstance(value, MultiValue) else []
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else []


def _thickness(ds: Dataset) -> float | None:
    value = ds.get("SliceThickness")
    return float(value) if isinstance(value, float) and math.isfinite(value) and value > 0 else None


def _vector(numbers: Sequence[float]) -> Vector:
    return numbers[0], numbers[1], numbers[2]
