"""UIDs of others are checked before they are believed; ours are derived (`clinical.uids`)."""

import re

from clinical.errors import IncorrectInput

# PS3.5 9.1: digits and full stops, no empty component, no leading zero, at most 64 characters.
_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+")
# Equipment in the field pads components with zeros; PS3.5 forbids it, archives keep such objects.
_TOLERATED = re.compile(r"[0-9]+(?:\.[0-9]+)*")
UID_LENGTH = 64


def is_uid(text: str) -> bool:
    """Tell whether this is a valid UID by PS3.5 9.1."""
    return len(text) <= UID_LENGTH and _UID.fullmatch(text) is not None


def checked_uid(text: str | None, what: str) -> str:
    """Return a received UID, or raise IncorrectInput naming the attribute but not the value.

    Components with leading zeros are let through: they are harmless as keys and exist in archives.
    """
    value = (text or "").rstrip("\0 ")
    if not value:
        raise IncorrectInput(f"{what} is missing")
    if len(value) > UID_LENGTH or _TOLERATED.fullmatch(value) is None:
        raise IncorrectInput(f"{what} is not a UID (digits and full stops, at most {UID_LENGTH} characters)")
    return value
