"""The hooks that are understood, and what the context of each must hold (HL7/cds-hooks-library).

A hook is one row. Issue 4 adds the rest of the library: fields of other kinds become other checks here.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")  # R4 datatype `id`
_REFERENCE = re.compile(r"([A-Z][A-Za-z]{1,63})/([A-Za-z0-9\-.]{1,64})")


def is_id(value: object) -> bool:
    """True for a bare FHIR id. "." and ".." fit the datatype but would change the path of a URL."""
    return isinstance(value, str) and bool(_ID.fullmatch(value)) and value not in {".", ".."}


@dataclass(frozen=True, slots=True)
class ContextField:
    """One field of a context. expected: what is said when `good` refuses the value; never the value."""

    name: str
    required: bool
    expected: str
    good: Callable[[object], bool]


@dataclass(frozen=True, slots=True)
class Hook:
    """One hook definition. version: of the published definition, as discovery announces it."""

    name: str
    version: str
    fields: tuple[ContextField, ...]


def _bare_id(name: str, *, required: bool = True) -> ContextField:
    return ContextField(name, required, "a FHIR id, without its type", is_id)


def _user(*types: str) -> ContextField:
    def good(value: object) -> bool:
        match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
        return match is not None and match.group(1) in types and is_id(match.group(2))

    return ContextField("userId", True, "a reference such as " + " or ".join(f"{name}/id" for name in types), good)


PATIENT_VIEW = Hook(
    "patient-view",
    "1.0",
    (
        _user("Practitioner", "PractitionerRole", "Patient", "RelatedPerson"),
        _bare_id("patientId"),
        _bare_id("encounterId", required=False),
    ),
)
HOOKS: Mapping[str, Hook] = MappingProxyType({hook.name: hook for hook in (PATIENT_VIEW,)})
