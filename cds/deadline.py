"""The time that one hook call may take, shared by what it fetches and what it computes."""

import time
from dataclasses import dataclass

from clinical.errors import Busy

FAIR_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Deadline:
    """ends_at: when the call must have been answered, on `time.monotonic`. total_s: its whole budget."""

    ends_at: float
    total_s: float | None = None

    def left_s(self) -> float:
        """Return the seconds that are left. Raises Busy when there are none."""
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise Busy("the time for this call is used up", retry_after_s=1)
        return left

    def demand(self) -> None:
        """Raise Busy when no time is left."""
        self.left_s()

    @property
    def is_fair(self) -> bool:
        """True while half of the budget is left: who is late from here on is late by its own doing."""
        return self.total_s is None or self.ends_at - time.monotonic() >= FAIR_SHARE * self.total_s


def deadline_in(seconds: float) -> Deadline:
    """Return the deadline of a call that begins now."""
    return Deadline(time.monotonic() + seconds, seconds)
