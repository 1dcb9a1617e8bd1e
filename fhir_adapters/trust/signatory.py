"""Who signs tokens, as far as checking them needs to know: an issuer of the hooks, a client of the FHIR API."""

from typing import Protocol

from fhir_adapters.allow_list import Network
from fhir_adapters.trust.jwk import Algorithm, VerifyKey


class Signatory(Protocol):
    """Configuration of one who signs.

    name: short and unique, for metrics and audit. iss: as its tokens say it. keys: known beforehand.
    jku: addresses that keys are fetched from, and no others. network: where those may be.
    max_life_s: most seconds between a token's iat and exp. leeway_s: how far its clock may be off ours.
    """

    @property
    def name(self) -> str: ...
    @property
    def iss(self) -> str: ...
    @property
    def keys(self) -> tuple[VerifyKey, ...]: ...
    @property
    def jku(self) -> tuple[str, ...]: ...
    @property
    def algorithms(self) -> frozenset[Algorithm]: ...
    @property
    def network(self) -> Network: ...
    @property
    def max_life_s(self) -> int: ...
    @property
    def leeway_s(self) -> int: ...
