"""The fields of a context: what each must be, and what is read out of it.

A reader raises IncorrectInput with the JSON path of what is wrong; the value that was sent is never repeated.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cds.hooks.contexts import Reference, Resource, Resources, is_id
from clinical.errors import IncorrectInput

MAX_LISTED = 1000  # references or tasks in one list: no clinician signs more at once
_REFERENCE = re.compile(r"([A-Z][A-Za-z]{1,63})/([A-Za-z0-9\-.]{1,64})")
_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
_USERS = ("Practitioner", "PractitionerRole")


@dataclass(frozen=True, slots=True)
class ContextField:
    """One field of a context.

    name: on the wire. attribute: of the typed context. read: (value, JSON path) -> what is kept.
    fhir: it holds FHIR resources, which then must be of the context's patient and of one FHIR version.
    """

    name: str
    attribute: str
    required: bool
    read: Callable[[object, str], Any]
    fhir: bool = False


def wrong(path: str, expected: str) -> IncorrectInput:
    """Return the refusal of what stands at `path`."""
    return IncorrectInput(f"{path}: {expected}", expression=[path])


def patient_id() -> ContextField:
    """Return the field that every hook has."""
    return ContextField("patientId", "patient_id", required=True, read=_bare_id)


def encounter_id(*, required: bool = False) -> ContextField:
    """Return the field of the encounter."""
    return ContextField("encounterId", "encounter_id", required, _bare_id)


def user_id(*types: str, required: bool = True) -> ContextField:
    """Return the field of who acts. types: what a user of this hook may be."""
    allowed = types or _USERS

    def read(value: object, path: str) -> Reference:
        reference = _as_reference(value)
        if reference is None or reference.type not in allowed:
            raise wrong(path, "expected a reference such as " + " or ".join(f"{name}/id" for name in allowed))
        return reference

    return ContextField("userId", "user", required, read)


def reference(name: str, attribute: str, *, required: bool = True) -> ContextField:
    """Return a field that is one `Type/id`."""
    return ContextField(name, attribute, required, read_reference)


def references(name: str, attribute: str, *, required: bool = True) -> ContextField:
    """Return a field that is a list of `Type/id`, at least one."""

    def read(value: object, path: str) -> tuple[Reference, ...]:
        if not isinstance(value, list) or not 0 < len(value) <= MAX_LISTED:
            raise wrong(path, f"expected a list of 1 to {MAX_LISTED} references")
        return tuple(read_reference(item, f"{path}[{number}]") for number, item in enumerate(value))

    return ContextField(name, attribute, required, read)


def bundle(name: str, attribute: str, *types: str, required: bool = True) -> ContextField:
    """Return a field that is a Bundle. types: of the resources in it, any when none is named."""

    def read(value: object, path: str) -> Resources:
        whole = read_resource(value, path, ("Bundle",))
        entries = whole.get("entry", [])
        if not isinstance(entries, list):
            raise wrong(f"{path}.entry", "expected a list")
        return tuple(_entry(entry, f"{path}.entry[{number}]", types) for number, entry in enumerate(entries))

    return ContextField(name, attribute, required, read, fhir=True)


def resource(name: str, attribute: str, *types: str, required: bool = True) -> ContextField:
    """Return a field that is one resource of one of these types."""
    return ContextField(
        name, attribute, required, lambda value, path: read_resource(value, path, types), fhir=True
    )


def resources(name: str, attribute: str, *types: str, required: bool = True) -> ContextField:
    """Return a field that is a list of resources of these types."""

    def read(value: object, path: str) -> Resources:
        if not isinstance(value, list) or len(value) > MAX_LISTED:
            raise wrong(path, f"expected a list of at most {MAX_LISTED} resources")
        return tuple(read_resource(item, f"{path}[{number}]", types) for number, item in enumerate(value))

    return ContextField(name, attribute, required, read, fhir=True)


def read_reference(value: object, path: str) -> Reference:
    """Return a relative reference (invariant ord-1)."""
    found = _as_reference(value)
    if found is None:
        raise wrong(path, "expected a relative reference, Type/id")
    return found


def read_resource(value: object, path: str, types: tuple[str, ...]) -> Resource:
    """Return a resource of one of these types; of any type when none is named."""
    kind = value.get("resourceType") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        raise wrong(path, "expected a FHIR resource")
    if types and kind not in types:
        raise wrong(f"{path}.resourceType", "expected " + " or ".join(types))
    return value


def _entry(entry: object, path: str, types: tuple[str, ...]) -> Resource:
    if not isinstance(entry, dict):
        raise wrong(path, "expected an object with a resource")
    found = read_resource(entry.get("resource"), f"{path}.resource", types)
    if found["resourceType"] == "Bundle":
        raise wrong(f"{path}.resource.resourceType", "expected no Bundle within the Bundle")
    return found


def _bare_id(value: object, path: str) -> str:
    if not is_id(value):
        raise wrong(path, "expected a FHIR id, without its type")
    return str(value)


def _as_reference(value: object) -> Reference | None:
    match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return Reference(match[1], match[2]) if match and is_id(match[2]) else None
