"""Media types (R4 3.1.0.1.10): JSON in, JSON out, and a clear no to anything else."""

from collections.abc import Iterable

from flask import Request
from werkzeug.exceptions import NotAcceptable, RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.http import parse_options_header

from fhir_adapters.strict_json import MAX_BYTES

JSON_TYPES = frozenset({"application/fhir+json", "application/json", "text/json"})
_ACCEPTED = JSON_TYPES | {"*/*", "application/*"}
_FORMATS = JSON_TYPES | {"json"}
FORM = "application/x-www-form-urlencoded"
READS_JSON = "a resource is read as application/fhir+json, FHIR 4.0, in UTF-8 and not compressed"
READS_FORM = f"a search by POST is read as {FORM}, not compressed"


def require_json_answer(request: Request, formats: Iterable[str]) -> None:
    """Raise NotAcceptable unless the client takes JSON of FHIR R4; `_format` beats Accept.

    formats: the values of `_format` in the request.
    """
    asked = list(formats)
    # A plus in a query that was not percent-encoded arrives as a blank: application/fhir json.
    if asked:
        if all(each.replace(" ", "+").partition(";")[0].lower() in _FORMATS for each in asked):
            return
        raise NotAcceptable
    if not request.headers.get("Accept"):
        return
    accepted = [parse_options_header(each) for each, quality in request.accept_mimetypes if quality > 0]
    if not any(name.lower() in _ACCEPTED and _is_r4(options) for name, options in accepted):
        raise NotAcceptable


def require_json_body(request: Request) -> None:
    """Raise UnsupportedMediaType unless the body says that it is JSON in UTF-8, uncompressed."""
    utf8 = request.mimetype_params.get("charset", "utf-8").lower() in {"utf-8", "utf8"}
    json = request.mimetype in JSON_TYPES and _is_r4(request.mimetype_params)
    if not (utf8 and json and _is_plain(request)):
        raise UnsupportedMediaType(READS_JSON)


def read_json_body(request: Request, limit: int = MAX_BYTES) -> bytes:
    """Return the body of a write. Raises UnsupportedMediaType, and RequestEntityTooLarge beyond `limit` bytes."""
    require_json_body(request)
    return read_body(request, limit)


def read_body(request: Request, limit: int = MAX_BYTES) -> bytes:
    """Return an uncompressed body of whatever media type. Raises RequestEntityTooLarge beyond `limit` bytes."""
    if not _is_plain(request):
        raise UnsupportedMediaType("a body is read uncompressed")
    request.max_content_length = limit
    if (request.content_length or 0) > limit:
        raise RequestEntityTooLarge
    return request.get_data(cache=False)


def require_form_body(request: Request) -> None:
    """Raise UnsupportedMediaType unless the body is a form (R4 3.1.1.3: POST _search)."""
    if (request.mimetype and request.mimetype != FORM) or not _is_plain(request):
        raise UnsupportedMediaType(READS_FORM)


def preferences(request: Request) -> dict[str, str]:
    """Return the Prefer header (RFC 7240) as names and values in lower case."""
    found = {}
    for header in request.headers.getlist("Prefer"):
        for part in header.replace(";", ",").split(","):
            name, _, value = part.partition("=")
            found[name.strip().lower()] = value.strip().strip('"').lower()
    return found


def _is_plain(request: Request) -> bool:
    return request.headers.get("Content-Encoding", "identity").lower() == "identity"


def _is_r4(options: dict[str, str]) -> bool:
    return options.get("fhirVersion", options.get("fhirversion", "4.0")) in {"4.0", "4.0.1"}
