"""What may stand in the issuers file, field by field. docs/trust.md has a row for each."""

import ipaddress
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from cds.caller import Capabilities
from cds.trust.issuer import DEFAULT_LEEWAY_S, DEFAULT_LIFE_S, CertificateUse
from clinical.errors import IncorrectInput
from fhir_adapters.allow_list import AllowedServer, Network
from fhir_adapters.trust.jwk import RECOMMENDED, Algorithm
from fhir_adapters.trust.toml_file import AbsoluteUrl, ShortName, Strict, Text

MAX_LIFE_S = 3600
MAX_LEEWAY_S = 300
_ACTIONS = {"create", "update", "delete"}


def _capabilities(value: object) -> object:
    if not isinstance(value, dict):
        return value
    known = {one.name for one in fields(Capabilities)}
    if unknown := sorted(value.keys() - known):
        raise ValueError(f"{unknown[0]} is not a capability; known are {', '.join(sorted(known))}")
    if not set(value.get("actions", ())) <= _ACTIONS:
        raise ValueError(f"expected actions among {', '.join(sorted(_ACTIONS))}")
    if "selection_behaviors" in value and not value["selection_behaviors"]:
        raise ValueError("expected at least one of the selection behaviors; without suggestions, set actions = []")
    return value


Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Certificates(Strict):
    sha256: tuple[Fingerprint, ...] = Field(min_length=1)
    use: CertificateUse = CertificateUse.WITH_TOKEN


class Entry(Strict):
    """One `[[issuer]]`."""

    name: ShortName
    preset: str | None = None
    iss: Text
    keys: tuple[dict[str, Any], ...] = ()
    keys_file: Path | None = None
    jku: tuple[AbsoluteUrl, ...] = ()
    algorithms: tuple[Algorithm, ...] = Field(default=RECOMMENDED, min_length=1)
    aud_aliases: tuple[Text, ...] = ()
    aud_bases: tuple[AbsoluteUrl, ...] = ()
    max_life_s: int = Field(default=DEFAULT_LIFE_S, strict=True, ge=30, le=MAX_LIFE_S)
    leeway_s: int = Field(default=DEFAULT_LEEWAY_S, strict=True, ge=0, le=MAX_LEEWAY_S)
    tenants: tuple[Text, ...] = ()
    fhir_bases: tuple[AbsoluteUrl, ...] = ()
    network: Network = Network.PUBLIC
    capabilities: Annotated[Capabilities, BeforeValidator(_capabilities)] = Capabilities()
    certificates: Certificates | None = None

    @model_validator(mode="after")
    def _can_be_recognised(self) -> Self:
        alone = self.certificates is not None and self.certificates.use is CertificateUse.ALONE
        if not (self.keys or self.keys_file or self.jku or alone):
            raise ValueError("expected keys, keys_file, jku, or certificates with use = 'alone'")
        for url in (*self.jku, *self.fhir_bases):
            try:
                AllowedServer(url, self.network)
            except IncorrectInput as exc:
                raise ValueError(f"jku, fhir_bases: {exc.message}") from None
        return self


class Header(Strict):
    header: str = Field(default="Client-Cert", pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")
    proxies: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _networks(self) -> Self:
        for proxy in self.proxies:
            try:
                ipaddress.ip_network(proxy)
            except ValueError:
                raise ValueError("proxies: expected addresses or networks such as 10.1.2.3/32") from None
        return self
