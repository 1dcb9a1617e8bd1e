"""One value made harmless: a date moved, a description cleaned, a dummy. Pure."""

import datetime as dt
import re

from dicom_node.confidentiality.actions import plain_words

REMOVED = "REMOVED"
_WORD = re.compile(r"[A-Za-z]+[0-9]?|[0-9]+")
# PS3.5 6.2: DA, and DT with its fraction and offset; the dots are those of ACR-NEMA.
_DATE = re.compile(r"([0-9]{4})\.?([0-9]{2})\.?([0-9]{2})([0-9]{0,6}(?:\.[0-9]{1,6})?(?:[+-][0-9]{4})?)")
_MOST_DIGITS = 3  # a thickness, a voltage; no number of a person, no year
_DUMMIES = {
    "AE": REMOVED,
    "AS": "000Y",
    "CS": REMOVED,
    "DA": "19000101",
    "DS": "0",
    "DT": "19000101000000",
    "IS": "0",
    "TM": "000000",
}
_TEXT = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))


def dummy(vr: str) -> str | None:
    """Return a value that says nothing, None where there is none for this VR."""
    return REMOVED if vr in _TEXT else _DUMMIES.get(vr)


def shifted(value: str, vr: str, days: int) -> str:
    """Return a DA or DT moved back by days, a TM as it is; "" for what is no date (it might be anything)."""
    if vr == "TM":
        return value if re.fullmatch(r"[0-9]{2,6}(\.[0-9]{1,6})?", value) else ""
    found = _DATE.fullmatch(value)
    if found is None or (vr == "DA" and found[4]):
        return ""
    try:
        day = dt.date(int(found[1]), int(found[2]), int(found[3])) - dt.timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    return f"{day:%Y%m%d}{found[4]}"


def cleaned(text: str) -> str:
    """Return the plain words and short numbers of a description, in their order."""
    known = plain_words()
    kept = []
    for word in _WORD.findall(text):
        if len(word) <= _MOST_DIGITS if word.isdigit() else word.lower() in known:
            kept.append(word)
    return " ".join(kept)


def age_kept(value: str) -> str:
    """Return an age, of which those above 89 years are one (45 CFR 164.514(b)(2)(i)(C))."""
    found = re.fullmatch(r"([0-9]{3})([DWMY])", value)
    if found is None:
        return ""
    return "090Y" if found[2] == "Y" and int(found[1]) > 89 else value
