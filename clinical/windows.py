"""Values by windows of time: what many samples come to."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Windowed:
    """Of each window. count: values in it; the others are NaN where it is 0. All of the same shape (windows,)."""

    count: NDArray[np.int64]
    mean: Floats
    least: Floats
    greatest: Floats


class Windows:
    """Windows of one length, one behind the other, filled bit by bit: memory is that of the windows."""

    def __init__(self, window_s: float, windows: int) -> None:
        self.window_s = window_s
        self._count = np.zeros(windows, np.int64)
        self._sum = np.zeros(windows)
        self._least = np.full(windows, np.inf)
        self._greatest = np.full(windows, -np.inf)

    def add(self, offsets_s: Floats, values: Floats) -> None:
        """Add values; what lies outside the windows, or is NaN, is left out.

        offsets_s: seconds since the first window began. values: of the same shape (n,).
        """
        place = np.floor(offsets_s / self.window_s).astype(np.int64)
        inside = (place >= 0) & (place < len(self._count)) & ~np.isnan(values)
        place, kept = place[inside], values[inside]
        self._count += np.bincount(place, minlength=len(self._count))
        self._sum += np.bincount(place, weights=kept, minlength=len(self._count))
        np.minimum.at(self._least, place, kept)
        np.maximum.at(self._greatest, place, kept)

    def result(self) -> Windowed:
        """Return what the values added so far come to."""
        empty = self._count == 0
        mean = np.where(empty, np.nan, self._sum / np.maximum(self._count, 1))
        least, greatest = (np.where(empty, np.nan, one) for one in (self._least, self._greatest))
        return Windowed(self._count.copy(), mean, least, greatest)
