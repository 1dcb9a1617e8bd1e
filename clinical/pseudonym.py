"""Names for patients and users that lead back to nobody without our key."""

import hashlib
import hmac
from dataclasses import dataclass, field

LENGTH = 40  # hexadecimal digits: 160 bits


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Keyed digests of ids. An id belongs to its issuer: `Patient/1` of one EHR is not that of another."""

    key: bytes = field(repr=False)

    def of_patient(self, issuer: str, patient_id: str) -> str:
        """Return the digest of a bare patient id."""
        return self._digest("patient", issuer, patient_id)

    def of_user(self, issuer: str, user_id: str) -> str:
        """Return the digest of a user reference such as `Practitioner/1`."""
        return self._digest("user", issuer, user_id)

    def _digest(self, kind: str, issuer: str, value: str) -> str:
        # Lengths and not separators: no issuer can be chosen so that its border moves.
        message = "".join(f"{len(part)}:{part}" for part in (kind, issuer, value))
        return hmac.digest(self.key, message.encode(), hashlib.sha256).hex()[:LENGTH]
