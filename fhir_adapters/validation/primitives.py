"""The primitive types of R4 (2.24.0.1): what a JSON value must be to be one. No message holds the value."""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from calendar import monthrange
from collections.abc import Callable
from decimal import Decimal

from fhir_adapters.validation.narrative import narrative_problem

MAX_STRING = 1024 * 1024
_YEAR = r"([0-9]([0-9]([0-9][1-9]|[1-9]0)|[1-9]00)|[1-9]000)"
_MONTH, _DAY = "(0[1-9]|1[0-2])", "(0[1-9]|[1-2][0-9]|3[0-1])"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?"
_ZONE = r"(Z|(\+|-)((0[0-9]|1[0-3]):[0-5][0-9]|14:00))"
_DATE = re.compile(rf"{_YEAR}(-{_MONTH}(-{_DAY})?)?")
_DATE_TIME = re.compile(rf"{_YEAR}(-{_MONTH}(-{_DAY}(T{_TIME}{_ZONE})?)?)?")
_INSTANT = re.compile(rf"{_YEAR}-{_MONTH}-{_DAY}T{_TIME}{_ZONE}")
_TIME_ONLY = re.compile(_TIME)
_CODE = re.compile(r"[^\s]+(\s[^\s]+)*")
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_URI = re.compile(r"\S+")
_OID = re.compile(r"urn:oid:[0-2](\.(0|[1-9][0-9]*))+")
_UUID = re.compile(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BLANK = re.compile(r"\s*")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_SPACE = re.compile(r"\s+")

Check = Callable[[object], str]  # "" when the value is one, else what it must be


def _text(pattern: re.Pattern[str], said: str) -> Check:
    def check(value: object) -> str:
        return "" if isinstance(value, str) and pattern.fullmatch(value) else said

    return check


def _string(value: object) -> str:
    if not isinstance(value, str):
        return "must be a text"
    if _BLANK.fullmatch(value):
        return "must not be empty"
    if len(value) > MAX_STRING:
        return "must not be longer than 1 MB"
    return "must hold no control characters" if _CONTROL.search(value) else ""


def _dated(pattern: re.Pattern[str], said: str) -> Check:
    def check(value: object) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            return said
        if len(value) < 10:
            return ""
        year, month, day = int(value[:4]), int(value[5:7]), int(value[8:10])
        return "" if day <= monthrange(year, month)[1] else "must be a day that there is"

    return check


def _whole(least: int) -> Check:
    said = f"must be a whole number of {least} to 2147483647"

    def check(value: object) -> str:
        return "" if type(value) is int and least <= value <= 2**31 - 1 else said

    return check


def _boolean(value: object) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


def _decimal(value: object) -> str:
    return "" if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else "must be a number"


def _base64(value: object) -> str:
    said = "must be base64"
    if not isinstance(value, str) or not value:
        return said
    try:
        b64decode(_SPACE.sub("", value), validate=True)
    except (Base64Error, ValueError):
        return said
    return ""


CHECKS: dict[str, Check] = {
    "base64Binary": _base64,
    "boolean": _boolean,
    "canonical": _text(_URI, "must be a URI without blanks"),
    "code": _text(_CODE, "must be a code: a text without leading, trailing or doubled blanks"),
    "date": _dated(_DATE, "must be a date (YYYY, YYYY-MM or YYYY-MM-DD)"),
    "dateTime": _dated(_DATE_TIME, "must be a date, or a date and time with a time zone"),
    "decimal": _decimal,
    "id": _text(_ID, "must be an id: 1 to 64 letters, digits, '-' or '.'"),
    "instant": _dated(_INSTANT, "must be a date and time, to the second at least, with a time zone"),
    "integer": _whole(-(2**31)),
    "markdown": _string,
    "oid": _text(_OID, "must be an OID as urn:oid:..."),
    "positiveInt": _whole(1),
    "string": _string,
    "time": _text(_TIME_ONLY, "must be a time of day (hh:mm:ss)"),
    "unsignedInt": _whole(0),
    "uri": _text(_URI, "must be a URI without blanks"),
    "url": _text(_URI, "must be a URL without blanks"),
    "uuid": _text(_UUID, "must be a UUID as urn:uuid:... in lower case"),
    "xhtml": narrative_problem,
}
