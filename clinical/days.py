"""A day as images state it (PS3.5 6.2, DA), also in the form of ACR-NEMA, 1993.08.22, that old senders write."""

import re
from datetime import date

_FULL_STOPS = re.compile(r"\A([0-9]{4})\.([0-9]{2})\.([0-9]{2})\Z")


def as_written_today(text: str) -> str:
    """Return a day in the form of today; whatever else it is stays."""
    return _FULL_STOPS.sub(r"\1\2\3", text)


def day_of(text: str) -> date | None:
    """Return the day, None for what is none."""
    digits = as_written_today(text)
    try:
        return date.fromisoformat(digits) if len(digits) == 8 and digits.isdecimal() else None
    except ValueError:
        return None
