"""Pseudonyms of one destination: what one name becomes there, always the same, and nowhere else the same.

Each is a keyed hash (HMAC-SHA-256) of what it stands for, under a key of this destination. Without the key nobody
can tell whether a pseudonym is of a patient that he knows, and two destinations cannot join what they have.
"""

import base64
import hashlib
import hmac
import uuid
from dataclasses import dataclass, field

_SHIFT_DAYS = 3650
_ID_LETTERS = 26  # 130 bits
_DICOM_ROOT = "1.2.840.10008."


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """key: secret, 32 bytes or more, of this destination alone."""

    key: bytes = field(repr=False)

    def uid(self, original: str) -> str:
        """Return the UID that stands for this one, 2.25.<UUID> (PS3.5 B.2). Those of the standard stay."""
        if original.startswith(_DICOM_ROOT):
            return original
        made = bytearray(self._hash("uid", original)[:16])
        made[6] = made[6] & 0x0F | 0x80  # RFC 9562 5.8
        made[8] = made[8] & 0x3F | 0x80
        return f"2.25.{uuid.UUID(bytes=bytes(made)).int}"

    def patient_id(self, patient: str) -> str:
        """Return the Patient ID, and name, of a patient: 16 letters and digits."""
        return "P" + base64.b32encode(self._hash("patient", patient))[:15].decode()

    def shift_days(self, patient: str) -> int:
        """Return by how many days this patient's dates are moved back: 1 to 3,650."""
        return int.from_bytes(self._hash("shift", patient)[:8], "big") % _SHIFT_DAYS + 1

    def resource_id(self, kind: str, name: str) -> str:
        """Return the id that stands for a FHIR resource's: 27 letters and digits."""
        return "R" + base64.b32encode(self._hash(f"fhir\x1f{kind}", name))[:_ID_LETTERS].decode()

    @property
    def key_id(self) -> str:
        """A name for the key, which does not lead to it: what was made with one key has one name."""
        return self._hash("key", "")[:8].hex()

    def _hash(self, what: str, value: str) -> bytes:
        return hmac.digest(self.key, f"{what}\x1f{value}".encode(), hashlib.sha256)


def patient_text(issuer: str, number: str) -> str:
    """Return what `patient_id` and `shift_days` take: Issuer of Patient ID ("" for none) and Patient ID."""
    return f"{issuer}\x1f{number}"
