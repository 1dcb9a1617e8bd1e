"""The values that settings may have: checks and parts. A message says what was expected, never the value."""

import json
import re
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from clinical.errors import IncorrectInput

AE_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")


def from_json(value: object) -> object:
    """Return what the JSON text of a variable holds; what came as a value stays as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError("expected JSON") from None


def _ae_title(value: str) -> str:
    if not AE_TITLE.fullmatch(value):
        raise ValueError("expected an AE title: 1 to 16 printable characters without a backslash")
    return value


def _model_key(value: str) -> str:
    from model_runtime.signature import public_key  # noqa: PLC0415 - cryptography takes time that most starts save

    try:
        public_key(value)
    except IncorrectInput:
        raise ValueError("expected the Base64 text of a 32-byte Ed25519 public key") from None
    return value


def known_hooks(value: dict[str, int]) -> dict[str, int]:
    """Check milliseconds by hook or hook/service."""
    if value:
        from cds.budget import Budgets  # noqa: PLC0415 - the services take time that most starts save
        from cds.services import SERVICES  # noqa: PLC0415

        try:
            Budgets(by_name=value).check((service.hook.name, service.id) for service in SERVICES)
        except IncorrectInput as problem:
            raise ValueError(f"expected milliseconds by hook or hook/service: {problem.message}") from None
    return value


def known_services(value: tuple[str, ...]) -> tuple[str, ...]:
    """Check ids of services: one that is misspelt would speak to clinicians."""
    if value:
        from cds.services import SERVICES, bench  # noqa: PLC0415 - the services take time that most starts save

        if set(value) - {service.id for service in (*SERVICES, *bench.services())}:
            raise ValueError("expected ids of services, as /cds-services lists them")
    return value


def legal_origins(value: tuple[str, ...]) -> tuple[str, ...]:
    """Check origins of web pages."""
    from cds.trust.cors import Cors  # noqa: PLC0415 - only who lists origins pays for it

    try:
        Cors(value)
    except IncorrectInput as exc:
        raise ValueError(f"expected origins: {exc.message}") from None
    return value


def networks(value: tuple[str, ...]) -> tuple[str, ...]:
    """Check addresses and CIDR ranges."""
    import ipaddress  # noqa: PLC0415 - only who lists some pays for it

    for one in value:
        try:
            ipaddress.ip_network(one)
        except ValueError:
            raise ValueError("expected addresses or CIDR ranges, as 10.0.0.0/8") from None
    return value


def time_zone(value: str) -> str:
    """Check the name of a time zone."""
    try:
        zone_named(value)
    except (LookupError, ValueError, OSError):
        raise ValueError("expected a time zone of the IANA database, as Europe/Zurich") from None
    return value


def zone_named(name: str) -> tzinfo:
    """Return a time zone; UTC also where the machine has no database of them. Raises LookupError, ValueError."""
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - most servers are in UTC

    return UTC if name == "UTC" else ZoneInfo(name)


def codes_table(value: Path) -> Path:
    """Check the file of local codes."""
    from fhir_adapters.standardise import from_csv  # noqa: PLC0415 - only who has one pays for it

    try:
        from_csv(value.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError):
        raise ValueError("expected a readable file in UTF-8") from None
    except IncorrectInput as problem:
        raise ValueError(problem.message) from None
    return value


def known_charset(value: str) -> str:
    """Check the name of a character set that messages may be in."""
    from fhir_adapters.hl7v2.text import CHARACTER_SETS  # noqa: PLC0415 - only who names one pays for it

    if value.upper() not in CHARACTER_SETS:
        raise ValueError(f"expected one of {', '.join(CHARACTER_SETS)}")
    return value


def _origin(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
        raise ValueError("expected an absolute http(s) URL without user, query or fragment")
    return value.rstrip("/")


def _matching(pattern: str, expected: str) -> BeforeValidator:
    def check(value: object) -> object:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if isinstance(text, str) and not re.match(pattern, text):
            raise ValueError(f"expected {expected}")
        return value

    return BeforeValidator(check)


# A test holds these equal to dicom_node.syntaxes.PRIVATE_ENCODINGS.
PrivateEncoding = Literal["explicit", "implicit"]


def private_syntaxes(value: dict[str, PrivateEncoding]) -> dict[str, PrivateEncoding]:
    """Check that each is a UID outside DICOM's own root."""
    from dicom_node.syntaxes import is_private  # noqa: PLC0415 - only who names some pays for it
    from dicom_node.uids import is_uid  # noqa: PLC0415

    if not all(is_uid(one) and is_private(one) for one in value):
        raise ValueError("expected UIDs of vendors, none under 1.2.840.10008, each with explicit or implicit")
    return value


DatabaseUrl = Annotated[
    SecretStr,
    _matching(
        r"sqlite:////[^?]+$|postgresql(\+psycopg)?://[^/]*/[^/]",
        "postgresql+psycopg://user:password@host/database or sqlite:////absolute/path.db",
    ),
]
BlobUrl = Annotated[str, _matching("file:///.|s3://[^/]", "file:///absolute/folder or s3://bucket/prefix")]
# A test holds these equal to dicom_node.results.ENCODERS, whose import takes most of a second.
ResultKind = Literal["SEG", "SR", "SEG-FRACTIONAL", "SR-VIEWER", "SC", "KO", "PDF", "PM"]
AeTitle = Annotated[str, BeforeValidator(_ae_title)]
ModelKey = Annotated[str, BeforeValidator(_model_key)]
BaseUrl = Annotated[str, BeforeValidator(_origin)]


def allowed_callers(value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Check what each calling AE may call from and has to show."""
    if value:
        from dicom_node.callers import caller  # noqa: PLC0415 - only who has a table pays for it

        for entries in value.values():
            caller(entries)
    return value


class TlsPeer(BaseModel):
    """How a node that we call over TLS proves that it is the one; fields as in dicom_node.tls_client."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ca_file: Path | None = None
    name: str | None = Field(default=None, min_length=1, max_length=253)
    check_name: bool = True
    sha256: str | None = None

    @model_validator(mode="after")
    def _proves_something(self) -> Self:
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError("expected 64 small hexadecimal digits as sha256")
        if not self.check_name and self.sha256 is None and self.ca_file is None:
            raise ValueError("expected ca_file or sha256 where check_name is false: else any certificate would do")
        return self


class Deidentify(BaseModel):
    """What a destination that gets pseudonyms sees; fields as in dicom_node.confidentiality.actions.Options.

    returns_as: AE titles under which it sends results back, beside its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dates: Literal["shifted", "removed"] = "shifted"
    descriptions: Literal["cleaned", "removed"] = "cleaned"
    device: bool = False
    characteristics: bool = True
    returns_as: tuple[AeTitle, ...] = ()


class PacsDestination(BaseModel):
    """A node that results are sent to: by C-STORE, or by STOW-RS when it has a stow_url.

    results: the kinds that it gets, of those that CONSILIUM_RESULTS makes; all of them when it does not say.
    tls: true, or what it has to prove; false for a plain connection.
    deidentify: true, or what it sees of a patient; false where it sees patients as they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    host: str = ""
    port: int = Field(default=104, ge=1, le=65535)
    ae_title: AeTitle | None = None
    stow_url: BaseUrl | None = None
    stow_token: SecretStr | None = Field(default=None, min_length=1)
    results: tuple[ResultKind, ...] | None = None
    commitment: bool = False
    compress: bool = False
    tls: bool | TlsPeer = False
    deidentify: bool | Deidentify = False

    @property
    def secured(self) -> TlsPeer | None:
        """What it has to prove; None where it is called without TLS."""
        return self.tls if isinstance(self.tls, TlsPeer) else TlsPeer() if self.tls else None

    @property
    def disguised(self) -> Deidentify | None:
        """What it sees of a patient; None where it sees patients as they are."""
        if isinstance(self.deidentify, Deidentify):
            return self.deidentify
        return Deidentify() if self.deidentify else None

    @model_validator(mode="after")
    def _knows_what_it_keeps(self) -> Self:
        if self.commitment and self.deidentify:
            raise ValueError("expected commitment or deidentify, not both: it knows none of our objects by name")
        return self

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        node = bool(self.host) and self.ae_title is not None and "port" in self.model_fields_set
        if self.stow_url is None and not node:
            raise ValueError("expected host, port and ae_title, or stow_url")
        if self.stow_url is not None and (self.host or self.ae_title or self.commitment or self.tls):
            raise ValueError("expected stow_url or a DICOM node (host, port, ae_title, commitment, tls), not both")
        if self.stow_token is not None and not (self.stow_url or "").startswith("https://"):
            raise ValueError("expected an https address as stow_url where there is a stow_token")
        return self


class FhirDestination(BaseModel):
    """Another FHIR server, and who we are there. results: AI results are written through to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    url: BaseUrl
    client_id: str | None = Field(default=None, min_length=1)
    key_file: Path | None = None
    token_url: BaseUrl | None = None
    scope: str = "system/*.cruds"
    network: Literal["public", "private"] = "public"
    results: bool = False

    @model_validator(mode="after")
    def _identity_is_whole(self) -> Self:
        if (self.client_id is None) != (self.key_file is None):
            raise ValueError("expected client_id and key_file, or neither")
        return self


class DicomNode(BaseModel):
    """Where an AE can be reached, which asks us something and is answered on an association of our own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ae_title: AeTitle
    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)


class UpsWorklist(BaseModel):
    """A worklist whose steps we perform: by DIMSE (UPS Pull), or by UPS-RS when it has a url.

    token: sent there as a bearer token. tls: as in PacsDestination. poll_s: how often it is asked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    host: str = ""
    port: int = Field(default=104, ge=1, le=65535)
    ae_title: AeTitle | None = None
    tls: bool | TlsPeer = False
    url: BaseUrl | None = None
    token: SecretStr | None = Field(default=None, min_length=1)
    poll_s: float = Field(default=10.0, ge=0.1, le=3600)

    @property
    def secured(self) -> TlsPeer | None:
        """What it has to prove; None where it is called without TLS."""
        return self.tls if isinstance(self.tls, TlsPeer) else TlsPeer() if self.tls else None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        node = bool(self.host) and self.ae_title is not None and "port" in self.model_fields_set
        if (self.url is None) is not node or (self.url is not None and (self.host or self.ae_title or self.tls)):
            raise ValueError("expected url, or a DICOM node (host, port, ae_title, tls)")
        if self.token is not None and not (self.url or "").startswith("https://"):
            raise ValueError("expected an https address as url where there is a token")
        return self


class QueryCaller(BaseModel):
    """What one AE may ask of us. sees: "own" is studies that it has sent itself. to: names of CONSILIUM_PACS."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    may: tuple[Literal["find", "move", "get"], ...] = ("find",)
    sees: Literal["everything", "own"] = "own"
    to: tuple[str, ...] = ()


class BodyPart(BaseModel):
    """What the site knows: images of this sender, with these words in their study description, show this part.

    body_part: a Body Part Examined value (PS3.16 annex L).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    body_part: str = Field(pattern=r"^[A-Z0-9_ ]{1,16}$")
    calling_ae: AeTitle | None = None
    description: str | None = Field(default=None, min_length=2, max_length=64)

    @model_validator(mode="after")
    def _says_when(self) -> Self:
        if self.calling_ae is None and self.description is None:
            raise ValueError("expected calling_ae, description or both")
        return self


class AlertHygiene(BaseModel):
    """Which cards may be held back (docs/feedback.md); fields as in cds.hygiene_rules."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repeat_window_s: float = Field(default=0, ge=0, le=31 * 86_400)
    cool_down_s: dict[str, Annotated[float, Field(ge=0, le=366 * 86_400)]] = {}
    user_cards_per_hour: int = Field(default=0, ge=0)
    patient_cards_per_hour: int = Field(default=0, ge=0)
    across_users: bool = False
    worse_by: float = Field(default=0.05, ge=0, le=1)
