"""ChestX-Det: boxes that three radiologists drew on radiographs of NIH ChestX-ray14 (the few with pixels).

Annotations: Deepwise-AILab, Apache-2.0 (Lian et al., IEEE TMI 2021; Liu et al., arXiv:2006.10550).
Radiographs: NIH Clinical Center, no restriction on use, with credit (Wang et al., CVPR 2017). Patients and some
images are those of `nih_cxr621`: split both together.
"""

import csv
import gzip
from pathlib import Path

from clinical.errors import IncorrectInput
from model_export.datasets.radiograph import READERS_OF_TRUTH, Radiograph, read_grey, seen

NAME = "nih_chestxdet"
LAYOUT = ("images.csv#has_pixels", "findings.csv.gz", "images")
LICENCE = "annotations: Apache-2.0; radiographs: no restriction on use, with credit to the NIH Clinical Center"
CITATION = (
    "Lian J et al. A structure-aware relation network for thoracic diseases detection and segmentation. IEEE "
    "Trans Med Imaging 2021; Liu J et al. ChestX-Det10. arXiv:2006.10550; radiographs: Wang X et al. ChestX-ray8. "
    "CVPR 2017:3462-3471, https://nihcc.app.box.com/v/ChestXray-NIHCC"
)
BOX_SIDE = 1024  # coordinates are those of the 1024 x 1024 release
KINDS = {"Nodule": "nodule", "Mass": "mass"}
COLUMNS = frozenset({"image", "patient", "orig_w", "orig_h", "mm_x"})


def load(folder: Path) -> list[Radiograph]:
    """Read the annotated radiographs whose pixels are in `images`; each with its nodules and masses.

    Other findings are not read. Raises IncorrectInput when a column is missing.
    """
    boxes: dict[str, list[dict[str, str]]] = {}
    with gzip.open(folder / "findings.csv.gz", "rt", newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            if row["finding"] in KINDS:
                boxes.setdefault(row["image"], []).append(row)
    with (folder / "images.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    if rows and not set(rows[0]) >= COLUMNS:
        raise IncorrectInput(f"{NAME}/images.csv lacks {sorted(COLUMNS - set(rows[0]))}")
    here = [row for row in rows if (folder / "images" / row["image"]).is_file()]
    return [_radiograph(folder, row, boxes.get(row["image"], [])) for row in here]


def _radiograph(folder: Path, row: dict[str, str], boxes: list[dict[str, str]]) -> Radiograph:
    pixels = read_grey(folder / "images" / row["image"])
    # The release squeezes every radiograph into a square: one pixel is not equally long both ways.
    mm = [float(row["mm_x"]) * float(row[side]) / BOX_SIDE for side in ("orig_h", "orig_w")]
    nodules = []
    for entry in boxes:
        x0, y0, x1, y1 = (float(entry[name]) for name in ("x0", "y0", "x1", "y1"))
        across = ((y1 - y0) * mm[0] * (x1 - x0) * mm[1]) ** 0.5
        scale = pixels.shape[0] / BOX_SIDE
        box = (y0 * scale, x0 * scale, y1 * scale, x1 * scale)
        nodules.append(seen(pixels, box, across, READERS_OF_TRUTH, KINDS[entry["finding"]]))
    return Radiograph(row["image"], row["patient"], pixels, tuple(nodules))
