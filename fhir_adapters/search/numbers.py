"""Quantities and numbers as bounds (R4 3.1.1.4.6, 3.1.1.4.11).

A stored value is itself, exactly: lo and hi are the same. What was sent with a comparator, a Range and the samples
of a series are from lo to hi. The significant digits of what is *searched for* make a range of it
(`significant_range`): "100" is 99.5 to 100.5, and finds what lies within.
"""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, NamedTuple

from clinical import ucum
from clinical.ucum import SYSTEM as UCUM
from clinical.ucum import UnknownUnit, canonical

CURRENCY = "urn:iso:std:iso:4217"  # R4 2.24.0.10 Money: its currency is a code of ISO 4217
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_MAX_DIGITS = 40
_INFINITE = float("inf")


class Bounds(NamedTuple):
    """From lo to hi, in the unit that was sent. canon_*: in base units of UCUM; "", lo and hi, if it is none."""

    lo: float
    hi: float
    system: str
    code: str
    unit: str
    canon_lo: float
    canon_hi: float
    canon_unit: str


def significant_range(text: str) -> tuple[Decimal, Decimal, Decimal] | None:
    """Return (value, first, beyond) of a number as searched for: "5.40" is 5.40, from 5.395 up to but not 5.405.

    None when the text is no number. It is half of the last digit that is written (1e2: 50 to 150).
    """
    if not _NUMBER.fullmatch(text) or len(text) > _MAX_DIGITS:
        return None
    value = Decimal(text)
    exponent = value.as_tuple().exponent
    half = Decimal(5).scaleb(int(exponent) - 1)
    return value, value - half, value + half


def exact(value: object) -> Decimal | None:
    """Return a JSON number as a decimal, None for anything else."""
    if isinstance(value, Decimal):
        return value if value.is_finite() else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        made = Decimal(str(value))
    except InvalidOperation:
        return None
    return made if made.is_finite() else None


def of_quantity(quantity: Mapping[str, Any]) -> Bounds | None:
    """Return the bounds of a Quantity, its comparator included; None without a value."""
    value = exact(quantity.get("value"))
    if value is None:
        return None
    system, code, unit = (_text(quantity, name) for name in ("system", "code", "unit"))
    match quantity.get("comparator"):
        case "<" | "<=":
            return bounds(None, value, system, code, unit)
        case ">" | ">=":
            return bounds(value, None, system, code, unit)
        case _:
            return bounds(value, value, system, code, unit)


def of_money(money: Mapping[str, Any]) -> Bounds | None:
    """Return the bounds of a Money; its currency stands as the code."""
    value = exact(money.get("value"))
    currency = _text(money, "currency")
    return None if value is None else bounds(value, value, CURRENCY if currency else "", currency, currency)


def of_range(span: Mapping[str, Any]) -> Bounds | None:
    """Return the bounds of a Range: open where an end is left out."""
    low, high = (end if isinstance(end := span.get(name), Mapping) else {} for name in ("low", "high"))
    lo, hi = exact(low.get("value")), exact(high.get("value"))
    if lo is None and hi is None:
        return None
    said = low if lo is not None else high
    return bounds(lo, hi, _text(said, "system"), _text(said, "code"), _text(said, "unit"))


def bounds(lo: Decimal | None, hi: Decimal | None, system: str = "", code: str = "", unit: str = "") -> Bounds:
    """Return bounds with their canonical form; None is an open end."""
    first, last = _float(lo, -_INFINITE), _float(hi, _INFINITE)
    if system != UCUM or not code or not dimension_of(code):
        return Bounds(first, last, system, code, unit, first, last, "")
    canon_lo = first if lo is None else float(canonical(lo, code)[0])
    canon_hi = last if hi is None else canon_lo if hi is lo else float(canonical(hi, code)[0])
    return Bounds(first, last, system, code, unit, canon_lo, canon_hi, dimension_of(code))


def _float(value: Decimal | None, otherwise: float) -> float:
    return otherwise if value is None else float(value)


@lru_cache(maxsize=4096)
def dimension_of(code: str) -> str:
    """Return the base units of a UCUM code, "" when it is none."""
    try:
        return ucum.unit(code).dimension
    except UnknownUnit:
        return ""


def _text(value: Mapping[str, Any], name: str) -> str:
    text = value.get(name, "")
    return text if isinstance(text, str) else ""
