"""BUS-BRA: 1,875 breast ultrasound pictures of 1,064 women, outlines, BI-RADS category, biopsy result.

`lesions.csv`, `images/<image>.jpg` (grey, longest side at most 384 px), `masks/<image>.png`. All lesions are
proven by biopsy; a woman has one or two views of one lesion. The licence asks that the article is cited. The
category is the reader's own suspicion: figures stand with and without it. No pixel spacing is given.
"""

from pathlib import Path

from clinical.errors import IncorrectInput
from model_export.datasets.ultrasound import LesionPicture, one_of, read_mask, read_picture, read_table

NAME = "bus_bra"
LAYOUT = ("lesions.csv#birads", "images", "masks")
LICENCE = "free use, copy, modification and distribution, on condition that the article is cited (its LICENSE.txt)"
CITATION = (
    "Gómez-Flores W, Gregorio-Calas MJ, Coelho de Albuquerque Pereira W. BUS-BRA: A breast ultrasound dataset for "
    "assessing computer-aided diagnosis systems. Med Phys 2024;51(4):3110-3123. doi 10.5281/zenodo.8231412"
)
COLUMNS = ("image", "patient", "pathology", "birads", "histology", "device", "view", "published_fold5")
CATEGORIES = ("2", "3", "4", "5")
FOLDS = ("1", "2", "3", "4", "5")


def load(folder: Path) -> tuple[LesionPicture, ...]:
    """Read all pictures, in the order of the table.

    Raises IncorrectInput naming line and column when a field is not what it must be, when a picture stands
    twice, and when a patient has both diagnoses or lies in two folds: that would leak across a split.
    """
    rows = read_table(folder / "lesions.csv", COLUMNS)
    pictures = tuple(_picture(folder, row, line) for line, row in enumerate(rows, start=2))
    if len({picture.name for picture in pictures}) != len(pictures):
        raise IncorrectInput("a picture stands twice in lesions.csv: copies would leak across a split")
    for what in ("malignant", "fold"):
        if len({(picture.patient, getattr(picture, what)) for picture in pictures}) != len(
            {picture.patient for picture in pictures}
        ):
            raise IncorrectInput(f"a patient has pictures that differ in {what}")
    return pictures


def _picture(folder: Path, row: dict[str, str], line: int) -> LesionPicture:
    pixels = read_picture(folder / "images" / f"{row['image']}.jpg")
    return LesionPicture(
        site=NAME,
        name=row["image"],
        patient=row["patient"],
        pixels=pixels,
        mask=read_mask(folder / "masks" / f"{row['image']}.png", pixels.shape),
        malignant=one_of(row, "pathology", ("benign", "malignant"), line) == "malignant",
        record={"birads": frozenset({one_of(row, "birads", CATEGORIES, line)})},
        fold=int(one_of(row, "published_fold5", FOLDS, line)),
        reported={key: row[key] for key in ("device", "view", "histology")},
    )
