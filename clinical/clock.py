"""Time as a collaborator: functions that need `now` take a Clock."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the present, with its zone."""
    return datetime.now(UTC)
