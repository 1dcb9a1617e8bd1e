"""FHIR dates as ranges: "2024-05" is every microsecond of that May (R4 3.1.1.4.5, 2.24.0.1).

A time without a zone, and every date, is read in UTC, here and in what is searched for, so both agree.
"""

import calendar
import re
from datetime import UTC, datetime, timedelta, timezone

from record_store.times import to_text

START_OF_TIME = "0001-01-01T00:00:00.000000Z"
END_OF_TIME = "9999-12-31T23:59:59.999999Z"

_DATE = re.compile(
    r"(?P<year>[0-9]{4})(?:-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2})"
    r"(?:T(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,20}))?)?"
    r"(?P<zone>Z|[+-][0-9]{2}:[0-9]{2})?)?)?)?"
)


def range_of(text: str) -> tuple[str, str] | None:
    """Return the first and last microsecond of a FHIR date, dateTime or instant, as stored text.

    None when the text is no such date. Seconds may be left out, and the zone: searches write them so.
    Bounds before year 1 or after 9999 (a zone's doing) are cut to those years.
    """
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    part = found.groupdict()
    try:
        lo = _bound(part, first=True)
        if part["second"] is not None and lo not in (START_OF_TIME, END_OF_TIME):
            # Nearly every date of a measurement: the same second, so only its fraction is another.
            return lo, f"{lo[:20]}{_microsecond(part['fraction'], first=False):06}Z"
        return lo, _bound(part, first=False)
    except ValueError:
        return None


def period_of(start: str | None, end: str | None) -> tuple[str, str] | None:
    """Return the bounds of a Period; an end that is left out is open. None when neither or no date."""
    lo = range_of(start) if start is not None else (START_OF_TIME, "")
    hi = range_of(end) if end is not None else ("", END_OF_TIME)
    if lo is None or hi is None or (start is None and end is None):
        return None
    return lo[0], hi[1]


def _bound(part: dict[str, str | None], *, first: bool) -> str:
    year = int(part["year"] or 0)
    month = int(part["month"] or (1 if first else 12))
    last_day = calendar.monthrange(year, month)[1] if 1 <= month <= 12 and year else 0
    at = datetime(
        year,
        month,
        int(part["day"] or (1 if first else last_day)),
        int(part["hour"] or (0 if first else 23)),
        int(part["minute"] or (0 if first else 59)),
        # A leap second (60) is FHIR's right and not Python's; it counts as the last of its minute.
        59 if part["second"] == "60" else int(part["second"] or (0 if first else 59)),
        _microsecond(part["fraction"], first=first),
        tzinfo=_zone(part["zone"]),
    )
    try:
        return to_text(at)
    except OverflowError:
        return START_OF_TIME if year == 1 else END_OF_TIME


def _microsecond(fraction: str | None, *, first: bool) -> int:
    # ".12" covers .120000 to .129999: precision is part of the value.
    return int((fraction or "")[:6].ljust(6, "0" if first else "9"))


def _zone(text: str | None) -> timezone:
    if text is None or text == "Z":
        return UTC
    sign = -1 if text[0] == "-" else 1
    hours, minutes = int(text[1:3]), int(text[4:6])
    if hours > 14 or minutes > 59:
        raise ValueError
    return timezone(sign * timedelta(hours=hours, minutes=minutes))
