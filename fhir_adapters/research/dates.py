"""Dates of a patient moved by one number of days: what lies between them stays, and so do ages. Pure."""

import re
from dataclasses import dataclass
from datetime import date, timedelta

OLDEST = 90  # years: from here on people are one group (45 CFR 164.514(b)(2)(i)(C))
_DATE = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})(T.{1,40})?)?)?", re.DOTALL)
_TIME = re.compile(r"T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})")
_MIDDLE = ("07", "15")  # of a year, of a month: what is known only so far moves from its middle


@dataclass(frozen=True, slots=True)
class Shift:
    """A patient's calendar. days: moved back by so many. today: the day of the export."""

    days: int
    today: date

    def moved(self, text: str) -> str | None:
        """Return a date, dateTime or instant, moved and as exact as it was.

        None for what is none, and for what lies so far back that whoever was there is over 89.
        """
        found = _DATE.fullmatch(text)
        if found is None or (found[4] and not _TIME.fullmatch(found[4])):
            return None
        year, month, day, time = found.groups()
        try:
            known = date.fromisoformat(f"{year}-{month or _MIDDLE[0]}-{day or _MIDDLE[1]}")
            there = known - timedelta(days=self.days)
        except (ValueError, OverflowError):
            return None
        if there < self.earliest:
            return None
        exact = len(text) if len(text) < 10 else 10
        return there.isoformat()[:exact] + (time or "")

    def birth_year(self, text: str) -> str | None:
        """Return the year of a birth date, moved; those of people over 89 are one year."""
        found = _DATE.fullmatch(text)
        if found is None:
            return None
        year, month, day, _ = found.groups()
        try:
            born = date.fromisoformat(f"{year}-{month or '01'}-{day or '01'}") - timedelta(days=self.days)
        except (ValueError, OverflowError):
            return None
        # The day of the cut is not given away: everybody whose 90th birthday is past is in its year.
        return f"{max(born, self.earliest).year:04d}"

    @property
    def earliest(self) -> date:
        """The day, moved as all others, on which those who turn 90 today were born."""
        there = self.today - timedelta(days=self.days)
        return there.replace(year=there.year - OLDEST, day=min(there.day, 28))


def year_of(text: str) -> str | None:
    """Return the year of a date that is nobody's."""
    found = _DATE.fullmatch(text)
    return found[1] if found else None
