"""UIDs: ours are derived, everybody else's are checked before they are believed."""

import hashlib
import re
import uuid

from clinical.errors import IncorrectInput

# PS3.5 9.1: digits and full stops, no empty component, no leading zero, at most 64 characters.
_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+")
# Equipment in the field pads components with zeros; PS3.5 forbids it, archives keep such objects.
_TOLERATED = re.compile(r"[0-9]+(?:\.[0-9]+)*")
UID_LENGTH = 64


def derived_uid(*parts: str) -> str:
    """Return the UID that these parts always give: 2.25.<UUID as an integer> (PS3.5 B.2), <= 44 characters.

    The UUID is the first 16 bytes of SHA-256 marked as version 8 (RFC 9562 5.8: vendor-specific hash).
    Parts are separated by a byte that occurs in none of them, so ("a", "bc") differs from ("ab", "c").
    """
    digest = hashlib.sha256(b"\x1f".join(part.encode() for part in parts)).digest()[:16]
    marked = bytearray(digest)
    marked[6] = marked[6] & 0x0F | 0x80
    marked[8] = marked[8] & 0x3F | 0x80
    return f"2.25.{uuid.UUID(bytes=bytes(marked)).int}"


def random_uid() -> str:
    """Return a UID that nothing else has: 2.25.<random UUID> (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def tracking_uid(reading_id: str, number: int) -> str:
    """Return the Tracking UID of a finding: the same in SEG, SR, Observation and card."""
    return derived_uid("tracking", reading_id, str(number))


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


def uid_digest(uid: str) -> str:
    """Return what logs show in place of a UID that came with a patient's object."""
    return hashlib.sha256(uid.encode()).hexdigest()[:12]
