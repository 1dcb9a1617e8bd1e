"""Times as the tables hold them: UTC text that sorts as it reads, the same on both databases."""

from datetime import UTC, datetime
from functools import lru_cache

from clinical.errors import IncorrectInput


@lru_cache(maxsize=64)  # the rows of one moment ask one after another
def to_text(at: datetime) -> str:
    """Return `at` in UTC with microseconds and a trailing Z (27 characters).

    Raises IncorrectInput when `at` has no zone: it would sort among the others by accident.
    """
    if at.tzinfo is None:
        raise IncorrectInput("a stored time needs its zone")
    # isoformat, because strftime("%Y") does not pad years before 1000 everywhere.
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def from_text(text: str) -> datetime:
    """Return the time that `to_text` wrote, in UTC. Raises IncorrectInput for any other text."""
    try:
        at = datetime.fromisoformat(text)  # strptime takes 20 times as long
    except ValueError:
        raise IncorrectInput("a stored time is UTC with microseconds and a trailing Z") from None
    if to_text(at) != text:
        raise IncorrectInput("a stored time is UTC with microseconds and a trailing Z")
    return at
