"""A folder of radiographs that a user brings: DICOM or 8/16-bit PNG, with boxes in `boxes.csv`.

    image,x,y,width,height,label[,patient]
    chest1.dcm,812,640,120,132,nodule
    chest2.png,,,,,

x, y, width, height are pixels of the stored image, (0, 0) its upper left corner. One line a box; an image without
finding has one line with the box left empty (or, as NODE21 writes it, label 0). Images lie beside the table or in
`images/`. This is the layout of NODE21 (its `img_name` is read too) and what JSRT is easily written as; neither
may be passed on, so neither is here.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from clinical.errors import IncorrectInput
from model_export.datasets import table
from model_export.datasets.dicom_picture import read_dicom
from model_export.datasets.radiograph import READERS_OF_TRUTH, Radiograph, seen
from model_export.datasets.splits import Groups, groups_of
from model_export.datasets.table import Number, Row

NAME = "boxes_folder"
FILE = "boxes.csv"
LAYOUT = (FILE,)
LICENCE = "that of your data"
CITATION = "your own data"
SIDES = tuple(Number(name, "{pixels}", 0, 100_000) for name in ("x", "y", "width", "height"))
NO_FINDING = {"", "0", "none"}
PICTURES = {".png", ".jpg", ".jpeg"}


@dataclass(frozen=True, slots=True)
class _Picture:
    """What an image file holds. patient: of the DICOM header; spacing_mm: row first."""

    pixels: NDArray[np.float32]
    patient: str | None
    spacing_mm: tuple[float, float] | None


def load(folder: Path) -> list[Radiograph]:
    """Read every image that the table names, with its boxes as truth, in order of appearance.

    The patient is the column `patient`; without it that of the DICOM header; without that each image is its own.

    Raises IncorrectInput with line and column: a box outside its image, an image that is missing or unreadable.
    """
    columns = ["image", *(side.name for side in SIDES), "label"]
    by_image: dict[str, list[Row]] = {}
    for row in table.read(folder / FILE, columns, {"img_name": "image"}):
        by_image.setdefault(row.text("image"), []).append(row)
    return [_radiograph(folder, image, rows) for image, rows in by_image.items()]


def groups(radiographs: Sequence[Radiograph]) -> Groups:
    """Return the groups that a split must keep whole: patients, united where they share an identical image."""
    copies = [
        hashlib.sha256(item.pixels.tobytes() + str(item.pixels.shape).encode()).hexdigest() for item in radiographs
    ]
    return groups_of(copies, [item.patient for item in radiographs])


def _radiograph(folder: Path, image: str, rows: Sequence[Row]) -> Radiograph:
    picture = _read(folder, rows[0])
    nodules = [
        seen(picture.pixels, box, _diameter_mm(box, picture.spacing_mm), READERS_OF_TRUTH, label)
        for row in rows
        for box, label in _boxes(row, picture.pixels.shape)
    ]
    patients = {row.cells.get("patient", "").strip() for row in rows}
    if len(patients) > 1:
        raise rows[-1].refused("patient", "is another one than on an earlier line of the same image")
    return Radiograph(image, patients.pop() or picture.patient or image, picture.pixels, tuple(nodules))


def _boxes(row: Row, shape: tuple[int, ...]) -> list[tuple[tuple[float, float, float, float], str]]:
    """Return the box of a line as (row0, column0, row1, column1) with its label; none where nothing was found."""
    label = row.text("label")
    if label.lower() in NO_FINDING:
        return []
    x, y, width, height = (side.read(row) for side in SIDES)
    if not min(width, height) > 0 or np.isnan(x + y):
        raise row.refused("width", "and height must be positive, with x and y, where there is a label")
    if x + width > shape[1] + 1 or y + height > shape[0] + 1:
        raise row.refused("width", f"or height: the box leaves its image of {shape[1]} x {shape[0]} pixels")
    return [((y, x, min(y + height, float(shape[0])), min(x + width, float(shape[1]))), label)]


def _diameter_mm(box: tuple[float, float, float, float], spacing_mm: tuple[float, float] | None) -> float:
    """Return the geometric mean of the sides; NaN where the image states no scale."""
    if spacing_mm is None:
        return float("nan")
    return float(np.sqrt((box[2] - box[0]) * spacing_mm[0] * (box[3] - box[1]) * spacing_mm[1]))


def _read(folder: Path, row: Row) -> _Picture:
    image = Path(row.text("image"))
    if image.is_absolute() or ".." in image.parts or not image.name:
        raise row.refused("image", "must be the name of a file in this folder")
    path = next((place / image for place in (folder, folder / "images") if (place / image).is_file()), None)
    if path is None:
        raise row.refused("image", "names a file that is not in this folder")
    try:
        if path.suffix.lower() in PICTURES:
            return _Picture(_grey(path), None, None)
        return _Picture(*read_dicom(path))
    except IncorrectInput as problem:
        raise row.refused("image", f"cannot be read: {problem.message}") from problem


def _grey(path: Path) -> NDArray[np.float32]:
    """Read a picture of 8 or 16 bits; colour becomes its luminance."""
    try:
        with Image.open(path) as picture:
            deep = picture.mode.startswith("I") or picture.mode == "F"
            return np.asarray(picture if deep else picture.convert("L"), np.float32)
    except (OSError, UnidentifiedImageError) as problem:
        raise IncorrectInput("no picture") from problem
