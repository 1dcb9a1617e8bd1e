"""Every setting, read once at start and frozen. One field here is one row of docs/configuration.md.

A variable is `CONSILIUM_` and the field's name in capitals; `CONSILIUM_X_FILE` names a file that holds
the value (for secrets). A bad value stops start-up with the variable and what was expected, never the value.
"""

import difflib
import ipaddress
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from clinical.errors import IncorrectInput
from consilium.setting_values import (
    AeTitle,
    AlertHygiene,
    BaseUrl,
    BlobUrl,
    BodyPart,
    DatabaseUrl,
    Deidentify,
    DicomNode,
    FhirDestination,
    ModelKey,
    PacsDestination,
    PrivateEncoding,
    QueryCaller,
    ResultKind,
    TlsPeer,
    UpsWorklist,
    allowed_callers,
    codes_table,
    from_json,
    known_charset,
    known_hooks,
    known_services,
    legal_origins,
    networks,
    private_syntaxes,
    time_zone,
)

if TYPE_CHECKING:
    from consilium.rules import Rules
    from fhir_adapters.allow_list import AllowedServer

PREFIX = "CONSILIUM_"
LOOPBACK_HOSTS = {"127.0.0.1", "::1", "localhost"}


class SettingsError(Exception):
    """Start-up must stop; each line names a variable and what was expected."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class Settings(BaseSettings):
    """See docs/configuration.md, which a test holds equal to these fields."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    profile: Literal["development", "production"] = "development"
    data_dir: Path = Path("consilium-data")
    database_url: DatabaseUrl | None = None
    blob_url: BlobUrl | None = None
    models_dir: Path | None = None
    required_models: Annotated[tuple[str, ...], BeforeValidator(from_json)] = (
        "breast-lesion",
        "diabetes-risk",
        "heart-rate-trend",
        "lung-nodule",
    )
    secret_key: SecretStr | None = Field(default=None, min_length=32)
    bearer_token: SecretStr | None = Field(default=None, min_length=32)

    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8080, ge=0, le=65535)
    public_base_url: BaseUrl | None = None
    tls: Literal["none", "proxy"] = "none"
    web_workers: int = Field(default=2, ge=1, le=64)
    web_threads: int = Field(default=16, ge=1, le=256)
    request_seconds: float = Field(default=15.0, ge=0.5, le=600)
    hook_budget_ms: int = Field(default=500, ge=50, le=60_000)
    hook_budgets: Annotated[dict[str, int], BeforeValidator(from_json), AfterValidator(known_hooks)] = {}
    benchmark_services: bool = False
    cds_issuers_file: Path | None = None
    fhir_clients_file: Path | None = None
    fhir_consent: Literal["opt-out", "opt-in", "off"] = "opt-out"
    record_calls_dir: Path | None = None
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(from_json), AfterValidator(legal_origins)] = ()
    fhir_servers: Annotated[tuple[BaseUrl, ...], BeforeValidator(from_json)] = ()
    fhir_network: Literal["public", "private"] = "public"
    subscription_endpoints: Annotated[tuple[BaseUrl, ...], BeforeValidator(from_json)] = ()
    subscription_network: Literal["public", "private"] = "public"
    fhir_destinations: Annotated[tuple[FhirDestination, ...], BeforeValidator(from_json)] = ()
    link_life_s: int = Field(default=900, ge=30, le=86_400)
    viewer_dir: Path | None = None
    profiles_dir: Path | None = None
    viewer_links: bool = False
    smart_viewer_url: BaseUrl | None = None
    model_cards_url: BaseUrl | None = None
    alert_hygiene: Annotated[AlertHygiene, BeforeValidator(from_json)] | None = None
    shadow_services: Annotated[tuple[str, ...], BeforeValidator(from_json), AfterValidator(known_services)] = ()
    store_card_results: bool = False
    card_retention_days: int = Field(default=400, ge=1, le=3660)
    export_life_s: int = Field(default=86_400, ge=60, le=31 * 86_400)
    exports_per_client: int = Field(default=3, ge=1, le=100)
    research_consent: Literal["opt-out", "opt-in"] = "opt-out"

    dicom_host: str = "127.0.0.1"
    dicom_port: int = Field(default=11112, ge=0, le=65535)
    ae_title: AeTitle = "CONSILIUM"
    calling_aes: Annotated[
        dict[AeTitle, tuple[str, ...]], BeforeValidator(from_json), AfterValidator(allowed_callers)
    ] = {}
    dicom_plain: bool | None = None
    dicom_tls_port: int | None = Field(default=None, ge=0, le=65535)
    dicom_tls_cert_file: Path | None = None
    dicom_tls_key_file: Path | None = None
    dicom_tls_ca_file: Path | None = None
    dicom_tls_crl_file: Path | None = None
    dicom_tls_profile: Literal["bcp195", "bcp195-modified"] = "bcp195"
    dicom_tls_client_certificate: Literal["required", "none"] = "required"
    query_aes: Annotated[dict[AeTitle, QueryCaller], BeforeValidator(from_json)] = {}
    storage_classes: Literal["images", "all"] = "images"
    dicom_private_syntaxes: Annotated[
        dict[str, PrivateEncoding], BeforeValidator(from_json), AfterValidator(private_syntaxes)
    ] = {}
    dicom_flush: Literal["journal", "files", "never"] = "journal"
    dicom_receivers: int = Field(default=4, ge=0, le=64)
    max_associations: int = Field(default=512, ge=1, le=4096)
    max_associations_per_ae: int = Field(default=512, ge=1, le=4096)
    max_associations_per_address: int = Field(default=512, ge=1, le=4096)
    low_water_mb: int = Field(default=512, ge=0)
    dicom_quarantine_mb: int = Field(default=512, ge=0)
    dicom_quarantine_objects: int = Field(default=1000, ge=1, le=10_000)
    dicom_quarantine_days: int = Field(default=30, ge=1, le=3660)
    patient_issuers: Annotated[dict[str, str], BeforeValidator(from_json)] = {}
    body_parts: Annotated[tuple[BodyPart, ...], BeforeValidator(from_json)] = ()
    study_quiet_s: float = Field(default=5.0, ge=0.1, le=3600)
    release_grace_s: float = Field(default=1.0, ge=0, le=600)
    count_archive: str | None = None
    rules_file: Path | None = None

    worklist: Annotated[DicomNode, BeforeValidator(from_json)] | None = None
    keep_orders: bool = True
    compare_priors: bool = True
    accession_issuers: Annotated[dict[str, str], BeforeValidator(from_json)] = {}
    ups: Annotated[tuple[UpsWorklist, ...], BeforeValidator(from_json)] = ()
    ups_aes: Annotated[tuple[AeTitle, ...], BeforeValidator(from_json)] = ()

    hl7_host: str = "127.0.0.1"
    hl7_port: int | None = Field(default=None, ge=0, le=65535)
    hl7_peers: Annotated[tuple[str, ...], BeforeValidator(from_json), AfterValidator(networks)] = ()
    hl7_plain: bool = False
    hl7_tls_cert_file: Path | None = None
    hl7_tls_key_file: Path | None = None
    hl7_tls_ca_file: Path | None = None
    hl7_message_mb: int = Field(default=4, ge=1, le=64)
    hl7_connections: int = Field(default=256, ge=1, le=4096)
    hl7_retention_days: int = Field(default=400, ge=1, le=3660)
    hl7_systems: Annotated[dict[str, str], BeforeValidator(from_json)] = {}
    hl7_time_zone: Annotated[str, AfterValidator(time_zone)] = "UTC"
    hl7_charset: Annotated[str, AfterValidator(known_charset)] | None = None
    codes_file: Annotated[Path, AfterValidator(codes_table)] | None = None
    hl7_processing_ids: Annotated[tuple[str, ...], BeforeValidator(from_json)] = ("P",)

    pacs: Annotated[tuple[PacsDestination, ...], BeforeValidator(from_json)] = ()
    nodes: Annotated[tuple[DicomNode, ...], BeforeValidator(from_json)] = ()
    pseudonym_key: SecretStr | None = Field(default=None, min_length=32)
    results: Annotated[tuple[ResultKind, ...], BeforeValidator(from_json)] = ("SEG", "SR")
    delivery_attempts: int = Field(default=18, ge=1, le=100)
    delivery_slots: int = Field(default=8, ge=1, le=256)
    delivery_first_wait_s: float = Field(default=5.0, gt=0, le=3600)
    commitment_wait_s: float = Field(default=600.0, gt=0, le=86_400)

    worker_slots: int = Field(default=2, ge=1, le=64)
    executor_id: str = Field(default="worker-1", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    executor_silence_s: float = Field(default=15.0, ge=1, le=600)
    model_provider: Literal["auto", "cpu", "cuda"] = "auto"
    model_cpu_fallback: bool = False
    shadow_models: Path | None = None
    shadow_provider: Literal["auto", "cpu", "cuda"] = "cpu"
    model_keys: Annotated[tuple[ModelKey, ...], BeforeValidator(from_json)] = ()
    decode_seconds: float = Field(default=30.0, gt=0, le=600)
    decode_memory_mb: int = Field(default=2048, ge=256)

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (pydantic-settings calls by name)
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take arguments and the environment; no .env file and no secrets folder by surprise."""
        return (init_settings, _Environment(settings_cls))

    @model_validator(mode="after")
    def _issuers_can_be_used(self) -> Self:
        if self.cds_issuers_file is not None:
            from cds.trust.issuers import read  # noqa: PLC0415 - only who has issuers pays for it
            from fhir_adapters.trust.toml_file import FileWrong  # noqa: PLC0415

            try:
                read(self.cds_issuers_file, production=self.profile == "production")
            except FileWrong as exc:
                raise ValueError("\n".join(f"{PREFIX}CDS_ISSUERS_FILE: {line}" for line in exc.lines)) from None
        return self

    @model_validator(mode="after")
    def _endpoints_can_be_called(self) -> Self:
        if self.subscription_endpoints:
            try:
                _ = self.endpoints
            except IncorrectInput as problem:
                raise ValueError(f"{PREFIX}SUBSCRIPTION_ENDPOINTS: {problem.message}") from None
        return self

    @model_validator(mode="after")
    def _clients_can_be_used(self) -> Self:
        if self.fhir_clients_file is not None:
            from fhir_adapters.access.clients import read  # noqa: PLC0415 - only who has clients pays for it
            from fhir_adapters.trust.toml_file import FileWrong  # noqa: PLC0415

            try:
                read(self.fhir_clients_file, production=self.profile == "production")
            except FileWrong as exc:
                raise ValueError("\n".join(f"{PREFIX}FHIR_CLIENTS_FILE: {line}" for line in exc.lines)) from None
        return self

    @model_validator(mode="after")
    def _fhir_destinations_can_be_called(self) -> Self:
        names = [one.name for one in self.fhir_destinations]
        if len(set(names)) != len(names):
            raise ValueError(f"{PREFIX}FHIR_DESTINATIONS: expected each name once")
        for one in self.fhir_destinations:
            try:
                self.allowed_at(one)
            except IncorrectInput as problem:
                raise ValueError(f"{PREFIX}FHIR_DESTINATIONS: {problem.message}") from None
        return self

    def allowed_at(self, destination: FhirDestination) -> "tuple[AllowedServer, ...]":
        """Return what may be called of a destination; plain http only to loopback, and only in development."""
        urls = (destination.url, destination.token_url)
        return tuple(self._allowed(url, destination.network) for url in urls if url is not None)

    def _allowed(self, url: str, network: str) -> "AllowedServer":
        from fhir_adapters.allow_list import AllowedServer, Network  # noqa: PLC0415 - only who calls others pays

        own = self.profile == "development" and is_loopback(urlsplit(url).hostname or "")
        return AllowedServer(url, Network.LOOPBACK if own else Network(network))

    @model_validator(mode="after")
    def _queries_lead_somewhere(self) -> Self:
        nodes = {one.name for one in self.pacs if one.ae_title is not None}
        if any(set(caller.to) - nodes for caller in self.query_aes.values()):
            raise ValueError(f'{PREFIX}QUERY_AES: expected in "to" names of DICOM nodes of {PREFIX}PACS')
        if self.calling_aes and set(self.ups_aes) - set(self.calling_aes):
            raise ValueError(f"{PREFIX}UPS_AES: expected AE titles that {PREFIX}CALLING_AES lets in")
        unknown = set(self.query_aes) - set(self.calling_aes)
        if self.calling_aes and unknown:
            raise ValueError(f"{PREFIX}QUERY_AES: expected AE titles that {PREFIX}CALLING_AES lets in")
        return self

    @model_validator(mode="after")
    def _rules_can_be_used(self) -> Self:
        if self.rules_file is not None:
            self.rules()
        return self

    @model_validator(mode="after")
    def _steps_have_rules(self) -> Self:
        names = [one.name for one in self.ups]
        if len(set(names)) != len(names):
            raise ValueError(f"{PREFIX}UPS: expected each name once")
        if self.ups and not self.rules().workitem:
            raise ValueError(
                f"{PREFIX}RULES_FILE: expected a [[workitem]] rule where {PREFIX}UPS names a worklist"
            )
        return self

    @model_validator(mode="after")
    def _pseudonyms_have_a_key(self) -> Self:
        if self.pseudonym_key is None and any(one.disguised for one in self.pacs):
            raise ValueError(f"{PREFIX}PSEUDONYM_KEY: expected where a destination of {PREFIX}PACS has deidentify")
        return self

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if self.dicom_tls_port is not None:
            wanted = {"CERT": self.dicom_tls_cert_file, "KEY": self.dicom_tls_key_file}
            if self.dicom_tls_client_certificate == "required":
                wanted["CA"] = self.dicom_tls_ca_file
            lines = [
                f"{PREFIX}DICOM_TLS_{name}_FILE: expected a path" for name, file in wanted.items() if not file
            ]
            if lines:
                raise ValueError("\n".join(lines))
        return self

    @model_validator(mode="after")
    def _hl7_is_whole(self) -> Self:
        if (self.hl7_tls_cert_file is None) != (self.hl7_tls_key_file is None):
            raise ValueError(f"{PREFIX}HL7_TLS_CERT_FILE, {PREFIX}HL7_TLS_KEY_FILE: expected both or neither")
        return self

    @model_validator(mode="after")
    def _count_archive_can_be_asked(self) -> Self:
        if self.count_archive is not None and self.count_archive not in {
            one.name for one in self.pacs if one.ae_title is not None
        }:
            raise ValueError(f"{PREFIX}COUNT_ARCHIVE: expected the name of a DICOM node in {PREFIX}PACS")
        return self

    @model_validator(mode="after")
    def _not_open_in_production(self) -> Self:
        if self.profile == "development":
            if not all(map(is_loopback, (self.http_host, self.dicom_host, self.hl7_host))):
                raise ValueError(
                    "CONSILIUM_HTTP_HOST, CONSILIUM_DICOM_HOST, CONSILIUM_HL7_HOST: expected a loopback address "
                    "in the development profile, which is open to every caller; set CONSILIUM_PROFILE=production "
                    "to listen elsewhere"
                )
            return self
        missing = [
            f"{PREFIX}{name}: expected in the production profile ({why})"
            for name, given, why in (
                (
                    "BEARER_TOKEN",
                    self.bearer_token or self.cds_issuers_file or self.fhir_clients_file,
                    "callers are refused without it; or CDS_ISSUERS_FILE for hooks, FHIR_CLIENTS_FILE for FHIR",
                ),
                ("SECRET_KEY", self.secret_key, "signs page and overlay links"),
                ("PUBLIC_BASE_URL", self.public_base_url, "the https address that callers use"),
                ("CALLING_AES", self.calling_aes, "AE titles that may send images"),
                ("PATIENT_ISSUERS", self.patient_issuers, "joins DICOM issuers to FHIR identifier systems"),
            )
            if not given
        ]
        if self.dicom_flush == "never":
            missing.append(f"{PREFIX}DICOM_FLUSH: expected journal or files in the production profile")
        if self.benchmark_services:
            missing.append(f"{PREFIX}BENCHMARK_SERVICES: expected 0 in the production profile")
        if self.tls != "proxy":
            missing.append(f"{PREFIX}TLS: expected 'proxy', that is a TLS-terminating proxy in front")
        if self.public_base_url and not self.public_base_url.startswith("https://"):
            missing.append(f"{PREFIX}PUBLIC_BASE_URL: expected an https address in the production profile")
        for name, url in (("SMART_VIEWER_URL", self.smart_viewer_url), ("MODEL_CARDS_URL", self.model_cards_url)):
            if url and not url.startswith("https://"):
                missing.append(f"{PREFIX}{name}: expected an https address, as cards lead there")
        missing += [*self._unencrypted(), *self._hl7_open()]
        if missing:
            raise ValueError("\n".join(missing))
        return self

    def _hl7_open(self) -> list[str]:
        """Return what is open at the HL7 v2 port although nobody has said that it may."""
        if self.hl7_port is None:
            return []
        lines = []
        if not self.hl7_peers:
            lines.append(
                f"{PREFIX}HL7_PEERS: expected in the production profile (addresses that may send messages)"
            )
        if self.hl7_tls_cert_file is None and not self.hl7_plain:
            lines.append(
                f"{PREFIX}HL7_TLS_CERT_FILE: expected in production, or {PREFIX}HL7_PLAIN=1 (unencrypted)"
            )
        return lines

    def _unencrypted(self) -> list[str]:
        """Return what would go over the network in the clear although nobody has said that it may."""
        if self.dicom_plain:
            return []
        lines = []
        if self.dicom_tls_port is None:
            lines.append(f"{PREFIX}DICOM_TLS_PORT: expected in production, or {PREFIX}DICOM_PLAIN=1 (unencrypted)")
        if any(one.stow_url is None and one.secured is None for one in self.pacs):
            lines.append(f"{PREFIX}PACS: expected tls for each DICOM node, or {PREFIX}DICOM_PLAIN=1 (unencrypted)")
        if any(one.url is None and one.secured is None for one in self.ups):
            lines.append(f"{PREFIX}UPS: expected tls for each DICOM node, or {PREFIX}DICOM_PLAIN=1 (unencrypted)")
        if any(one.url is not None and not one.url.startswith("https://") for one in self.ups):
            lines.append(f"{PREFIX}UPS: expected https, or {PREFIX}DICOM_PLAIN=1 (unencrypted)")
        return lines

    def rules(self) -> "Rules":
        """Return the rules of CONSILIUM_RULES_FILE, or those that let everything go everywhere."""
        from consilium.rules import NO_RULES, RulesWrong, read_rules  # noqa: PLC0415 - only who has rules pays

        if self.rules_file is None:
            return NO_RULES
        from consilium.shadow.names import shadow_names  # noqa: PLC0415

        shadows = shadow_names(self.shadow_models) if self.shadow_models else []
        models = [path.parent.name for path in self.models.glob("*/manifest.json")]
        models += [one.partition("@")[0] for one in shadows]  # a model that is not live yet may have rules
        destinations = [one.name for one in self.pacs]
        try:
            return read_rules(self.rules_file, models=models, destinations=destinations, shadows=shadows)
        except RulesWrong as exc:
            raise ValueError("\n".join(f"{PREFIX}RULES_FILE: {line}" for line in exc.lines)) from None

    @property
    def private_encodings(self) -> dict[str, str]:
        """The private transfer syntaxes that are taken: UID -> the standard's syntax that is encoded so."""
        from dicom_node.syntaxes import PRIVATE_ENCODINGS  # noqa: PLC0415 - the settings know no DICOM

        return {uid: PRIVATE_ENCODINGS[word] for uid, word in self.dicom_private_syntaxes.items()}

    @property
    def endpoints(self) -> "tuple[AllowedServer, ...]":
        """Where notifications of subscriptions may go; plain http only to loopback, and only in development."""
        return tuple(self._allowed(one, self.subscription_network) for one in self.subscription_endpoints)

    @property
    def performs_steps(self) -> bool:
        """Whether steps of worklists are performed here: of others', or of what is pushed to us."""
        return bool(self.ups or self.ups_aes)

    @property
    def takes_plain_dicom(self) -> bool:
        """Whether the plain DICOM port is opened: as stated, else in the development profile only."""
        return self.profile == "development" if self.dicom_plain is None else self.dicom_plain

    @property
    def database(self) -> str:
        """The database URL: the setting, or a SQLite file in the data folder."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir.resolve() / 'consilium.db'}"

    @property
    def blobs(self) -> str:
        """The blob store's URL: the setting, or a folder in the data folder."""
        return self.blob_url or f"file://{self.data_dir.resolve() / 'blobs'}"

    @property
    def models(self) -> Path:
        """The models folder: the setting, or the shipped one (in a checkout, the one at its top)."""
        if self.models_dir is not None:
            return self.models_dir
        packaged = Path(__file__).parent / "models"
        return packaged if packaged.is_dir() else Path(__file__).parents[1] / "models"

    @property
    def viewer(self) -> Path:
        """The mounted viewer's folder, which may be absent: the setting, or where `make viewer` puts it."""
        return self.viewer_dir or Path(__file__).parents[1] / "build" / "viewer"


class _Environment(PydanticBaseSettingsSource):
    """CONSILIUM_X, or the contents of the file that CONSILIUM_X_FILE names."""

    def get_field_value(
        self,
        field: FieldInfo,  # noqa: ARG002  (the base class's signature)
        field_name: str,
    ) -> tuple[Any, str, bool]:
        name = PREFIX + field_name.upper()
        direct, from_file = os.environ.get(name), os.environ.get(name + "_FILE")
        if direct is not None and from_file is not None:
            raise SettingsError([f"{name}: expected either {name} or {name}_FILE, not both"])
        if from_file is not None:
            try:
                direct = Path(from_file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                raise SettingsError([f"{name}_FILE: expected the path of a readable text file"]) from None
        if direct is not None and not direct.strip():
            raise SettingsError([f"{name}: is empty; give it a value, or leave it out"])
        return direct, field_name, False

    def __call__(self) -> dict[str, Any]:
        _refuse_unknown(os.environ, self.settings_cls)
        fields = self.settings_cls.model_fields
        values = {name: self.get_field_value(field, name)[0] for name, field in fields.items()}
        return {name: value for name, value in values.items() if value is not None}


def _refuse_unknown(environ: Mapping[str, str], settings_cls: type[BaseSettings]) -> None:
    known = {PREFIX + name.upper() for name in settings_cls.model_fields}
    unknown = [
        name
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in NOT_SETTINGS and not {name, name.removesuffix("_FILE")} & known
    ]
    if unknown:
        raise SettingsError([f"{name}: expected a known setting{_meant(name, known)}" for name in unknown])


def _meant(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f"; is {near[0]} meant?" if near else "; see docs/configuration.md"


# Variables with our prefix that other parts own: the data sets' folder (training and tests) and the pipe on
# which a child of `consilium serve` reports to its parent.
NOT_SETTINGS = {
    "CONSILIUM_DATASETS_DIR",
    "CONSILIUM_STATUS_FD",
    "CONSILIUM_HTTP_FD",
    "CONSILIUM_FORKS_FD",
    "CONSILIUM_LOCK_FD",
}


def is_loopback(host: str) -> bool:
    """Tell whether an address or name is this machine's own."""
    if host in LOOPBACK_HOSTS:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load_settings(**overrides: object) -> Settings:
    """Return the settings of the environment, with the command line's overrides on top.

    Raises SettingsError naming every bad variable and what was expected, never a value.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]  # the fields' own validators decide
    except ValidationError as exc:
        raise SettingsError(_lines(exc)) from None


def _lines(exc: ValidationError) -> list[str]:
    lines: list[str] = []
    for problem in exc.errors(include_input=False, include_url=False):
        text = _expected(str(problem["type"]), problem.get("ctx", {})) or str(problem["msg"])
        text = text.removeprefix("Value error, ")
        if not problem["loc"]:
            lines.extend(text.splitlines())
            continue
        field, *path = problem["loc"]
        parts = (PacsDestination, QueryCaller, DicomNode, UpsWorklist, TlsPeer, Deidentify, BodyPart, AlertHygiene)
        known = {name for part in parts for name in part.model_fields}
        # Keys of a mapping are values that somebody typed; positions and our own field names are not.
        shown = [str(part) for part in path if isinstance(part, int) or part in known]
        where = PREFIX + str(field).upper() + (f" at {'.'.join(shown)}" if shown else "")
        lines.append(f"{where}: {text[0].lower()}{text[1:]}")
    return lines


def _expected(kind: str, limits: Mapping[str, Any]) -> str | None:
    """Return our words for what pydantic says about its own workings, or in them the length of a secret."""
    match kind:
        case "too_short":
            return f"expected at least {limits['min_length']} characters"
        case "int_parsing" | "int_from_float":
            return "expected a whole number"
        case "float_parsing":
            return "expected a number"
        case "extra_forbidden":
            return "holds a name that is not known"
        case "tuple_type":
            return "expected a JSON list, in [brackets]"
        case "dict_type" | "model_type":
            return "expected a JSON object, in {braces}"
        case _:
            return None
