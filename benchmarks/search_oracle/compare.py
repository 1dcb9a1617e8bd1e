"""How a value compares to what is asked, from the text of R4 3.1.1.4: datetimes, fractions, plain text."""

import unicodedata
from datetime import UTC, datetime, timedelta
from fractions import Fraction

EARLIEST, LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
PREFIXES = ["", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"]
OPEN = Fraction(10) ** 400

# UCUM: (what it measures, how many base units one is)
_UCUM = {
    "%": ("1", Fraction(1, 100)),
    "1": ("1", Fraction(1)),
    "mg": ("g", Fraction(1, 1000)),
    "g": ("g", Fraction(1)),
    "kg": ("g", Fraction(1000)),
    "mm[Hg]": ("pressure", Fraction("133.322")),
    "Pa": ("pressure", Fraction(1)),
    "kPa": ("pressure", Fraction(1000)),
    "[lb_av]": ("g", Fraction("453.59237")),
}


def plain(text):
    """Return a text without case, accents and doubled blanks."""
    bare = "".join(mark for mark in unicodedata.normalize("NFD", text) if unicodedata.category(mark) != "Mn")
    return " ".join(bare.lower().split())


def span(text):
    """Return [first, beyond): the half-open range of a date."""
    if "T" in text:
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return at, at + (timedelta(milliseconds=1) if "." in text else timedelta(seconds=1))
    year, month, day = (*(int(part) for part in text.split("-")), 1, 1)[:3]
    first = datetime(year, month, day, tzinfo=UTC)
    match text.count("-"):
        case 0:
            return first, first.replace(year=first.year + 1)
        case 1:
            return first, (first + timedelta(days=32)).replace(day=1)
        case _:
            return first, first + timedelta(days=1)


def period(value):
    """Return [first, beyond) of a Period."""
    return (
        span(value["start"])[0] if "start" in value else EARLIEST,
        span(value["end"])[1] if "end" in value else LATEST,
    )


def date_holds(spans, prefix, text, today):
    """Tell whether one of the spans compares so."""
    first, beyond = span(text)
    if prefix == "ap":
        gap = max(first - today, today - (beyond - timedelta(microseconds=1)), timedelta())
        first, beyond = first - gap / 10, beyond + gap / 10
        return any(low < beyond and high > first for low, high in spans)
    return any(_date_holds(low, high, first, beyond, prefix or "eq") for low, high in spans)


def _date_holds(low, high, first, beyond, prefix):
    within = first <= low and high <= beyond
    return {
        "eq": within,
        "ne": not within,
        "gt": high > beyond,
        "lt": low < first,
        "ge": high > beyond or within,
        "le": low < first or within,
        "sa": low >= beyond,
        "eb": high <= first,
    }[prefix]


def digits_of(text):
    """Return (value, half of the last digit that is written)."""
    mantissa, _, exponent = text.lower().partition("e")
    places = len(mantissa.partition(".")[2]) - int(exponent or 0)
    return Fraction(text), Fraction(1, 2) / Fraction(10) ** places


def number_holds(low, high, prefix, text, factor=1):
    """Tell whether what lies from low to high compares so; factor: base units in one of what is asked."""
    value, half = digits_of(text)
    first, beyond, value = (value - half) * factor, (value + half) * factor, value * factor
    margin = max(abs(value) / 10, half * factor)
    return {
        "eq": low >= first and high < beyond,
        "ne": low < first or high >= beyond,
        "gt": high > value,
        "lt": low < value,
        "ge": high >= value,
        "le": low <= value,
        "sa": low > value,
        "eb": high < value,
        "ap": low <= value + margin and high >= value - margin,
    }[prefix or "eq"]


def bounds(quantity):
    """Return what a Quantity can be, in its own unit."""
    value = Fraction(quantity["value"])
    comparator = quantity.get("comparator", "")
    return (-OPEN if comparator[:1] == "<" else value), (OPEN if comparator[:1] == ">" else value)


def quantity_holds(quantity, prefix, text, system, code):
    """Tell whether a Quantity compares so. system, code: None when not asked for."""
    low, high = bounds(quantity)
    own_system, own_code = quantity.get("system"), quantity.get("code")
    if code is None:
        return (system is None or own_system == system) and number_holds(low, high, prefix, text)
    ucum = "http://unitsofmeasure.org"
    if system in (None, ucum) and own_system == ucum and own_code in _UCUM and code in _UCUM:
        (kind, factor), (other, wanted) = _UCUM[own_code], _UCUM[code]
        if kind == other and number_holds(low * factor, high * factor, prefix, text, wanted):
            return True
    if system is None:
        return code in (own_code, quantity.get("unit")) and number_holds(low, high, prefix, text)
    if system == ucum and code in _UCUM:
        return False
    return (own_system, own_code) == (system, code) and number_holds(low, high, prefix, text)
