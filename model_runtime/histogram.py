"""How values were distributed where a model was trained: what drift is measured against.

Bins are open at both ends: k edges make k + 1 bins, the first below the first edge, the last from the last edge.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_runtime.json_fields import Fields, is_number

DECILES = tuple(n / 10 for n in range(1, 10))
SUM_TOLERANCE = 1e-3  # shares are rounded for the file


@dataclass(frozen=True, slots=True)
class Histogram:
    """edges: rising. shares: of the known values, one more than edges, they sum to 1. missing: share of all."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    missing: float

    def bins(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the bin of each value (n,), and the number of bins for NaN."""
        placed = np.searchsorted(np.array(self.edges), values, side="right")
        return np.where(np.isnan(values), len(self.shares), placed).astype(np.int64)

    def document(self) -> dict[str, Any]:
        """Return it as a manifest writes it."""
        return {"edges": list(self.edges), "shares": list(self.shares), "missing": self.missing}


def histogram_of(values: NDArray[np.float64], edges: tuple[float, ...] | None = None) -> Histogram:
    """Return the histogram of values (n,), NaN for missing. edges: by default the distinct deciles.

    Raises ValueError when no value is known.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        raise ValueError("a histogram needs values")
    if edges is None:
        edges = _decile_edges(known)
    counts = np.bincount(np.searchsorted(np.array(edges), known, side="right"), minlength=len(edges) + 1)
    shares = tuple(round(float(count) / len(known), 5) for count in counts)
    return Histogram(edges, shares, round(1 - len(known) / len(values), 5))


def _decile_edges(known: NDArray[np.float64]) -> tuple[float, ...]:
    """Return edges that are values themselves, so that a feature of few values has a bin for each of them."""
    edges = np.unique(np.quantile(known, DECILES, method="higher"))
    above = edges[edges > known.min()]  # below the smallest value there is nothing to count
    return tuple(float(edge) for edge in (above if len(above) else edges))


def read_histogram(fields: Fields) -> Histogram:
    """Read a histogram of a manifest; faults are noted by their JSON path."""
    found = Histogram(
        edges=tuple(float(edge) for edge in fields.items("edges", "rising numbers", is_number) if is_number(edge)),
        shares=tuple(float(s) for s in fields.items("shares", "shares of 0 to 1", _is_share) if _is_share(s)),
        missing=fields.number("missing", 0.0, 1.0),
    )
    if list(found.edges) != sorted(set(found.edges)):
        fields.faults.add(f"{fields.path}.edges", "expected rising numbers")
    if len(found.shares) != len(found.edges) + 1 or abs(sum(found.shares) - 1) > SUM_TOLERANCE:
        fields.faults.add(f"{fields.path}.shares", "expected one more than edges, summing to 1")
    fields.end()
    return found


def _is_share(value: object) -> bool:
    return is_number(value) and 0 <= value <= 1  # type: ignore[operator]  # is_number has looked
