"""Real frontal chest radiographs of NIH ChestX-ray14 with text-mined labels (621 image selection).

NIH Clinical Center: no restriction on use, with credit to the NIH Clinical Center and Wang et al.,
CVPR 2017. The labels are noisy: an AUROC of 0.70 to 0.77 is near what the labels themselves allow.
"""

import csv
from pathlib import Path

from model_export.datasets.radiograph import Radiograph, read_grey

NAME = "nih_cxr621"
LAYOUT = ("labels.csv#nodule_or_mass", "images")
LICENCE = "no restriction on use, with credit to the NIH Clinical Center"
CITATION = (
    "Wang X, Peng Y, Lu L, Lu Z, Bagheri M, Summers RM. ChestX-ray8. CVPR 2017:3462-3471, "
    "https://nihcc.app.box.com/v/ChestXray-NIHCC; selection: jrzech/reproduce-chexnet"
)


def load(folder: Path) -> tuple[list[Radiograph], dict[str, bool]]:
    """Return the pictures and, by name, whether the report mentions a nodule or a mass."""
    pictures, label = [], {}
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            pictures.append(Radiograph(row["image"], row["patient"], read_grey(folder / "images" / row["image"])))
            label[row["image"]] = row["nodule_or_mass"] == "1"
    return pictures, label
