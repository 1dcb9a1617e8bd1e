"""One client system that may call the hooks, as a site has described it. All of it is configuration."""

from dataclasses import dataclass, field
from enum import StrEnum

from cds.caller import Caller, Capabilities
from fhir_adapters.allow_list import AllowedServer, Network
from fhir_adapters.trust.jwk import Algorithm, VerifyKey

DEFAULT_LIFE_S = 300
DEFAULT_LEEWAY_S = 60


class CertificateUse(StrEnum):
    """with-token: a token of this issuer counts only over such a certificate. alone: the certificate is enough."""

    WITH_TOKEN = "with-token"  # noqa: S105 - no password
    ALONE = "alone"


@dataclass(frozen=True, slots=True)
class IssuerProfile:
    """name: short and unique, for metrics and audit. iss: as its tokens say it.

    keys: known beforehand. jku: addresses that keys are fetched from, and no others.
    aud_aliases: audiences taken in place of the URL called. aud_bases: base URLs under which this client calls us
        besides the public one, without a slash at the end.
    max_life_s: most seconds between a token's iat and exp. leeway_s: how far its clock may be off ours.
    tenants: which may call; none: whoever the issuer speaks for.
    fhir_bases: FHIR servers that its calls may name. network: where those and the jku may be.
    certificates: SHA-256 of its client certificates (DER), in hexadecimal.
    test_only: everybody can sign as this issuer.
    """

    name: str
    iss: str
    keys: tuple[VerifyKey, ...] = field(default=(), repr=False)
    jku: tuple[str, ...] = ()
    algorithms: frozenset[Algorithm] = frozenset()
    aud_aliases: frozenset[str] = frozenset()
    aud_bases: tuple[str, ...] = ()
    max_life_s: int = DEFAULT_LIFE_S
    leeway_s: int = DEFAULT_LEEWAY_S
    tenants: frozenset[str] = frozenset()
    fhir_bases: tuple[AllowedServer, ...] = ()
    network: Network = Network.PUBLIC
    capabilities: Capabilities = field(default_factory=Capabilities)
    certificates: frozenset[str] = frozenset()
    certificate_use: CertificateUse | None = None
    test_only: bool = False

    def caller(self, tenant: str | None) -> Caller:
        """Return the caller that this issuer vouches for."""
        return Caller(self.iss, self.name, tenant, self.capabilities)


@dataclass(frozen=True, slots=True)
class CertificateHeader:
    """name: the header in which a proxy passes a client's certificate on. proxies: networks it may come from."""

    name: str
    proxies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrustFile:
    """Everything that the issuers file says."""

    issuers: tuple[IssuerProfile, ...]
    certificate_header: CertificateHeader | None = None

    def named(self, name: str) -> IssuerProfile | None:
        """Return the issuer with this short name."""
        return next((profile for profile in self.issuers if profile.name == name), None)

    def choose(self, iss: str, tenant: str | None) -> IssuerProfile | None:
        """Return the profile of an issuer; of several that share one `iss`, the one with this tenant.

        When none has it, the first: its check of the tenant will refuse.
        """
        same = [profile for profile in self.issuers if profile.iss == iss]
        return next((profile for profile in same if tenant in profile.tenants), same[0] if same else None)
