"""Whether the slices of a series are one volume on a regular grid: positions in, geometry or a reason out.

Coordinates are the patient's in mm (PS3.3 C.7.6.2.1.1). Nothing is resampled or guessed: a stack that leans, has
gaps or lies twice at a place is refused by name, because a size counted in its voxels would be wrong.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

DIRECTION_TOLERANCE = 1e-3  # of direction cosines; equipment writes them with four to six decimals
SAME_PLACE_MM = 0.01
STEP_TOLERANCE = 0.01  # of the usual step, or SAME_PLACE_MM if that is more
PIXELS_ASIDE = 0.5  # how far a slice may lie beside its place in the grid
Vector = tuple[float, float, float]


class NoVolume(StrEnum):
    """Why slices are no volume."""

    TOO_FEW = "it has fewer than two slices"
    NO_PLANE = "a slice does not say where it lies (position, orientation, pixel spacing)"
    NOT_SQUARE = "the orientation of a slice is no pair of perpendicular unit vectors"
    SEVERAL_FRAMES = "its slices are in different frames of reference"
    MIXED_ORIENTATION = "its slices are oriented differently"
    MIXED_GRID = "its slices differ in size or pixel spacing"
    DUPLICATE = "slices lie at the same place"
    TILTED = "gantry tilt: the stack leans against its slices"
    SHIFTED = "slices are shifted beside one another"
    MISSING = "slices are missing"
    UNEVEN = "the distances between its slices differ"


@dataclass(frozen=True, slots=True)
class Slice:
    """One image as its header places it. None where it says nothing that can be read.

    position: centre of the first pixel. orientation: direction cosines of the row, then of the column.
    spacing_mm: row, column (PS3.3 10.7.1.3). thickness_mm: nominal, of the slice.
    """

    position: Vector | None
    orientation: tuple[Vector, Vector] | None
    spacing_mm: tuple[float, float] | None
    rows: int
    columns: int
    frame_of_reference: str = ""
    thickness_mm: float | None = None


@dataclass(frozen=True, slots=True)
class Volume:
    """A regular grid. order: indices of the slices along `normal`. spacing_mm: (slice, row, column).

    gap_mm: between two slices, what is in neither: as they were made, or as every second one is missing; positions
    cannot tell. 0 where slices meet or one of them states no thickness.
    """

    order: tuple[int, ...]
    origin: Vector
    normal: Vector
    spacing_mm: tuple[float, float, float]
    gap_mm: float = 0.0

    @property
    def in_words(self) -> str:
        """How many slices there are and how far apart everything is."""
        step, row, column = self.spacing_mm
        words = f"a volume of {len(self.order)} slices {step:.4g} mm apart, pixels of {row:.4g} x {column:.4g} mm"
        return f"{words}; {self.gap_mm:.4g} mm between two slices are in neither" if self.gap_mm else words


@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is no volume. detail: what was measured, "" where there is nothing to add."""

    why: NoVolume
    detail: str = ""

    @property
    def in_words(self) -> str:
        """The reason for people."""
        return f"{self.why} ({self.detail})" if self.detail else str(self.why)


def volume_of(slices: Sequence[Slice]) -> Volume | Refused:
    """Return the volume that slices make, in whatever order they come, or why they make none."""
    if len(slices) < 2:
        return Refused(NoVolume.TOO_FEW)
    known = [(one.position, one.orientation, one.spacing_mm) for one in slices]
    if any(None in one for one in known):
        return Refused(NoVolume.NO_PLANE)
    directions = np.asarray([one.orientation for one in slices], np.float64)
    if problem := _grid_problem(slices, directions):
        return Refused(problem)
    row, column = directions[0]
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    positions = np.asarray([one.position for one in slices], np.float64)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    made = _stacked(slices[0], positions[order], along[order], normal, order)
    return replace(made, gap_mm=_gap_mm(slices, made.spacing_mm[0])) if isinstance(made, Volume) else made


def _grid_problem(slices: Sequence[Slice], directions: NDArray[np.float64]) -> NoVolume | None:
    lengths, crossed = np.linalg.norm(directions, axis=2), np.sum(directions[:, 0] * directions[:, 1], axis=1)
    if (
        not np.isfinite(directions).all()
        or max(np.abs(lengths - 1).max(), np.abs(crossed).max()) > DIRECTION_TOLERANCE
    ):
        return NoVolume.NOT_SQUARE
    if len({one.frame_of_reference for one in slices}) > 1:
        return NoVolume.SEVERAL_FRAMES
    if np.abs(directions - directions[0]).max() > DIRECTION_TOLERANCE:
        return NoVolume.MIXED_ORIENTATION
    if len({(one.rows, one.columns, one.spacing_mm) for one in slices}) > 1:
        return NoVolume.MIXED_GRID
    return None


def _stacked(
    first: Slice,
    positions: NDArray[np.float64],
    along: NDArray[np.float64],
    normal: NDArray[np.float64],
    order: NDArray[np.intp],
) -> Volume | Refused:
    """Judge slices that are sorted along their normal."""
    steps = np.diff(along)
    same = int(np.count_nonzero(steps < SAME_PLACE_MM))
    if same:
        return Refused(NoVolume.DUPLICATE, f"{same} of {len(along)}")
    row_mm, column_mm = first.spacing_mm or (0.0, 0.0)
    aside = _aside(positions, along, normal, PIXELS_ASIDE * min(row_mm, column_mm))
    if aside is not None:
        return aside
    uneven = _uneven(steps)
    if uneven is not None:
        return uneven
    step = float((along[-1] - along[0]) / len(steps))
    origin, direction = positions[0].tolist(), normal.tolist()
    return Volume(
        order=tuple(int(one) for one in order),
        origin=(origin[0], origin[1], origin[2]),
        normal=(direction[0], direction[1], direction[2]),
        spacing_mm=(step, row_mm, column_mm),
    )


def _gap_mm(slices: Sequence[Slice], step_mm: float) -> float:
    thick = [one.thickness_mm for one in slices if one.thickness_mm is not None]
    gap = step_mm - max(thick) if len(thick) == len(slices) else 0.0
    return gap if gap > max(SAME_PLACE_MM, STEP_TOLERANCE * step_mm) else 0.0


def _aside(
    positions: NDArray[np.float64], along: NDArray[np.float64], normal: NDArray[np.float64], allowed_mm: float
) -> Refused | None:
    """Return how the stack leans: its slices move within their planes as it goes along."""
    moved = positions - positions[0] - np.outer(along - along[0], normal)
    if np.linalg.norm(moved, axis=1).max() <= allowed_mm:
        return None
    slope = moved[-1] / (along[-1] - along[0])
    if np.linalg.norm(moved - np.outer(along - along[0], slope), axis=1).max() > allowed_mm:
        return Refused(NoVolume.SHIFTED)
    return Refused(NoVolume.TILTED, f"by {math.degrees(math.atan(np.linalg.norm(slope))):.1f} degrees")


def _uneven(steps: NDArray[np.float64]) -> Refused | None:
    usual = float(np.median(steps))
    allowed = max(SAME_PLACE_MM, STEP_TOLERANCE * usual)
    if np.abs(steps - usual).max() <= allowed:
        return None
    times = np.maximum(np.rint(steps / usual), 1)
    if (np.abs(steps - times * usual) <= allowed * times).all():
        return Refused(NoVolume.MISSING, f"{int(times.sum()) - len(steps)} at least, by steps of {usual:.4g} mm")
    return Refused(NoVolume.UNEVEN, f"{steps.min():.4g} to {steps.max():.4g} mm")
