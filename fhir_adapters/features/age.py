"""Age from Patient.birthDate, which FHIR lets be a year or a month."""

from datetime import date, datetime

from fhir_adapters.features.elements import Resource, reference_to
from fhir_adapters.features.measurements import Measured, Missing, Reading


def age_in_years(patient: Resource, now: datetime) -> Reading:
    """Return the completed years at `now`; with an incomplete birth date the lower of the two that it may be."""
    born = birth(patient)
    if born is None:
        return Missing("the birth date is not recorded")
    earliest, latest = born
    today = now.date()
    if latest > today:
        return Missing("the birth date is in the future")
    oldest, youngest = years_between(earliest, today), years_between(latest, today)
    shown = str(oldest) if oldest == youngest else f"{youngest} or {oldest}"
    return Measured(float(youngest), shown, None, reference_to(patient))


def birth(patient: Resource) -> tuple[date, date] | None:
    """Return the first and last day that a birth date of day, month or year precision may mean."""
    text = patient.get("birthDate")
    parts = str(text).split("-") if isinstance(text, str) else []
    if [len(part) for part in parts] not in ([4], [4, 2], [4, 2, 2]) or not all(p.isdecimal() for p in parts):
        return None
    numbers = [int(part) for part in parts]
    try:
        earliest = date(*[*numbers, 1, 1][:3])
        if len(numbers) == 3:
            return earliest, earliest
        following = date(earliest.year + 1, 1, 1) if len(numbers) == 1 or earliest.month == 12 else None
        following = following or date(earliest.year, earliest.month + 1, 1)
    except ValueError:
        return None
    return earliest, date.fromordinal(following.toordinal() - 1)


def years_between(born: date, today: date) -> int:
    """Return completed years."""
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))
