"""DT, TM, DTM and TS into FHIR date, dateTime, instant and time (HL7 v2.9 2A.2.21; R4 2.24.0.1).

v2 leaves the zone out where sender and receiver share one: then the header's holds, and else the site's. Never
more precise than what was sent: an hour without minutes is told as its day, because FHIR has no such hour.
"""

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta, timezone, tzinfo

_DTM = re.compile(
    r"(?P<year>\d{4})(?:(?P<month>\d\d)(?:(?P<day>\d\d)"
    r"(?:(?P<hour>\d\d)(?:(?P<minute>\d\d)(?:(?P<second>\d\d)(?P<fraction>\.\d{1,9})?)?)?)?)?)?"
    r"(?P<zone>[+-]\d{4})?"
)
_TM = re.compile(r"(\d\d)(\d\d)(\d\d)?(\.\d{1,9})?(?:[+-]\d{4})?")
_MOST_OFFSET = timedelta(hours=14)


def date(text: str) -> str | None:
    """Return a FHIR date, of the precision that was sent; None when that is no date."""
    found = _parts(text)
    return None if found is None else _day(found)


def date_time(text: str, zone: tzinfo) -> str | None:
    """Return a FHIR dateTime; None when that is no time. zone: where none is written."""
    found = _parts(text)
    if found is None:
        return None
    if found["minute"] is None or not found["day"]:
        return _day(found)
    at = _moment(found, zone)
    if at is None:
        return None
    return f"{_day(found)}T{at:%H:%M:%S}{found['fraction'] or ''}{_offset(at)}"


def instant(text: str, zone: tzinfo) -> str | None:
    """Return a FHIR instant in UTC; None when less than a minute is known."""
    found = _parts(text)
    at = _moment(found, zone) if found and found["minute"] is not None else None
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def time(text: str) -> str | None:
    """Return a FHIR time; None when that is none."""
    found = _TM.fullmatch(text)
    if found is None or int(found[1]) > 23 or int(found[2]) > 59 or int(found[3] or 0) > 59:
        return None
    return f"{found[1]}:{found[2]}:{found[3] or '00'}{found[4] or ''}"


def zone_of(text: str) -> tzinfo | None:
    """Return the zone that a time says, None when it says none."""
    found = _DTM.fullmatch(text)
    return _zone(found["zone"]) if found and found["zone"] else None


def _parts(text: str) -> dict[str, str | None] | None:
    found = _DTM.fullmatch(text)
    if found is None:
        return None
    year, month, day = int(found["year"]), int(found["month"] or 1), int(found["day"] or 1)
    if not (year >= 1 and 1 <= month <= 12 and 1 <= day <= monthrange(year, month)[1]):
        return None
    if found["zone"] and _zone(found["zone"]) is None:
        return None
    return found.groupdict()


def _day(found: dict[str, str | None]) -> str:
    return "-".join(part for part in (found["year"], found["month"], found["day"]) if part)


def _moment(found: dict[str, str | None], zone: tzinfo) -> datetime | None:
    numbers = [int(found[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")]
    own = _zone(found["zone"]) if found["zone"] else zone
    try:
        # A leap second is told as the second before it, and a zone's own minutes never as seconds.
        at = datetime(*numbers[:5], min(numbers[5], 59), tzinfo=own) if numbers[5] <= 60 else None  # type: ignore[misc,arg-type]
        if at is None or at.utcoffset() is None:
            return None
        at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return at


def _offset(at: datetime) -> str:
    minutes = round((at.utcoffset() or timedelta()).total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def _zone(text: str | None) -> timezone | None:
    if not text:
        return None
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[3:5]))
    if offset > _MOST_OFFSET or int(text[3:5]) > 59:
        return None
    return timezone(-offset if text[0] == "-" else offset)
