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
# Visibility grades 1, 2 and 3 begin at these contrasts (see `contrast`). Of places of the same sizes without a
# nodule (the mirrored side of the same view of `lidc_drr`) 25 %, 12 % and 3 % reach them; of the nodules 50 %,
# 33 % and 19 %. The three numbers were fixed before any model was measured.
GRADES = (0.5, 1.0, 1.5)
VISIBLE_GRADE = 2
# Surroundings brighter than this part of the picture's grey range are heart, mediastinum or abdomen: one grade
# less, and never more than faint. This rule came after a look at one trial model's misses; figures without it
# are reported beside.
DENSE_FROM = 0.5
LEARNT_GRADE = 1  # what the trainer asks for: faint ones too, of which there are too few to leave out
FAINT_BELOW_MM = 6.0  # nothing smaller is graded above 1, whatever its contrast


@dataclass(frozen=True, slots=True)
class Nodule:
    """A nodule in pixels of its image: box (row0, column0, row1, column1), exclusive ends.

    diameter_mm: NaN where the picture's scale is unknown. contrast: how far it stands out of its
    surroundings in this projection; see `contrast`. kind: "nodule", or "mass" where the set tells them apart.
    background: how bright its surroundings are; see `background`.
    """

    box: tuple[float, float, float, float]
    diameter_mm: float
    readers: int
    contrast: float
    kind: str = "nodule"
    background: float = 0.0

    @property
    def is_truth(self) -> bool:
        """True when enough readers outlined it; the others are neither nodule nor background."""
        return self.readers >= READERS_OF_TRUTH

    @property
    def is_visible(self) -> bool:
        """True when it can be told from its surroundings in the projection: grade 2 or 3."""
        return self.grade >= VISIBLE_GRADE

    @property
    def grade(self) -> int:
        """Visibility in the projection: 0 hidden, 1 faint, 2 visible, 3 obvious."""
        return visibility_grade(self.contrast, self.diameter_mm, self.background)


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


def visibility_grade(contrast: float, diameter_mm: float, background: float = 0.0) -> int:
    """Return 0 hidden, 1 faint, 2 visible, 3 obvious.

    Half of all CT nodules hide behind heart, hilum, ribs or diaphragm: no reader of the projection could see
    them, so training must not ask for them and a score that counts them says little.
    """
    grade = sum(contrast >= least for least in GRADES)
    if background >= DENSE_FROM:
        grade = min(grade - 1, 1)
    return max(0, min(grade, 1) if diameter_mm < FAINT_BELOW_MM else grade)


def background(pixels: NDArray[np.float32], box: tuple[float, float, float, float]) -> float:
    """Return the mean grey value of the ring around the box, 0 and 1 being percentiles 1 and 99 of the picture."""
    low, high = np.percentile(pixels[::4, ::4], (1, 99))
    _, ring, part = _surroundings(pixels, box)
    return float((part[ring].mean() - low) / max(float(high - low), 1e-6)) if ring.any() else 0.0


def contrast(pixels: NDArray[np.float32], box: tuple[float, float, float, float]) -> float:
    """Return how much brighter the inner part of the box's ellipse is than its surroundings.

    The surroundings are the ring between 1.25 and 2 times the radii; a plane fitted to it takes out the slope
    of a rib, the heart or the chest wall. The mean difference is divided by the standard deviation of the
    ring about that plane (plus one grey level). 0 where the box is too small to tell.
    """
    inside, ring, part = _surroundings(pixels, box)
    if inside.sum() < 4 or ring.sum() < 8:
        return 0.0
    rows, columns = np.indices(part.shape)
    plane = np.stack([np.ones(part.shape), rows - rows.mean(), columns - columns.mean()], axis=-1)
    slope, *_ = np.linalg.lstsq(plane[ring], part[ring].astype(np.float64), rcond=None)
    rest = part - plane @ slope
    return float(rest[inside].mean() / (rest[ring].std() + 1.0))


def _surroundings(
    pixels: NDArray[np.float32], box: tuple[float, float, float, float]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float32]]:
    """Return inner ellipse, ring, and the part of the picture that both are masks of."""
    reach = int(np.ceil(max(box[2] - box[0], box[3] - box[1]))) + 2
    row0, column0 = max(int(box[0]) - reach, 0), max(int(box[1]) - reach, 0)
    part = pixels[row0 : int(box[2]) + reach, column0 : int(box[3]) + reach]
    distance = ellipse_distance(part.shape, (box[0] - row0, box[1] - column0, box[2] - row0, box[3] - column0))
    return distance <= 0.8, (distance > 1.25) & (distance <= 2.0), part


def seen(
    pixels: NDArray[np.float32],
    box: tuple[float, float, float, float],
    diameter_mm: float,
    readers: int,
    kind: str = "nodule",
) -> Nodule:
    """Return a nodule with its visibility in this picture."""
    return Nodule(box, diameter_mm, readers, contrast(pixels, box), kind, background(pixels, box))


def ellipse_distance(shape: tuple[int, ...], box: tuple[float, float, float, float]) -> NDArray[np.float64]:
    """Return the distance of each pixel from the box centre, 1 on the ellipse inscribed in the box."""
    row0, column0, row1, column1 = box
    rows = (np.arange(shape[0]) + 0.5 - (row0 + row1) / 2) / max((row1 - row0) / 2, 1.0)
    columns = (np.arange(shape[1]) + 0.5 - (column0 + column1) / 2) / max((column1 - column0) / 2, 1.0)
    return np.asarray(np.hypot(rows[:, None], columns[None, :]))


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
    learnt = [
        n for n in item.nodules if n.is_truth and n.grade >= LEARNT_GRADE and n.diameter_mm >= min_diameter_mm
    ]
    target = np.zeros((spec.rows, spec.columns), np.uint8)
    target[window] = _target(item, learnt, place)
    centres = tuple(place.to_tensor((n.box[0] + n.box[2]) / 2, (n.box[1] + n.box[3]) / 2) for n in learnt)
    return Canvas(grey, tissue, target, centres)


def outline_of(item: Radiograph, nodule: Nodule) -> NDArray[np.bool_]:
    """Return where a nodule is in the picture: the readers' outline, or the ellipse of the box.

    A few outlines are missing or cut; then the ellipse stands in, as it does where a set has boxes only.
    """
    distance = ellipse_distance(item.pixels.shape, nodule.box)
    ellipse = distance <= 0.9
    if item.mask is None:
        return np.asarray(ellipse)
    outlined = (distance <= 1.5) & item.mask
    return outlined if outlined.sum() > 0.5 * ellipse.sum() else np.asarray(ellipse)


def _target(item: Radiograph, learnt: Sequence[Nodule], place: Placement) -> NDArray[np.uint8]:
    neither = np.zeros(item.pixels.shape, np.bool_) if item.mask is None else item.mask.copy()
    nodule = np.zeros(item.pixels.shape, np.bool_)
    for candidate in item.nodules:
        if candidate in learnt:
            nodule |= outline_of(item, candidate)
        else:
            neither |= ellipse_distance(item.pixels.shape, candidate.box) <= 1.2
    size = (place.inner_rows, place.inner_columns)
    ignored = resize(neither.astype(np.float32), *size) > 0.2
    return np.where(resize(nodule.astype(np.float32), *size) > 0.5, 1, np.where(ignored, 2, 0)).astype(np.uint8)
