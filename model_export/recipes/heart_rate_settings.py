"""What the network of heart-rate-trend reads and gives, and how it is built, without any training library."""

from dataclasses import dataclass

from clinical.trend import DAY_HOURS, HORIZONS_MIN, LAST_MINUTES, PERSON, RECENT_BINS
from model_runtime.tasks.forecast import CHANGE, CLASSES, TREND

STEPS = len(HORIZONS_MIN)
QUANTILES = (0.1, 0.5, 0.9)
BAND = 5.0  # per minute: a smaller change is steady
INPUTS = {
    "recent": (RECENT_BINS, 3),
    "minutes": (LAST_MINUTES,),
    "hours": (DAY_HOURS,),
    "person": (len(PERSON),),
}
OUTPUTS = {CHANGE: (STEPS, len(QUANTILES)), TREND: (STEPS, CLASSES)}
# Scales that bring each input near one, and how far from it a value may count.
RATE, COARSE, SPREAD, STEP_RATE, LIMIT = 15.0, 20.0, 5.0, 40.0, 6.0
WEEK_HOURS = 168.0
CHANNELS = 5  # of a bin: rate, whether known, spread, steps, whether known
# A step of the GRU is a quarter of an hour, three bins side by side: as good as steps of five minutes, at a third
# of the time.
QUARTERS = (RECENT_BINS // 3, 3 * CHANNELS)
RESTING, UNIT = 75.0, 10.0  # per minute: a common rate, and what one unit of the network's change means


@dataclass(frozen=True, slots=True)
class Settings:
    """How a member is built and trained. dropout, l2: against learning the wearers by heart."""

    units: int = 32
    dense: int = 64
    dropout: float = 0.2
    l2: float = 1e-5
    batch: int = 256
    rate: float = 2e-3
    epochs: int = 24
    trend_weight: float = 0.3
