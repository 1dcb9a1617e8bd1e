"""patch: PATCH [base]/[type]/[id] (R4 3.1.0.6), or PATCH [base]/[type]?condition (3.1.0.6.1).

Three forms: JSON Patch (RFC 6902), JSON Merge Patch (RFC 7396), which clients such as fhirpy send as plain JSON,
and FHIRPath Patch (R4 3.1.0.6.3), a Parameters. In a Bundle the former two stand in a Binary.
The result is checked as any other write. Numbers keep every digit, and members their order.
"""

from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any

import jsonpatch
import jsonpointer
from flask import Response, request
from sqlalchemy import Connection
from werkzeug.exceptions import UnsupportedMediaType

from clinical.errors import IncorrectInput, NotFound
from fhir_adapters.media_type import MEDIA_TYPE
from fhir_adapters.outcome import Gone
from fhir_adapters.rest.condition import meant
from fhir_adapters.rest.fhir import Fhir, Interaction, require_writable
from fhir_adapters.rest.fhirpath_patch import fhirpath_patch
from fhir_adapters.rest.negotiate import read_body
from fhir_adapters.rest.versions import Draft, demand_turn, draft, store, written
from fhir_adapters.search.index import ID
from fhir_adapters.strict_json import load_object, loads
from fhir_adapters.validation.refusal import demand_valid
from fhir_adapters.verbatim import dumps
from record_store.resource_history import Version, latest
from record_store.resources import lock_key

Json = dict[str, Any]

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = frozenset({"application/merge-patch+json", "application/json"})
MAX_OPERATIONS = 1000
MAX_COPIED = 256 * 1024  # bytes, by all copies of a patch: thirty of a list into itself make gigabytes


def answer(fhir: Fhir, resource_type: str, resource_id: str) -> Response:
    """Change the resource and return its next version; 404 when there is none."""
    require_writable(resource_type)
    return _patched(
        fhir,
        resource_type,
        lambda conn: latest(conn, resource_type, resource_id) if ID.fullmatch(resource_id) else None,
    )


def answer_conditional(fhir: Fhir, resource_type: str) -> Response:
    """Change the one match; 404 when there is none."""
    require_writable(resource_type)
    condition = request.query_string.decode()

    def match(conn: Connection) -> Version:
        found = meant(conn, resource_type, condition, fhir.base_url)
        if found is None:
            raise NotFound(f"the condition matches no {resource_type}")
        return found

    return _patched(fhir, resource_type, match)


def _patched(fhir: Fhir, resource_type: str, find: Callable[[Connection], Version | None]) -> Response:
    """Change what `find` finds. It is made on a snapshot: within the transaction everybody else who writes waits.

    Who was faster meanwhile has made another version, and then it is made again, of that one.
    """
    media_type, data = request.mimetype, read_body(request)
    change_of(media_type, data)  # refused before anything is looked up

    def turn(conn: Connection) -> Version | None:
        before = find(conn)
        # Before the patch is tried: whether its tests hold would tell what the resource says.
        demand_turn(fhir, conn, resource_type, "u", before, request.headers.get("If-Match"), part=True)
        return before

    def made(before: Version | None) -> Draft:
        # Anew each time: what a patch has put into a resource is a part of the patch, and is changed with it.
        body, changed = changed_by(fhir, resource_type, before, change_of(media_type, data))
        return draft(fhir, changed, body)

    with fhir.db.read() as conn:
        seen = turn(conn)
    drafted = made(seen)
    with fhir.db.write() as conn:
        found = find(conn)
        if found is not None:
            lock_key(conn, f"{resource_type}/{found.stored.id}")
        before = turn(conn)
        if before is None:
            raise NotFound(f"there is no {resource_type} with that id")
        if seen is None or before.stored.version != seen.stored.version or before.stored.id != seen.stored.id:
            drafted = made(before)
        stored = store(fhir, conn, drafted, resource_id=before.stored.id, before=before, method="PATCH")
    return written(fhir, stored, 200)


def change_of(media_type: str, data: bytes) -> Callable[[Json], object]:
    """Return what the bytes of a patch do to a resource. Raises UnsupportedMediaType, IncorrectInput."""
    if media_type == JSON_PATCH:
        return _json_patch(loads(data, decimals=True))
    if media_type in MERGE_PATCH or media_type == MEDIA_TYPE:
        sent = load_object(data, decimals=True)
        if sent.get("resourceType") == "Parameters":  # nobody keeps one here: it can only be a FHIRPath Patch
            demand_valid(load_object(data), "Parameters")
            return fhirpath_patch(sent)
        if media_type in MERGE_PATCH:
            return lambda resource: merged(resource, sent)
    raise UnsupportedMediaType(
        f"a patch is read as {JSON_PATCH}, application/merge-patch+json, or a Parameters as {MEDIA_TYPE}"
    )


def change_of_entry(resource: Mapping[str, Any], data: bytes) -> Callable[[Json], object]:
    """Return what the resource of a Bundle's PATCH does. resource: what `data` says, a valid resource."""
    try:
        return change_of(*patch_in(resource, data))
    except UnsupportedMediaType as error:
        raise IncorrectInput(str(error.description), expression=["resource.contentType"]) from None


def patch_in(resource: Mapping[str, Any], data: bytes) -> tuple[str, bytes]:
    """Return (media type, bytes) of the patch that a Bundle's entry holds (R4 3.1.0.11.3)."""
    if resource.get("resourceType") == "Binary":
        kind = str(resource.get("contentType", "")).partition(";")[0].strip()
        try:
            return kind, b64decode(str(resource.get("data", "")))
        except ValueError:
            raise IncorrectInput("the data are Base64", expression=["resource.data"]) from None
    if resource.get("resourceType") != "Parameters":
        raise IncorrectInput("a PATCH of a Bundle is a Parameters or a Binary", expression=["resource"])
    return MEDIA_TYPE, data


def _json_patch(operations: object) -> Callable[[Json], object]:
    if not isinstance(operations, list) or len(operations) > MAX_OPERATIONS:
        raise IncorrectInput(f"a JSON Patch is a list of up to {MAX_OPERATIONS} operations (RFC 6902)")
    try:
        patches = [jsonpatch.JsonPatch([one]) for one in operations]
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError):
        raise IncorrectInput("that is no JSON Patch (RFC 6902)") from None

    def apply(resource: Json) -> object:
        done: object = resource
        left = MAX_COPIED
        try:
            for one, patch in zip(operations, patches, strict=True):
                if one["op"] == "copy":
                    left -= len(dumps(jsonpointer.resolve_pointer(done, one["from"])))
                    _demand_room(left)
                done = patch.apply(done, in_place=True)
        # The library's words quote the document, and it lets what Python says of odd operations through.
        except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError, KeyError, ValueError):
            raise IncorrectInput("an operation of the patch cannot be done, or its test failed") from None
        return done

    return apply


def _demand_room(left: int) -> None:
    if left < 0:
        raise IncorrectInput(f"the copies of a patch come to more than {MAX_COPIED} bytes")


def merged(target: object, patch: object) -> object:
    """Return the target changed as RFC 7396 section 2 has it: null removes, lists are replaced whole."""
    if not isinstance(patch, Mapping):
        return patch
    made = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = merged(made.get(name), value)
    return made


def changed_by(
    fhir: Fhir, resource_type: str, before: Version | None, change: Callable[[Json], object]
) -> tuple[bytes, Json]:
    """Return the changed resource, as bytes and as the store reads it.

    Raises NotFound where there is none, InvalidResource for what comes out.
    """
    if before is None:
        raise NotFound(f"there is no {resource_type} with that id")
    if before.deleted:
        raise Gone(f"that {resource_type} was deleted")
    was = load_object(before.stored.body, decimals=True)
    try:
        data = dumps(change(dict(was)))
    except RecursionError:  # each operation may put one thing deeper into another
        raise IncorrectInput("the patch nests the resource too deeply") from None
    changed = load_object(data)
    demand_valid(changed, resource_type, fhir.profiles)
    if changed.get("id") != before.stored.id:
        raise IncorrectInput("a patch may not change the id", expression=[f"{resource_type}.id"])
    return data, changed


INTERACTION = Interaction("patch", "PATCH", "/<resource_type>/<resource_id>", answer)
CONDITIONAL = Interaction("patch", "PATCH", "/<resource_type>", answer_conditional)
