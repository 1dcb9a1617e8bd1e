"""The time that one hook call may take, shared by what it fetches and what it computes."""

import time
from dataclasses import dataclass

from clinical.errors import Busy


@dataclass(frozen=True, slots=True)
class Deadline:
    """ends_at: when the call must have been answered, on `time.monotonic`."""

    ends_at: float

    def left_s(self) -> float:
        """Return the seconds that are left. Raises Busy when there are none."""
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise Busy("the time for this call is used up", retry_after_s=1)
        return left


def deadline_in(seconds: float) -> Deadline:
    """Return the deadline of a call that begins now."""
    return Deadline(time.monotonic() + seconds)
