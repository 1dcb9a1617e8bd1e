"""Windows to learn from and to be judged on: folds in time and by wearer, and varied copies of the recordings."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from clinical.trend import BIN_MIN, DAY_MIN, Array, MinuteSeries, Windows, joined, targets, usable, windows
from model_export.datasets.fitbit_hr import at_share, five_minute_ends, part

Series = Mapping[str, MinuteSeries]

# Blocks at the end of each wearer's time, as shares of it: the held-out part is the last 15 % too.
BLOCKS = ((0.85, 1.0), (0.70, 0.85), (0.55, 0.70))
WEARER_GROUPS = 4
MIN_READINGS = 60  # of a piece: shorter ones hold no window
# How copies differ from what was recorded: length of history, level, range, density, steps, clock.
SHORTEST_MIN, LONGEST_MIN = 4 * 60, 8 * DAY_MIN
CUT_SHARES = (0.3, 0.8, 0.8)  # every third copy mostly keeps its history whole
LEVEL, RANGE = 6.0, 0.12
THINNED, THINNED_TO = 0.12, (0.2, 0.4, 0.7)
WITHOUT_STEPS, WITHOUT_CLOCK = 0.3, 0.15


@dataclass(frozen=True, slots=True)
class Examples:
    """windows with what came: truth (rows, 3) per minute, NaN where not measured. wearer, day: of each row."""

    windows: Windows
    truth: Array
    wearer: NDArray[np.str_]
    day: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.truth)


@dataclass(frozen=True, slots=True)
class Fold:
    """known: True when the wearers judged were learnt from (at an earlier time), False when they were not."""

    name: str
    known: bool
    learn: Series
    judge: Series


def folds(series: Series, *, blocks: tuple[tuple[float, float], ...] = BLOCKS) -> Iterator[Fold]:
    """Yield the folds: blocks of time at each wearer's end, judged without the time before; then whole wearers."""
    for start, end in blocks:
        cuts = {name: (at_share(one, start), at_share(one, end)) for name, one in series.items()}
        yield Fold(
            f"time {start:.0%} to {end:.0%}",
            True,
            {name: part(one, 0, cuts[name][0]) for name, one in series.items()},
            {name: part(one, *cuts[name]) for name, one in series.items()},
        )
    for group in wearer_groups(series):
        yield Fold(
            "without " + ", ".join(group),
            False,
            {name: one for name, one in series.items() if name not in group},
            {name: one for name, one in series.items() if name in group},
        )


def wearer_groups(series: Series) -> list[list[str]]:
    """Return the wearers in groups of about equal minutes: the longest recordings go to different groups."""
    by_length = sorted(series, key=lambda name: (-np.count_nonzero(~np.isnan(series[name].heart_rate)), name))
    groups: list[list[str]] = [[] for _ in range(min(WEARER_GROUPS, len(series)))]
    for place, name in enumerate(by_length):
        turn, seat = divmod(place, len(groups))
        groups[seat if turn % 2 == 0 else -1 - seat].append(name)
    return [sorted(group) for group in groups]


def to_judge(series: Series) -> Examples | None:
    """Return every window on the clock's five-minute grid that allows a forecast; None when there is none."""
    found = [
        _examples(one, one, name, five_minute_ends(one)) for name, one in series.items() if len(one) >= BIN_MIN
    ]
    return _all([examples for examples in found if examples is not None])


def to_learn(series: Series, copy: int, seed: int) -> Examples:
    """Return one varied copy of the recordings as examples: the same copy for the same seed.

    Pieces of random length forget what lay before (as a new patient has no past), and level, range, density of the
    readings, steps and clock vary, so that the network does not learn these wearers by heart.
    """
    rng = np.random.default_rng((seed, copy))
    found: list[Examples] = []
    for name, one in series.items():
        for piece in _pieces(one, CUT_SHARES[copy % len(CUT_SHARES)], rng):
            truth = _varied(piece, rng)
            shown = _thinned(truth, rng)
            ends = np.arange(int(rng.integers(BIN_MIN)), len(piece), BIN_MIN)
            examples = _examples(shown, truth, name, ends)
            found += [] if examples is None else [examples]
    learnt = _all(found)
    if learnt is None:
        raise ValueError("the recordings hold no window to learn from")
    return learnt


def _pieces(series: MinuteSeries, cut_share: float, rng: np.random.Generator) -> Iterator[MinuteSeries]:
    position = 0
    while position < len(series):
        length = len(series) - position
        if rng.random() < cut_share:
            length = int(np.exp(rng.uniform(np.log(SHORTEST_MIN), np.log(LONGEST_MIN))))
        piece = part(series, position, min(len(series), position + length))
        position += length
        if np.count_nonzero(~np.isnan(piece.heart_rate)) >= MIN_READINGS:
            yield piece


def _varied(series: MinuteSeries, rng: np.random.Generator) -> MinuteSeries:
    middle = np.nanmedian(series.heart_rate)
    spread = np.exp(rng.uniform(-RANGE, RANGE))
    rate = middle + (series.heart_rate - middle) * spread + rng.uniform(-LEVEL, LEVEL)
    steps = np.full_like(rate, np.nan) if rng.random() < WITHOUT_STEPS else series.steps
    return MinuteSeries(series.start, rate, steps, bool(rng.random() >= WITHOUT_CLOCK))


def _thinned(series: MinuteSeries, rng: np.random.Generator) -> MinuteSeries:
    """Return the series as a record with fewer readings would hold it, now and then."""
    if rng.random() >= THINNED:
        return series
    kept = rng.random(len(series)) < rng.choice(THINNED_TO)
    return MinuteSeries(series.start, np.where(kept, series.heart_rate, np.nan), series.steps, series.clock_known)


def _examples(shown: MinuteSeries, truth: MinuteSeries, wearer: str, ends: NDArray[np.intp]) -> Examples | None:
    ends = ends[usable(shown, ends)] if len(ends) else ends
    came = targets(truth, ends) if len(ends) else np.empty((0, 3))
    judged = ~np.isnan(came).all(axis=1)
    if not judged.any():
        return None
    ends, came = ends[judged], came[judged]
    days = [(truth.start + timedelta(minutes=int(end))).date().isoformat() for end in ends]
    return Examples(windows(shown, ends), came, np.full(len(ends), wearer), np.array(days))


def _all(found: list[Examples]) -> Examples | None:
    if not found:
        return None
    return Examples(
        joined([one.windows for one in found]),
        np.concatenate([one.truth for one in found]),
        np.concatenate([one.wearer for one in found]),
        np.concatenate([one.day for one in found]),
    )
