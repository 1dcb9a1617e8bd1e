"""The FHIR API and its token endpoint, built from the settings.

A worker asks here who may see what, and has no API: what answers requests is imported by who builds it.
"""

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consilium import metrics
from consilium.keys import derived_key
from consilium.wiring import House
from fhir_adapters.access.access_token import Mint
from fhir_adapters.access.assertion import Doorkeeping
from fhir_adapters.access.clients import Client, Clients, read
from fhir_adapters.access.door import OPEN, Access, TokenAccess
from fhir_adapters.access.grant import Grant
from fhir_adapters.access.refusals import ACTION
from fhir_adapters.access.smart_configuration import smart_configuration
from fhir_adapters.access.token_endpoint import Endpoint
from fhir_adapters.bulk.offer import Bulk
from fhir_adapters.trust.key_fetch import KeyFetcher
from fhir_adapters.trust.keys import KeyRing
from fhir_adapters.trust.refusal_log import RefusalLog
from model_runtime.engine import Engine
from record_store import audit
from record_store.accesses import AccessLog
from record_store.revoked_tokens import RevokedTokens
from record_store.seen_tokens import SeenTokens

if TYPE_CHECKING:
    from fhir_adapters.rest import Fhir

ACCESS_TOKEN_KEY = "access-token"  # noqa: S105 - the purpose of the key that signs them


@dataclass(frozen=True, slots=True)
class FhirParts:
    """endpoint: None where no client can have a token. access: who lets callers of the FHIR API in."""

    fhir: "Fhir"
    access: Access
    endpoint: Endpoint | None


def clients_of(house: House) -> Clients | None:
    """Return what the clients file says; None without one. The settings have read it before."""
    path = house.settings.fhir_clients_file
    return None if path is None else read(path, production=house.settings.profile == "production")


def mint_of(house: House) -> Mint:
    """Return what makes and reads access tokens: the same on every machine with the same secret."""
    key = derived_key(house.key, ACCESS_TOKEN_KEY)
    return Mint(key, issuer=house.base_url, audience=f"{house.base_url}/fhir")


def fhir_parts(house: House, bearer_token: str | None, engine: Engine) -> FhirParts:
    """Return the FHIR API's collaborators.

    bearer_token: the operator's; None leaves it open (development). engine: runs models again for `$ai-replay`.
    """
    from consilium.recalling import RecallDesk  # noqa: PLC0415
    from fhir_adapters.rest import Fhir  # noqa: PLC0415
    from fhir_adapters.validation.profiles import profiles_in, shipped  # noqa: PLC0415

    access = access_of(house, bearer_token)
    fhir = Fhir(
        db=house.db,
        now=house.now,
        new_id=_new_id,
        page_key=derived_key(house.key, "page-token"),
        base_url=f"{house.base_url}/fhir",
        access=access,
        log=AccessLog(house.db, house.trail.keep),
        consents=house.consents,
        desk=RecallDesk(engine, house.now),
        endpoints=house.settings.endpoints,
        profiles=profiles_in(folder) if (folder := house.settings.profiles_dir) else shipped(),
        bulk=Bulk(
            blobs=lambda: house.blobs,
            life_s=house.settings.export_life_s,
            most_of_a_client=house.settings.exports_per_client,
            needs_token=access is not OPEN,
        ),
    )
    return FhirParts(fhir, access, endpoint_of(house, clients_of(house), RevokedTokens(house.db, house.now)))


def access_of(house: House, bearer_token: str | None) -> Access:
    """Return who lets callers in, and knows what they may do. bearer_token: as for `fhir_parts`."""
    clients = clients_of(house)
    if clients is None and bearer_token is None:
        return OPEN
    return TokenAccess(
        clients=clients,
        mint=mint_of(house),
        revoked=RevokedTokens(house.db, house.now),
        now=house.now,
        refused=_refusals(house).record,
        configuration=None if clients is None else smart_configuration(house.base_url),
        bearer=bearer_token,
        open_to_all=bearer_token is None,
    )


def endpoint_of(house: House, clients: Clients | None, revoked: RevokedTokens) -> Endpoint | None:
    """Return the token endpoint; None where no client can have a token."""
    if clients is None:
        return None
    return Endpoint(
        url=f"{house.base_url}/oauth2/token",
        parts=Doorkeeping(clients, KeyRing(clients.every, KeyFetcher(clients.every)), SeenTokens(house.db)),
        mint=mint_of(house),
        revoked=revoked,
        now=house.now,
        new_id=_new_id,
        refused=_refusals(house).record,
        issued=lambda client, grant: _issued(house, client, grant),
    )


def _refusals(house: House) -> RefusalLog:
    return RefusalLog(
        house.db,
        house.now,
        lambda client, reason: metrics.TOKENS_REFUSED.labels(client, reason).inc(),
        action=ACTION,
    )


def _issued(house: House, client: Client, grant: Grant) -> None:
    table, row = audit.row_of(
        at=house.now(),
        action="token-issued",
        outcome="success",
        actor=f"client:{client.name}",
        subject=grant.token_id,
        detail={**grant.as_json()},
    )
    with house.db.append() as add:
        add(table, [row])


def _new_id() -> str:
    return str(uuid.uuid4())
