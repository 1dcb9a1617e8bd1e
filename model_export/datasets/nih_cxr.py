"""Real frontal chest radiographs of NIH ChestX-ray14 with text-mined labels (621 image selection).

NIH Clinical Center: no restriction on use, with credit to the NIH Clinical Center and Wang et al.,
CVPR 2017. The labels are noisy: an AUROC of 0.70 to 0.77 is near what the labels themselves allow.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model_export.datasets.radiograph import Radiograph, read_grey

NAME = "nih_cxr621"
LAYOUT = ("labels.csv#nodule_or_mass", "images")
LICENCE = "no restriction on use, with credit to the NIH Clinical Center"
CITATION = (
    "Wang X, Peng Y, Lu L, Lu Z, Bagheri M, Summers RM. ChestX-ray8. CVPR 2017:3462-3471, "
    "https://nihcc.app.box.com/v/ChestXray-NIHCC; selection: jrzech/reproduce-chexnet"
)


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of a radiograph beside its pixels.

    nodule_or_mass: whether the report's text mentions one. chexnet: the larger of CheXNet's two scores for the
    same picture (retrained DenseNet-121, jrzech/reproduce-chexnet), NaN where the table has none.
    view: PA or AP, sex: F or M, age in years; empty or NaN where not stated.
    """

    nodule_or_mass: bool
    chexnet: float
    view: str
    sex: str
    age: float


def load(folder: Path) -> tuple[list[Radiograph], dict[str, Report]]:
    """Return the pictures and, by name, what is known of each."""
    pictures, reports = [], {}
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            pictures.append(Radiograph(row["image"], row["patient"], read_grey(folder / "images" / row["image"])))
            reports[row["image"]] = Report(
                nodule_or_mass=row["nodule_or_mass"] == "1",
                chexnet=float(np.fmax(_number(row, "chexnet_nodule"), _number(row, "chexnet_mass"))),
                view=row.get("view", ""),
                sex=row.get("sex", ""),
                age=_number(row, "age"),
            )
    return pictures, reports


def _number(row: Mapping[str, str], column: str) -> float:
    return float(row.get(column) or "nan")
