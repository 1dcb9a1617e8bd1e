"""A resource of ours as another server is given it: its patient as known there, its links still leading somewhere.

The patient decides: nobody is matched but by an identifier (system and value), and a resource that names a second
patient is not sent at all.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from fhir_adapters.remote.problem import RemoteProblem
from fhir_adapters.remote.server import RemoteServer
from fhir_adapters.search.escapes import escaped
from fhir_adapters.search.index import target_of
from fhir_adapters.strict_json import load_object
from fhir_adapters.verbatim import dumps

Json = dict[str, Any]
Key = tuple[str, str]
_OURS = ("versionId", "lastUpdated")
NOBODY = "the patient is not there: no identifier in common"
SEVERAL = "the patient's identifier means several patients there"


def patient_of(resource: Json, base_url: str) -> str | None:
    """Return the id of the one Patient of ours that a resource names, None when it names none.

    Raises RemoteProblem when it names several.
    """
    named = {own for kind, own in links_of(resource, base_url) if kind == "Patient"}
    if len(named) > 1:
        raise RemoteProblem("it names more than one patient")
    return next(iter(named), None)


def links_of(resource: object, base_url: str) -> Iterator[Key]:
    """Yield (type, id) of everything of ours that a resource refers to."""
    for _, reference in _references(resource):
        kind, own = target_of(reference, base_url)
        if kind:
            yield kind, own


def patient_there(remote: RemoteServer, patient: Json) -> str:
    """Return the id there of a Patient of ours, by its identifiers. Raises RemoteProblem when it is not one."""
    found: set[str] = set()
    for identifier in patient.get("identifier", ()):
        system, value = identifier.get("system"), identifier.get("value")
        if not system or not value:
            continue
        asked = f"{_escaped(system)}|{_escaped(value)}"
        matches = remote.search(f"Patient?identifier={asked}&_count=2")
        found |= {str(one["id"]) for one in matches if one.get("resourceType") == "Patient" and "id" in one}
    if len(found) > 1:
        raise RemoteProblem(SEVERAL)
    if not found:
        raise RemoteProblem(NOBODY, may_pass=True)
    return found.pop()


def copy_of(body: bytes, base_url: str, there: Mapping[Key, str], remote_id: str | None) -> bytes:
    """Return the resource as it is sent, digits as they are.

    there: (type, id) of ours -> id there. What is not there is named by its address here. remote_id: its own id
    there, None for a new one; the identifier (base_url, Type/id) says whose copy it is.
    """
    resource = load_object(body, decimals=True)
    own = f"{resource['resourceType']}/{resource['id']}"
    for holder, reference in list(_references(resource)):
        kind, target = target_of(reference, base_url)
        if kind:
            known = there.get((kind, target))
            holder["reference"] = f"{kind}/{known}" if known else f"{base_url.rstrip('/')}/{kind}/{target}"
    meta = {name: value for name, value in resource.get("meta", {}).items() if name not in _OURS}
    identifier = {"system": base_url, "value": own}
    kept = [one for one in resource.get("identifier", ()) if one != identifier]
    head: Json = {"resourceType": resource["resourceType"]}
    if remote_id is not None:
        head["id"] = remote_id
    if meta:
        head["meta"] = meta
    rest = {name: value for name, value in resource.items() if name not in ("resourceType", "id", "meta")}
    return dumps(head | rest | {"identifier": [*kept, identifier]})


def condition_of(kind: str, own: str, base_url: str) -> str:
    """Return the search that finds our copy there."""
    return f"identifier={_escaped(base_url)}|{_escaped(f'{kind}/{own}')}"


def _references(value: object) -> Iterator[tuple[Json, str]]:
    if isinstance(value, dict):
        said = value.get("reference")
        if isinstance(said, str):
            yield value, said
        for one in value.values():
            yield from _references(one)
    elif isinstance(value, list):
        for one in value:
            yield from _references(one)


def _escaped(text: str) -> str:
    """Return text as a search parameter's value has it, in a query string."""
    return escaped(text).replace("&", "%26").replace("+", "%2B")
