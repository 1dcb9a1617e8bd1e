"""Whose a subscription is: what its owner may read decides, when it subscribes and again at each delivery."""

import json
from collections.abc import Callable, Iterable

from clinical.errors import Denied
from fhir_adapters.access.consents import Consents
from fhir_adapters.access.door import Access
from fhir_adapters.access.grant import Grant
from fhir_adapters.access.restriction import restriction
from fhir_adapters.search.indexed_version import indexed
from record_store.criteria import AllOf
from record_store.criteria_met import met
from record_store.resource_history import Version


def owned_by(grant: Grant, types: Iterable[str]) -> str:
    """Return a caller as the owner of a subscription about these types. Raises Denied when it may not read one."""
    if not all(grant.may(one, "r") for one in types):
        raise Denied("the scopes of the access token do not reach what the subscription is about")
    return json.dumps(grant.as_json())


def may_see_of(access: Access, base_url: str, consents: Consents | None) -> Callable[[str, Version], bool]:
    """Return what tells whether an owner may read a version today: not when its client is registered no more.

    consents: what patients have said; None where nobody asks.
    """

    def may_see(owner: str, found: Version) -> bool:
        grant = access.grant_of(json.loads(owner)) if owner else None
        if grant is None or not grant.may(found.stored.type, "r"):
            return False
        kind = found.stored.type
        left = None if consents is None else consents.narrowed(grant, kind)
        within = [one for one in (restriction(grant, kind, "r"), left) if one is not None]
        return not within or (not found.deleted and met(AllOf(tuple(within)), indexed(found, base_url)))

    return may_see
