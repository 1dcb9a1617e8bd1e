"""Who fetches what was not sent: for each issuer a FHIR client of its own, with its servers and no others.

So a caller can never have us read from another organisation's server, and a token that came with a call is only
ever sent below the very `fhirServer` of that call (`fhir_adapters.client` holds it to origin and path).
"""

import ssl

from cds.caller import Caller
from cds.prefetch import FhirReader
from cds.trust.issuer import TrustFile
from fhir_adapters.client import FhirClient
from fhir_adapters.outbound import Resolver, system_resolver


class Readers:
    """The FHIR clients by issuer."""

    def __init__(
        self,
        trust: TrustFile | None,
        others: FhirReader | None = None,
        *,
        resolve: Resolver = system_resolver,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """others: for callers without an issuer's token (CONSILIUM_FHIR_SERVERS).

        resolve: name -> addresses. tls: trust other than certifi's authorities.
        """
        profiles = () if trust is None else trust.issuers
        self._others = others
        self._issuers: dict[str, FhirClient | None] = {
            profile.name: FhirClient(profile.fhir_bases, resolve=resolve, tls=tls) if profile.fhir_bases else None
            for profile in profiles
        }

    def reader(self, caller: Caller) -> FhirReader | None:
        """Return who fetches for a caller; None when nothing may be fetched for it."""
        return self._issuers.get(caller.name) if caller.name in self._issuers else self._others

    def close(self) -> None:
        """Close the connections of all clients; the next use opens new ones."""
        for client in (self._others, *self._issuers.values()):
            if isinstance(client, FhirClient):
                client.close()
