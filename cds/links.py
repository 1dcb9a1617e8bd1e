"""Short-lived signed links to pages that show a patient's images, and the origins that a card may lead to.

A card is opened in the EHR, where this server has no session of the reader. The link itself is the
permission: one reading, until a moment, under our key. It says nothing about the patient.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import timedelta

from cds.origins import Origins, PublicUrl, origins_of
from cds.source import Link, Source
from clinical.clock import Clock
from clinical.codes import Coding
from clinical.errors import Denied, IncorrectInput

KEY_MIN_BYTES = 32
NAME = "Consilium"
_READING_ID = re.compile(r"[A-Za-z0-9._\-]{1,64}")
_UID = re.compile(r"[0-9.]{1,64}")
_EXPIRES = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class LinkSigner:
    """Makes and checks links of the form `{base_url}/overlay/{reading_id}?expires=..&sig=..`.

    key: at least 32 secret bytes, the same in every web process. base_url: the public one, without a
    trailing slash. life_s: how long a link opens.
    viewer: where a SMART app that shows images is launched; model_cards: below which `{model}/card.md` is
    published; icon: of the source of every card. Each may be None. Cards may lead to us and to their origins.
    studies: whether cards also lead to the DICOM viewer of this server.
    """

    key: bytes = field(repr=False)
    base_url: str
    now: Clock
    life_s: int = 900
    viewer: str | None = None
    model_cards: str | None = None
    icon: str | None = None
    studies: bool = False

    def __post_init__(self) -> None:
        if len(self.key) < KEY_MIN_BYTES:
            raise IncorrectInput(f"the link key needs at least {KEY_MIN_BYTES} bytes")

    @property
    def origins(self) -> Origins:
        """Where cards may lead: to us, and to what is configured."""
        configured = (self.viewer, self.model_cards, self.icon)
        return origins_of(self.base_url, *(url for url in configured if url))

    @property
    def source_icon(self) -> PublicUrl | None:
        """The icon of cards' sources."""
        return None if self.icon is None else self.origins.url(self.icon)

    def model_card(self, model: str) -> PublicUrl | None:
        """Return where a model's card is published."""
        return None if self.model_cards is None else self.origins.url(f"{self.model_cards}/{model}/card.md")

    def source(self, said_by: str, topic: Coding, model: str | None = None) -> Source:
        """Return the source of a card. said_by: after our name. model: whose card tells more."""
        url = None if model is None else self.model_card(model)
        return Source(f"{NAME}, {said_by}", topic, url=url, icon=self.source_icon)

    def overlay(self, label: str, reading_id: str) -> Link:
        """Return the signed link to the overlay page of one reading."""
        return Link(label, self.origins.url(self.sign(reading_id)))

    def study(self, label: str, study_uid: str) -> Link | None:
        """Return the link that opens a study in our viewer, with a permission to read it and nothing else.

        None where cards do not lead there, or for a UID that is none. The viewer takes the token from its address
        and shows it as a bearer token (OHIF's `token` parameter).
        """
        if not self.studies or not _UID.fullmatch(study_uid):
            return None
        expires = str(int((self.now() + timedelta(seconds=self.life_s)).timestamp()))
        token = f"{study_uid}_{expires}_{self.signature('study', study_uid, expires)}"
        url = f"{self.base_url}/viewer/viewer?StudyInstanceUIDs={study_uid}&token={token}"
        return Link(label, self.origins.url(url), spare=True)

    def study_of(self, token: str) -> str | None:
        """Return the study that a token of `study` permits to read; None when it is not ours or no longer open."""
        study_uid, _, rest = token.partition("_")
        expires, _, sig = rest.partition("_")
        if not (_UID.fullmatch(study_uid) and _EXPIRES.fullmatch(expires)):
            return None
        if not self.signed(sig, "study", study_uid, expires) or int(expires) < self.now().timestamp():
            return None
        return study_uid

    def sign(self, reading_id: str) -> str:
        """Return the absolute URL of the overlay page of one reading."""
        if not _READING_ID.fullmatch(reading_id):
            raise IncorrectInput("a reading id holds letters, digits, '.', '_' and '-' only")
        expires = str(int((self.now() + timedelta(seconds=self.life_s)).timestamp()))
        signature = self.signature("overlay", reading_id, expires)
        return f"{self.base_url}/overlay/{reading_id}?expires={expires}&sig={signature}"

    def check(self, reading_id: str, expires: str, sig: str) -> None:
        """Return when the link is ours and still open; raise Denied otherwise, without saying which."""
        well_formed = _READING_ID.fullmatch(reading_id) and _EXPIRES.fullmatch(expires)
        if not well_formed or not self.signed(sig, "overlay", reading_id, expires):
            raise Denied("the link is not valid or no longer open")
        if int(expires) < self.now().timestamp():
            raise Denied("the link is not valid or no longer open")

    def signature(self, purpose: str, *parts: str) -> str:
        """Return the signature of what is said for one purpose; parts hold no line break."""
        message = "\n".join((purpose, *parts)).encode()
        return base64.urlsafe_b64encode(hmac.digest(self.key, message, hashlib.sha256)).rstrip(b"=").decode()

    def signed(self, sig: str, purpose: str, *parts: str) -> bool:
        """True when the signature is ours, compared in constant time."""
        return sig.isascii() and hmac.compare_digest(sig, self.signature(purpose, *parts))
