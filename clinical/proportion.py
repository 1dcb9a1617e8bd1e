"""A share of a count, with the interval that says how little a small count shows."""

import math
from dataclasses import dataclass

Z_95 = 1.959963984540054  # standard normal quantile of 0.975


@dataclass(frozen=True, slots=True)
class Proportion:
    """part of whole. low, high: Wilson's 95 % score interval (Wilson 1927); all None of nobody."""

    part: int
    whole: int

    @property
    def share(self) -> float | None:
        """part / whole."""
        return self.part / self.whole if self.whole else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval, within 0..1."""
        if not self.whole:
            return None
        n, share = self.whole, self.part / self.whole
        spread = Z_95 * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n**2))
        middle, scale = share + Z_95**2 / (2 * n), 1 + Z_95**2 / n
        return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)

    def to_json(self) -> dict[str, int | float | None]:
        """Return the numbers, shares rounded to four decimals."""
        low, high = self.interval or (None, None)
        shares = {"share": self.share, "low": low, "high": high}
        rounded = {name: None if value is None else round(value, 4) for name, value in shares.items()}
        return {"part": self.part, "whole": self.whole, **rounded}
