"""What every breast ultrasound set gives the trainer: pictures with an expert's outline, a diagnosis, a record."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clinical.errors import IncorrectInput
from clinical.image import GreyImage
from clinical.lesion import RecordValues


@dataclass(frozen=True, slots=True)
class LesionPicture:
    """One picture of one lesion.

    pixels: uint8 (rows, columns), larger is brighter. mask: the expert's outline of the lesion, same shape.
    malignant: by biopsy or follow-up. record: what the radiologist noted (clinical.breast_codes).
    fold: the part (1..) that the authors published for cross-validation, None where there is none.
    reported: what figures are broken down by (device, view, histology); never an input.
    """

    site: str
    name: str
    patient: str
    pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    malignant: bool
    record: RecordValues
    fold: int | None
    reported: Mapping[str, str]

    @property
    def image(self) -> GreyImage:
        """The picture as the server hands it to the outline network."""
        return GreyImage(self.pixels.astype(np.float32))


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a CSV. Raises IncorrectInput when it is unreadable, empty or lacks a column."""
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise IncorrectInput(f"{path.name} cannot be read as CSV") from problem
    if not rows:
        raise IncorrectInput(f"{path.name} holds no rows")
    missing = sorted(set(columns) - set(rows[0]))
    if missing:
        raise IncorrectInput(f"{path.name} lacks the columns {', '.join(missing)}")
    return rows


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture as 8-bit grey (rows, columns). Raises IncorrectInput when it cannot be read."""
    try:
        with Image.open(path) as picture:
            return np.array(picture.convert("L"))
    except OSError as problem:
        raise IncorrectInput(f"the picture {path.name} cannot be read") from problem


def read_mask(path: Path, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Read an outline. Raises IncorrectInput when it is unreadable, empty, or of another size than its picture."""
    mask = read_picture(path) > 0
    if mask.shape != shape:
        raise IncorrectInput(f"the outline {path.name} does not have the size of its picture")
    if not mask.any():
        raise IncorrectInput(f"the outline {path.name} is empty")
    return mask


def one_of(row: Mapping[str, str], column: str, allowed: Sequence[str], line: int) -> str:
    """Return a field. Raises IncorrectInput naming line and column when it is none of the words."""
    if row[column] not in allowed:
        raise IncorrectInput(f"line {line}: {column} must be one of {', '.join(allowed)}")
    return row[column]
