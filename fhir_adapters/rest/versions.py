"""What every write has in common: the next version of a resource, made and stored in one transaction."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Response, request
from sqlalchemy import Connection

from clinical.errors import IncorrectInput, NotFound
from fhir_adapters.outcome import VersionConflict, body_response, outcome
from fhir_adapters.rest.accessed import note_written
from fhir_adapters.rest.fhir import Fhir, Permission, caller, served
from fhir_adapters.rest.negotiate import preferences
from fhir_adapters.rest.reach import demand_consented, demand_within, demand_writable
from fhir_adapters.search.index import Indexed, index_of
from fhir_adapters.splice import with_identity
from record_store.index_rows import IndexRows
from record_store.resource_history import Version
from record_store.resources import NewResource, StoredResource, put
from record_store.subscriptions import Wanted
from record_store.times import to_text

Json = Mapping[str, Any]

_ETAG = re.compile(r'(?:W/)?"([0-9]{1,10})"')


@dataclass(frozen=True, slots=True)
class Draft:
    """A resource that is to be written, and what of it can be found: all that costs time.

    Made before the transaction where that can be: on SQLite everybody else who writes waits for it.
    """

    type: str
    data: bytes
    indexed: Indexed
    aside: Wanted | None = None


def draft(fhir: Fhir, sent: Json, data: bytes) -> Draft:
    """Return the draft of a resource. sent: what `data` says, already found valid.

    Raises IncorrectInput for a Subscription that cannot be carried out, Denied for one about what the caller may
    not read.
    """
    kind, indexed = str(sent["resourceType"]), index_of(sent, fhir.base_url)
    if kind != "Subscription":
        return Draft(kind, data, indexed)
    from fhir_adapters.subscriptions.headers import masked  # noqa: PLC0415 - only who subscribes needs them
    from fhir_adapters.subscriptions.request import wanted_by  # noqa: PLC0415

    aside = wanted_by(sent, base_url=fhir.base_url, endpoints=fhir.endpoints, grant=caller())
    return Draft(kind, masked(data), indexed, aside)


def store(
    fhir: Fhir, conn: Connection, drafted: Draft, *, resource_id: str, before: Version | None, method: str
) -> StoredResource:
    """Write `next_version` and return it as it will be served.

    Raises Denied, NotFound where the caller may not write what is there or what is to be.
    """
    demand_writable(fhir, conn, drafted.type, letter(before, method), before)
    new = next_version(fhir, drafted, resource_id=resource_id, before=before, method=method)
    demand_within(new, letter(before, method))
    put(conn, new)
    note_written(fhir, conn, [new])
    return new.stored


def next_version(
    fhir: Fhir, drafted: Draft, *, resource_id: str, before: Version | None, method: str
) -> NewResource:
    """Return the version after `before` (None: the first). The bytes are kept, but for id and meta."""
    number, updated, indexed = _number(before), to_text(fhir.now()), drafted.indexed
    return NewResource(
        type=drafted.type,
        id=resource_id,
        version=number,
        updated=updated,
        body=with_identity(drafted.data, resource_id=resource_id, version=number, updated=updated),
        index=indexed.rows,
        patient=indexed.patient,
        code=indexed.code,
        date_lo=indexed.date_lo,
        method=method,
        aside=drafted.aside,
    )


def removal(fhir: Fhir, before: Version) -> NewResource:
    """Return the version that says that the resource is gone; the earlier ones stay in its history."""
    was, updated = before.stored, to_text(fhir.now())
    return NewResource(was.type, was.id, _number(before), updated, b"", IndexRows(), method="DELETE", deleted=True)


def demand_match(before: Version | None, wanted: str | None) -> None:
    """Raise VersionConflict unless `wanted` (If-Match), where given, names the current version (R4 3.1.0.5)."""
    if wanted is None:
        return
    found = _ETAG.fullmatch(wanted.strip())
    if found is None:
        raise IncorrectInput('If-Match takes one version, as W/"3"', expression=["If-Match"])
    if before is None or before.deleted or before.stored.version != int(found[1]):
        raise VersionConflict("the resource is no longer the version that If-Match names")


def demand_turn(
    fhir: Fhir,
    conn: Connection,
    resource_type: str,
    permission: Permission,
    before: Version | None,
    wanted: str | None,
    *,
    part: bool = False,
) -> None:
    """Raise unless the caller may write after `before`, and `wanted` (If-Match) names it: as `demand_match`.

    part: only a part of it is to be changed (patch), which needs that no Consent keeps it from the caller.

    What the caller may not know of answers If-Match as what is not there does.
    """
    try:
        demand_writable(fhir, conn, resource_type, permission, before)
        if part:
            demand_consented(fhir, before)
        elif permission == "u" and before is None:
            _demand_creator(resource_type)
    except NotFound:
        demand_match(None, wanted)
        raise
    demand_match(before, wanted)


def _demand_creator(resource_type: str) -> None:
    """Raise NotFound for who may not create: 403 would tell an id that is taken, and hidden, from a free one."""
    if not caller().may(resource_type, "c"):
        raise NotFound(f"there is no {resource_type} with that id")


def location(fhir: Fhir, stored: StoredResource) -> str:
    """Return the URL of a version."""
    return f"{fhir.base_url.rstrip('/')}/{stored.type}/{stored.id}/_history/{stored.version}"


def written(fhir: Fhir, stored: StoredResource, status: int) -> Response:
    """Return the answer to a write, with the content that the client prefers (R4 3.1.0.1.7)."""
    response = served(stored, status)
    response.headers["Location"] = location(fhir, stored)
    wanted = preferences(request).get("return")
    if wanted == "minimal":
        response.data = b""
    elif wanted == "operationoutcome":
        said = outcome("informational", "the resource was stored", severity="information")
        response.data = body_response(said, status).data
    return response


def letter(before: Version | None, method: str) -> Permission:
    """Return what the caller must be allowed: an update that makes a new resource is a create as well."""
    return "c" if method == "POST" or before is None else "u"


def _number(before: Version | None) -> int:
    return 1 if before is None else before.stored.version + 1
