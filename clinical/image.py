"""A decoded image: grey values with their geometry. Nothing here knows DICOM."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from clinical.errors import IncorrectInput


class SpacingOrigin(StrEnum):
    """Where a pixel spacing was read, because it decides what a millimetre means."""

    PIXEL_SPACING = "Pixel Spacing"  # 0028,0030: in the patient, or calibrated
    # A projection with nothing that tells whether it was calibrated: perhaps magnified (PS3.3 10.7.1.3).
    UNCALIBRATED = "Pixel Spacing (not said to be calibrated)"
    IMAGER_PIXEL_SPACING = "Imager Pixel Spacing"  # 0018,1164: at the detector, magnified
    ULTRASOUND_REGION = "Ultrasound Region Calibration"  # 0018,6011: in the patient, by the speed of sound


@dataclass(frozen=True, slots=True)
class PixelSpacing:
    """Distance of pixel centres in millimetres, row spacing first (PS3.3 10.7.1.3)."""

    row_mm: float
    column_mm: float
    origin: SpacingOrigin

    def __post_init__(self) -> None:
        if not (0 < self.row_mm < 100 and 0 < self.column_mm < 100):
            raise IncorrectInput("pixel spacing must be a positive number of millimetres")


@dataclass(frozen=True, slots=True)
class GreyImage:
    """One frame as a reader sees it: larger is brighter (MONOCHROME1 is already inverted).

    pixels: float32, shape (rows, columns); modality rescale applied, before any window.
    window: (centre, width) of the VOI, or None.
    padding: True where a pixel is padding and not tissue, shape (rows, columns), or None.
    spacing: None when the image states none; it is never guessed.
    """

    pixels: NDArray[np.float32]
    spacing: PixelSpacing | None = None
    window: tuple[float, float] | None = None
    padding: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or min(self.pixels.shape) < 1:
            raise IncorrectInput("a grey image has rows and columns")
