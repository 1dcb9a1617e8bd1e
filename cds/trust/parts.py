"""The door that a site's settings ask for."""

from cds.stages import Doorkeeper
from cds.trust.door import BearerDoor, OpenDoor, TokenDoor
from cds.trust.issuer import TrustFile
from clinical.clock import Clock
from clinical.errors import Fault
from fhir_adapters.trust.key_fetch import KeyFetcher
from fhir_adapters.trust.keys import KeyRing
from fhir_adapters.trust.refusal_log import Observe, RefusalLog, observe_nothing
from record_store.database import Database
from record_store.seen_tokens import SeenTokens


def door(
    *,
    trust: TrustFile | None,
    bearer: str | None,
    open_to_all: bool,
    db: Database,
    now: Clock,
    observe: Observe = observe_nothing,
) -> Doorkeeper:
    """Return who lets callers in.

    Issuers go before the bearer token: then the hooks take nothing but their tokens. open_to_all: the development
    profile; a bearer token closes it as well, so that strict trust can be tried there.

    Raises Fault when nothing is configured and nobody said that the door may stand open.
    """
    audit = RefusalLog(db, now, observe)
    if trust is not None:
        keys = KeyRing(trust.issuers, KeyFetcher(trust.issuers))
        by_token = TokenDoor(trust, keys, SeenTokens(db), now, audit)
        return OpenDoor(by_token) if open_to_all and bearer is None else by_token
    if bearer is not None:
        return BearerDoor(bearer, audit)
    if not open_to_all:
        raise Fault("the hooks would be open to everybody")
    return OpenDoor()
