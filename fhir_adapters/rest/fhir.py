"""What every interaction works with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from flask import Response, g, request
from werkzeug.http import http_date

from clinical.clock import Clock
from clinical.errors import Denied, NotFound
from fhir_adapters.access.consents import Consents
from fhir_adapters.access.door import OPEN, Access
from fhir_adapters.access.grant import Grant
from fhir_adapters.access.restriction import restriction
from fhir_adapters.allow_list import AllowedServer
from fhir_adapters.bulk.offer import Bulk
from fhir_adapters.media_type import MEDIA_TYPE
from fhir_adapters.rest.ai.desk import Desk, NoDesk
from fhir_adapters.search.parameters import TYPES
from fhir_adapters.validation.profiles import Profiles, shipped
from record_store.accesses import AccessLog
from record_store.criteria import AllOf, Criterion
from record_store.database import Database
from record_store.resources import StoredResource
from record_store.times import from_text

Permission = Literal["c", "r", "u", "d", "s"]
CONTENT_TYPE = f"{MEDIA_TYPE}; charset=utf-8"
_CONDITIONS = frozenset({"HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_MATCH", "HTTP_IF_RANGE"})


@dataclass(frozen=True, slots=True)
class Fhir:
    """The FHIR server's collaborators.

    new_id: makes a resource id nobody has (R4 id: at most 64 of A-Z a-z 0-9 - .). page_key: signs the way to
    the next page; the same on all machines. base_url: where clients find us, "https://host/fhir".
    bulk: what `$export` works with; None where there is none.
    endpoints: where notifications of subscriptions may go. desk: what operations on AI results ask of the house.
    access: who lets callers in; everybody, unless it is given. profiles: what resources
    are judged by besides R4.
    log: where accesses are noted, None where they are not. consents: what patients have said, None where they
    are not asked.
    """

    db: Database
    now: Clock
    new_id: Callable[[], str]
    page_key: bytes = field(repr=False)
    base_url: str
    bulk: Bulk | None = None
    endpoints: tuple[AllowedServer, ...] = ()
    desk: Desk = field(default_factory=NoDesk)
    access: Access = OPEN
    profiles: Profiles = field(default_factory=shipped)
    log: AccessLog | None = None
    consents: Consents | None = None


@dataclass(frozen=True, slots=True)
class Interaction:
    """One interaction: R4's name for it (restful-interaction), and where it is found."""

    code: str
    method: str
    path: str
    answer: Callable[..., Response]


def require_type(resource_type: str) -> None:
    """Raise NotFound for a type that this server does not keep."""
    if resource_type not in TYPES:
        raise NotFound("this server keeps no such type", diagnostics=f"it keeps: {', '.join(TYPES)}")


def require_writable(resource_type: str) -> None:
    """Raise NotFound for a type that this server does not keep, Denied for one that only it writes."""
    require_type(resource_type)
    if TYPES[resource_type].read_only:
        raise Denied("only this server writes resources of this type")


def caller() -> Grant:
    """Return who calls and what it may do. Raises Denied where the blueprint's door has let nobody in."""
    grant: Grant | None = g.get("grant")
    if grant is None:
        raise Denied("authentication is required", unauthenticated=True)
    return grant


def allowed(resource_type: str, permission: Permission) -> Criterion | None:
    """Return what the caller may do with a type narrows down to: None for all of it, else a criterion to add.

    permission: SMART's letter: create, read (vread, history of one), update (patch), delete, search (history of
    a type). Raises Denied when the caller may do nothing of it.
    """
    grant = caller()
    if not grant.may(resource_type, permission):
        raise Denied("the scopes of the access token do not reach that")
    return _narrowed(grant, resource_type, permission)


def visible(resource_type: str, letters: str = "rs") -> Criterion | None:
    """Return what the caller may see of a type, as `allowed`; a criterion that nothing meets for what it may not.

    For what is answered besides what was asked for: includes, compartments, exports. letters: of SMART, one of
    which is needed.
    """
    return _narrowed(caller(), resource_type, letters)


def consented(resource_type: str) -> Criterion | None:
    """Return what consents leave the caller of a type, whatever its scopes: None for all of it."""
    consents: Consents | None = g.get("consents")
    return None if consents is None else consents.narrowed(caller(), resource_type)


def _narrowed(grant: Grant, resource_type: str, letters: str) -> Criterion | None:
    """Return what scopes and, of what is read, consents leave of a type."""
    within = restriction(grant, resource_type, letters)
    left = consented(resource_type) if set(letters) <= {"r", "s"} else None
    return within if left is None else left if within is None else AllOf((within, left))


def served(stored: StoredResource, status: int = 200) -> Response:
    """Return a version's bytes with ETag and Last-Modified (R4 3.1.0.1.3)."""
    response = Response(stored.body, status=status, content_type=CONTENT_TYPE)
    response.set_etag(str(stored.version), weak=True)
    response.headers["Last-Modified"] = http_date(from_text(stored.updated))
    # It is one person's data: no shared cache, and none that does not ask again.
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def conditional(response: Response) -> Response:
    """Return 304 instead when the client's copy is current (If-None-Match, If-Modified-Since)."""
    if not _CONDITIONS.isdisjoint(request.environ):  # few ask, and to find that out took a tenth of a read
        response.make_conditional(request.environ)
    return response
