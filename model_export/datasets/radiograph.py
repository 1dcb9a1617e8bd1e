"""What every chest radiograph set gives the trainer: pictures, nodules, patients; and how they are split."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clinical.image import GreyImage
from model_export.datasets.folders import data_dir as data_dir  # noqa: PLC0414 - until callers import it there
from model_runtime.transforms import ImageSpec, Placement, normalise_grey, placement, resize

READERS_OF_TRUTH = 3  # of four LIDC readers: the usual reference standard of this set
VISIBLE_CONTRAST = 0.25  # nodule minus its ring, in standard deviations of the ring (see `contrast`)


@dataclass(frozen=True, slots=True)
class Nodule:
    """A nodule in pixels of its image: box (row0, column0, row1, column1), exclusive ends.

    contrast: how far it stands out of its surroundings in this projection; see `contrast`.
    """

    box: tuple[float, float, float, float]
    diameter_mm: float
    readers: int
    contrast: float

    @property
    def is_truth(self) -> bool:
        """True when enough readers outlined it; the others are neither nodule nor background."""
        return self.readers >= READERS_OF_TRUTH

    @property
    def is_visible(self) -> bool:
        """True when it can be told from its surroundings in the projection."""
        return self.contrast >= VISIBLE_CONTRAST


@dataclass(frozen=True, slots=True)
class Radiograph:
    """One picture. pixels: float32 (rows, columns), larger is brighter; mask: all outlines, or None."""

    name: str
    patient: str
    pixels: NDArray[np.float32]
    nodules: tuple[Nodule, ...] = ()
    mask: NDArray[np.bool_] | None = None

    @property
    def image(self) -> GreyImage:
        """The picture as the server would hand it to `transforms.prepare`."""
        return GreyImage(self.pixels)


def read_grey(path: Path) -> NDArray[np.float32]:
    """Read an 8-bit picture as float32 (rows, columns)."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"), np.float32)


def contrast(pixels: NDArray[np.float32], box: tuple[float, float, float, float]) -> float:
    """Return (mean inside the ellipse of the box - mean of its ring) / standard deviation of the ring.

    The ring reaches to twice the radii, from 1.25 times. Half of all CT nodules hide behind heart,
    hilum or diaphragm: no reader of the projection could see them, so training must not ask for them.
    """
    distance = ellipse_distance(pixels.shape, box)
    inside, ring = distance <= 0.8, (distance > 1.25) & (distance <= 2.0)
    if inside.sum() < 4 or ring.sum() < 8:
        return 0.0
    return float((pixels[inside].mean() - pixels[ring].mean()) / (pixels[ring].std() + 1.0))


def ellipse_distance(shape: tuple[int, ...], box: tuple[float, float, float, float]) -> NDArray[np.float64]:
    """Return the distance of each pixel from the box centre, 1 on the ellipse inscribed in the box."""
    row0, column0, row1, column1 = box
    rows = (np.arange(shape[0]) + 0.5 - (row0 + row1) / 2) / max((row1 - row0) / 2, 1.0)
    columns = (np.arange(shape[1]) + 0.5 - (column0 + column1) / 2) / max((column1 - column0) / 2, 1.0)
    return np.asarray(np.hypot(rows[:, None], columns[None, :]))


def split_by_patient(
    radiographs: Sequence[Radiograph], shares: Sequence[float], seed: int
) -> tuple[list[Radiograph], ...]:
    """Split into parts of about these shares; all pictures of a patient land in the same part.

    Patients with a visible nodule of 10 mm or more are spread evenly.
    """
    patients: dict[str, bool] = {}
    for item in radiographs:
        has = any(n.is_truth and n.is_visible and n.diameter_mm >= 10 for n in item.nodules)
        patients[item.patient] = patients.get(item.patient, False) or has
    part_of: dict[str, int] = {}
    rng = np.random.default_rng(seed)
    ends = np.cumsum(shares) / np.sum(shares)
    for wanted in (True, False):
        group = sorted(name for name, has in patients.items() if has is wanted)
        order = rng.permutation(len(group))
        for position, index in enumerate(order):
            part_of[group[index]] = int(np.searchsorted(ends, (position + 0.5) / len(group)))
    parts: tuple[list[Radiograph], ...] = tuple([] for _ in shares)
    for item in radiographs:
        parts[part_of[item.patient]].append(item)
    return parts


@dataclass(frozen=True, slots=True)
class Canvas:
    """A picture on the tensor's grid, before augmentation.

    grey: float16 (rows, columns), 0..1. tissue: where the picture is. target: uint8 (rows, columns):
    0 background, 1 nodule, 2 neither (outlined by too few readers, or not visible in the projection).
    centres: (row, column) of the nodules to learn.
    """

    grey: NDArray[np.float16]
    tissue: NDArray[np.bool_]
    target: NDArray[np.uint8]
    centres: tuple[tuple[float, float], ...]


def canvas(item: Radiograph, spec: ImageSpec, min_diameter_mm: float = 8.0) -> Canvas:
    """Place a picture as the server does (`transforms.prepare`, channel 0) with what is to be learnt."""
    place = placement(item.pixels.shape[0], item.pixels.shape[1], spec)
    inner = resize(item.pixels, place.inner_rows, place.inner_columns)
    scaled = normalise_grey(inner, np.ones(inner.shape, np.bool_), spec)
    grey = np.zeros((spec.rows, spec.columns), np.float16)
    tissue = np.zeros((spec.rows, spec.columns), np.bool_)
    window = np.s_[place.top : place.top + place.inner_rows, place.left : place.left + place.inner_columns]
    grey[window], tissue[window] = scaled, True
    learnt = [n for n in item.nodules if n.is_truth and n.is_visible and n.diameter_mm >= min_diameter_mm]
    target = np.zeros((spec.rows, spec.columns), np.uint8)
    target[window] = _target(item, learnt, place)
    centres = tuple(place.to_tensor((n.box[0] + n.box[2]) / 2, (n.box[1] + n.box[3]) / 2) for n in learnt)
    return Canvas(grey, tissue, target, centres)


def _target(item: Radiograph, learnt: Sequence[Nodule], place: Placement) -> NDArray[np.uint8]:
    shape = item.pixels.shape
    neither = np.zeros(shape, np.bool_) if item.mask is None else item.mask.copy()
    nodule = np.zeros(shape, np.bool_)
    for candidate in item.nodules:
        distance = ellipse_distance(shape, candidate.box)
        if candidate in learnt:
            outlined = (distance <= 1.5) & (neither if item.mask is None else item.mask)
            ellipse = distance <= 0.9
            # A few outlines of the set are missing or cut: the ellipse of the readers' box stands in.
            nodule |= outlined if outlined.sum() > 0.5 * ellipse.sum() else ellipse
        else:
            neither |= distance <= 1.2
    size = (place.inner_rows, place.inner_columns)
    ignored = resize(neither.astype(np.float32), *size) > 0.2
    return np.where(resize(nodule.astype(np.float32), *size) > 0.5, 1, np.where(ignored, 2, 0)).astype(np.uint8)
