"""One DICOM radiograph as the trainer's picture: the same grey values, up to their origin, that the server's node
decodes (a test compares the two), without its limits and its child process, which guard against strangers' files.
"""

from pathlib import Path
from typing import cast

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError
from pydicom.pixels.processing import apply_modality_lut

from clinical.errors import IncorrectInput

GREY = {"MONOCHROME1", "MONOCHROME2"}


def read_dicom(path: Path) -> tuple[NDArray[np.float32], str | None, tuple[float, float] | None]:
    """Return (pixels, larger is brighter; Patient ID; spacing in mm, row first, or None).

    Pixel Spacing counts before Imager Pixel Spacing, which is at the detector and magnified.

    Raises IncorrectInput for what is no grey single-frame image.
    """
    try:
        ds = pydicom.dcmread(path)
    except (InvalidDicomError, OSError, EOFError, ValueError) as problem:
        raise IncorrectInput("no DICOM file") from problem
    if ds.get("PhotometricInterpretation") not in GREY or int(ds.get("NumberOfFrames") or 1) != 1:
        raise IncorrectInput("no grey image of one frame")
    try:
        stored = ds.pixel_array
        pixels = np.asarray(apply_modality_lut(stored, ds), np.float32)
    except (AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as problem:
        raise IncorrectInput("its pixels cannot be decoded") from problem
    if ds.PhotometricInterpretation == "MONOCHROME1":
        pixels = pixels.max() - pixels
    padding = ds.get("PixelPaddingValue")
    if isinstance(padding, int) and (stored != padding).any():
        pixels = np.where(stored == padding, pixels[stored != padding].min(), pixels)
    return pixels, str(ds.get("PatientID") or "") or None, _spacing(ds)


def _spacing(ds: pydicom.Dataset) -> tuple[float, float] | None:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        value = ds.get(keyword)
        if value is not None and len(value) == 2 and all(0 < float(part) < 100 for part in value):
            return cast(tuple[float, float], tuple(float(part) for part in value))
    return None
