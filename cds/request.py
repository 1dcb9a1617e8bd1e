"""The body of a hook call, checked as CDS Hooks 3.0 ("HTTP request") says, as a frozen value.

What is wrong is named by its JSON path and by what was expected; a value that was sent is never repeated.
Unknown fields and `extension` objects are let through anywhere: clients in the field send both.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cds.hooks import HOOKS, Context, Hook
from clinical.errors import IncorrectInput

JsonObject = Mapping[str, object]

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TOKEN = re.compile(r"[!-~]{1,16384}")  # visible ASCII: anything else could end the header it is sent in
_NOTHING: JsonObject = {}


@dataclass(frozen=True, slots=True)
class Authorization:
    """What `fhirAuthorization` grants for this one call. The token is never stored, shared or logged.

    scope: as sent, SMART v1 (`patient/*.read`) or v2 (`patient/*.rs`): the FHIR server judges it, not we.
    subject: the client id that was granted. patient_id: whose data alone may be read; None when no word of it.
    """

    access_token: str = field(repr=False)
    expires_in_s: int
    scope: str
    subject: str
    patient_id: str | None = field(repr=False)
    extension: JsonObject = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class HookRequest:
    """One call of a service.

    hook_instance: the client's UUID of this occurrence, in lower case. context: everything that was sent in
    it, checked as the hook asks, an older form of it with the present one beside. typed: the same as a value.
    prefetch: as sent, its values not yet looked at (`cds.prefetch` does). extension: as sent, {} without one.
    """

    hook: Hook
    hook_instance: str
    context: JsonObject = field(repr=False)
    patient_id: str = field(repr=False)
    fhir_server: str | None
    authorization: Authorization | None
    prefetch: JsonObject = field(repr=False)
    typed: Context = field(repr=False)
    extension: JsonObject = field(default_factory=dict, repr=False)


def parse_request(body: JsonObject, hooks: Mapping[str, Hook] = HOOKS) -> HookRequest:
    """Return the call in a decoded body. hooks: those that may be called, by name.

    Raises IncorrectInput with the JSON path of the first thing that is wrong (HTTP 400).
    """
    extension = _object(body, "extension", "extension")
    hook = hooks.get(_text(body, "hook", "hook"))
    if hook is None:
        raise _wrong("hook", "expected " + " or ".join(hooks))
    instance = _text(body, "hookInstance", "hookInstance")
    if not _UUID.fullmatch(instance):
        raise _wrong("hookInstance", "expected a UUID")
    server = _server(body)
    sent = _object(body, "context", "context", required=True)
    _object(sent, "extension", "context.extension")
    context, typed = hook.read(sent, server)
    request = HookRequest(
        hook=hook,
        hook_instance=instance.lower(),
        context=context,
        patient_id=typed.patient_id,
        fhir_server=server,
        authorization=_authorization(body),
        prefetch=_object(body, "prefetch", "prefetch"),
        typed=typed,
        extension=extension,
    )
    _check_grant(request)
    return request


def _check_grant(request: HookRequest) -> None:
    granted = request.authorization
    if granted is not None and request.fhir_server is None:
        raise _wrong("fhirServer", "required when fhirAuthorization is sent")
    if granted is not None and granted.patient_id not in (None, request.patient_id):
        raise _wrong("fhirAuthorization.patient", "expected the patient of context.patientId")


def _wrong(path: str, expected: str) -> IncorrectInput:
    return IncorrectInput(f"{path}: {expected}", expression=[path])


def _text(parent: JsonObject, key: str, path: str) -> str:
    value = parent.get(key)
    if not isinstance(value, str) or not value:
        raise _wrong(path, "required, a string that is not empty")
    return value


def _object(parent: JsonObject, key: str, path: str, *, required: bool = False) -> JsonObject:
    if key not in parent and not required:
        return _NOTHING
    value = parent.get(key)
    if not isinstance(value, dict):
        raise _wrong(path, "expected a JSON object")
    return value


def _server(body: JsonObject) -> str | None:
    """Return `fhirServer` as sent. Whether we talk to it is the allow-list's matter, not this one's."""
    if "fhirServer" not in body:
        return None
    address = _text(body, "fhirServer", "fhirServer")
    try:
        parts = urlsplit(address)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.netloc or len(address) > 2048:
        raise _wrong("fhirServer", "expected an absolute http or https URL")
    return address


def _authorization(body: JsonObject) -> Authorization | None:
    if "fhirAuthorization" not in body:
        return None
    path = "fhirAuthorization"
    granted = _object(body, path, path)
    token = _text(granted, "access_token", f"{path}.access_token")
    if not _TOKEN.fullmatch(token):
        raise _wrong(f"{path}.access_token", "expected visible ASCII characters")
    if _text(granted, "token_type", f"{path}.token_type") != "Bearer":
        raise _wrong(f"{path}.token_type", "expected Bearer")
    life = granted.get("expires_in")
    if not isinstance(life, int) or isinstance(life, bool) or life < 0:
        raise _wrong(f"{path}.expires_in", "required, a whole number of seconds")
    patient = _text(granted, "patient", f"{path}.patient") if "patient" in granted else None
    scope, subject = (_text(granted, key, f"{path}.{key}") for key in ("scope", "subject"))
    return Authorization(token, life, scope, subject, patient, _object(granted, "extension", f"{path}.extension"))
