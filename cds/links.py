"""Short-lived signed links to pages that show a patient's images.

A card is opened in the EHR, where this server has no session of the reader. The link itself is the
permission: one reading, until a moment, under our key. It says nothing about the patient.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import timedelta

from clinical.clock import Clock
from clinical.errors import Denied, IncorrectInput

KEY_MIN_BYTES = 32
_READING_ID = re.compile(r"[A-Za-z0-9._\-]{1,64}")
_EXPIRES = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class LinkSigner:
    """Makes and checks links of the form `{base_url}/overlay/{reading_id}?expires=..&sig=..`.

    key: at least 32 secret bytes, the same in every web process. base_url: the public one, without a
    trailing slash. life_s: how long a link opens.
    """

    key: bytes = field(repr=False)
    base_url: str
    now: Clock
    life_s: int = 900

    def __post_init__(self) -> None:
        if len(self.key) < KEY_MIN_BYTES:
            raise IncorrectInput(f"the link key needs at least {KEY_MIN_BYTES} bytes")

    def sign(self, reading_id: str) -> str:
        """Return the absolute URL of the overlay page of one reading."""
        if not _READING_ID.fullmatch(reading_id):
            raise IncorrectInput("a reading id holds letters, digits, '.', '_' and '-' only")
        expires = str(int((self.now() + timedelta(seconds=self.life_s)).timestamp()))
        return f"{self.base_url}/overlay/{reading_id}?expires={expires}&sig={self._signature(reading_id, expires)}"

    def check(self, reading_id: str, expires: str, sig: str) -> None:
        """Return when the link is ours and still open; raise Denied otherwise, without saying which."""
        well_formed = _READING_ID.fullmatch(reading_id) and _EXPIRES.fullmatch(expires) and sig.isascii()
        if not well_formed or not hmac.compare_digest(sig, self._signature(reading_id, expires)):
            raise Denied("the link is not valid or no longer open")
        if int(expires) < self.now().timestamp():
            raise Denied("the link is not valid or no longer open")

    def _signature(self, reading_id: str, expires: str) -> str:
        message = f"overlay\n{reading_id}\n{expires}".encode()
        return base64.urlsafe_b64encode(hmac.digest(self.key, message, hashlib.sha256)).rstrip(b"=").decode()
