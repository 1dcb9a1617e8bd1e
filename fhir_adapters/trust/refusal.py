"""Why a caller is not let in. The caller never learns it (CDS Hooks J5): these words are for the operator."""

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fhir_adapters.trust.signatory import Signatory
    from fhir_adapters.trust.tokens import Token


class Reason(StrEnum):
    """One code for each check; docs/trust.md and `consilium cds doctor` have the words."""

    NO_TOKEN = "no-token"  # noqa: S105 - no password
    NOT_BEARER = "not-bearer"
    TOO_LARGE = "too-large"
    NOT_COMPACT = "not-compact"
    NOT_BASE64URL = "not-base64url"
    HEADER_NOT_JSON = "header-not-json"
    PAYLOAD_NOT_JSON = "payload-not-json"
    CRITICAL = "critical-extension"
    ALGORITHM = "algorithm-refused"
    TYPE = "typ-not-jwt"
    KID = "kid-malformed"
    JKU = "jku-malformed"
    CLAIM_MISSING = "claim-missing"
    CLAIM_MALFORMED = "claim-malformed"
    ISSUER = "issuer-unknown"
    CERTIFICATE = "certificate-missing"
    ALGORITHM_OF_ISSUER = "algorithm-not-of-issuer"
    JKU_OF_ISSUER = "jku-not-registered"
    AUDIENCE = "audience"
    EXPIRED = "expired"
    NOT_YET = "not-yet-valid"
    FROM_THE_FUTURE = "issued-in-the-future"
    LIFE = "life-too-long"
    BACKWARDS = "expires-before-issued"
    TENANT = "tenant"
    KEY_UNKNOWN = "key-unknown"
    KEY_UNFIT = "key-of-another-kind"
    SIGNATURE = "signature"
    USED = "used-before"
    KEYS_AWAY = "keys-away"
    BEARER = "bearer-token"


class Refusal(Protocol):
    """What is to be recorded of a refusal: `Refused`, or a kin of it with reasons of its own."""

    @property
    def reason(self) -> StrEnum: ...
    @property
    def token(self) -> "Token | None": ...
    @property
    def profile(self) -> "Signatory | None": ...


class Refused(Exception):
    """A caller is not let in. token, profile: as far as they were known by then."""

    def __init__(
        self, reason: Reason, *, token: "Token | None" = None, profile: "Signatory | None" = None
    ) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.token = token
        self.profile = profile
