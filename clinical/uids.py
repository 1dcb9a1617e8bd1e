"""DICOM UIDs of our own. Most are derived: the same parts give the same UID, so that nothing is made twice."""

import hashlib
import uuid
from functools import lru_cache

DIGEST_LENGTH = 12


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


@lru_cache(maxsize=256)  # an object's is asked for more than once, its study's with each of its objects
def uid_digest(uid: str) -> str:
    """Return the short name of a UID that came with a patient's object, for audit rows and logs.

    The first digits of its sha256: enough to follow one object through a log; it does not lead back to the patient
    without the archive.
    """
    return hashlib.sha256(uid.encode()).hexdigest()[:DIGEST_LENGTH]
