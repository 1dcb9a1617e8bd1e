"""Attribute matching of PS3.4 C.2.2.2. Pure: VR, a stored value and what is asked for in; yes or no out.

Values are decoded text, several joined by a backslash, and one of them has to match. A list is asked for by
backslashes, for UIDs as the standard has it (C.2.2.2.2) and for other attributes too, as most archives do.
"""

import fnmatch
import re
import unicodedata
from functools import lru_cache

from clinical.errors import IncorrectInput

# VRs in which * and ? are wild cards (C.2.2.2.4).
WILD = frozenset(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"))
RANGES = frozenset(("DA", "TM", "DT"))
NUMBERS = frozenset(("IS", "US", "UL", "SS", "SL"))
LONGEST = 1024
_MOMENT = re.compile(r"[0-9.:]{0,26}(?:-[0-9.:]{0,26})?")
_SORTS = re.compile(r"[0-9.]+")
_UID_LIST = re.compile(r"[0-9.\\ \0]*")


def checked_key(vr: str, asked: str) -> str:
    """Return a key without padding. Raises IncorrectInput when it cannot be a value, range or list of its VR."""
    if len(asked) > (64 * LONGEST if vr == "UI" else LONGEST):
        raise IncorrectInput("a key of the query is too long")
    asked = asked.strip("\0 ")
    if vr in RANGES and not all(_MOMENT.fullmatch(one) for one in asked.split("\\")):
        raise IncorrectInput("a date or time of the query is none")
    if vr == "UI" and _UID_LIST.fullmatch(asked) is None:
        raise IncorrectInput("a UID of the query is none")
    return asked


def is_universal(vr: str, asked: str) -> bool:
    """Tell whether a key matches everything (C.2.2.2.3): it is empty, or nothing but asterisks or a bare range."""
    return not asked or (vr in WILD and not asked.strip("*")) or (vr in RANGES and asked == "-")


def matches(vr: str, value: str, asked: str) -> bool:
    """Tell whether a stored value is what is asked for; `asked` as checked_key returns it."""
    if is_universal(vr, asked):
        return True
    if vr == "PN":
        return any(_name_matches(one, option) for one in value.split("\\") for option in asked.split("\\"))
    decide = _within if vr in RANGES else _number if vr in NUMBERS else _wild if vr in WILD else _same
    return any(decide(one, option) for one in value.split("\\") for option in asked.split("\\"))


def _same(value: str, asked: str) -> bool:
    return bool(value) and value.strip() == asked.strip()


def _number(value: str, asked: str) -> bool:
    try:
        return int(value) == int(asked)
    except ValueError:
        return _same(value, asked)


def _wild(value: str, asked: str) -> bool:
    if "*" not in asked and "?" not in asked:
        return _same(value, asked)
    return _compiled(asked.strip()).fullmatch(value.strip()) is not None


@lru_cache(maxsize=256)
def _compiled(asked: str) -> re.Pattern[str]:
    # fnmatch's expressions do not backtrack (3.11); brackets mean nothing in DICOM.
    return re.compile(fnmatch.translate(asked.replace("[", "[[]")))


def _name_matches(value: str, asked: str) -> bool:
    """Match a name without regard to case, padding and empty components at the end (C.2.2.2.1.1).

    A key of one component group may match any of the alphabetic, ideographic and phonetic ones.
    """
    groups, wanted = value.split("="), asked.split("=")
    if len(wanted) == 1:
        return any(_wild(folded_name(group), folded_name(asked)) for group in groups if group)
    groups += [""] * (len(wanted) - len(groups))
    pairs = zip(wanted, groups, strict=False)
    return all(not key.strip("*") or _wild(folded_name(group), folded_name(key)) for key, group in pairs)


def folded_name(text: str) -> str:
    """Return one component group of a name as it is compared."""
    components = (part.strip() for part in unicodedata.normalize("NFC", text).casefold().split("^"))
    return "^".join(components).rstrip("^")


def _within(value: str, asked: str) -> bool:
    value, low, dash, high = _digits(value), *asked.partition("-")
    low, high = _digits(low), _digits(high)
    if not value or _SORTS.fullmatch(value) is None:
        return False
    if not dash:
        return value[: len(low)] == low  # a shorter time stands for all of it: 10 is the hour
    return (not low or value >= low) and (not high or value[: len(high)] <= high)


def _digits(moment: str) -> str:
    """Return a date or time as it sorts: without the colons and full stops of ACR-NEMA, without trailing zeros."""
    whole, dot, fraction = moment.replace(":", "").strip().partition(".")
    if dot and len(whole) == 4 and "." in fraction:  # 1993.08.22
        return whole + fraction.replace(".", "")
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole
