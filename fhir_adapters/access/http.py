"""The routes of the token endpoint, introspection and revocation: POST /oauth2/... (docs/access.md)."""

from collections.abc import Callable, Mapping

import orjson
from flask import Blueprint, Response, request

from fhir_adapters.access import token_endpoint
from fhir_adapters.access.oauth import MAX_FORM_BYTES, OAuthError
from fhir_adapters.access.token_endpoint import Endpoint, Pairs
from fhir_adapters.rest.negotiate import FORM

ROOT = "/oauth2"
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}  # RFC 6749 5.1


def blueprint(endpoint: Endpoint, is_operator: Callable[[str], bool]) -> Blueprint:
    """Return the blueprint at /oauth2. is_operator: tells whether a text is the operator's bearer token."""
    routes = Blueprint("oauth2", __name__, url_prefix=ROOT)

    @routes.post("/token")
    def token() -> Response:
        return _answer(token_endpoint.token(endpoint, _pairs()))

    @routes.post("/introspect")
    def introspect() -> Response:
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        operator = scheme.lower() == "bearer" and is_operator(shown.strip())
        return _answer(token_endpoint.introspection(endpoint, _pairs(), operator=operator))

    @routes.post("/revoke")
    def revoke() -> Response:
        token_endpoint.revocation(endpoint, _pairs())
        return _answer({})

    routes.register_error_handler(OAuthError, _refused)
    return routes


def _pairs() -> Pairs:
    plain = request.headers.get("Content-Encoding", "identity").lower() == "identity"
    if request.mimetype != FORM or not plain or (request.content_length or 0) > MAX_FORM_BYTES:
        raise OAuthError("invalid_request")
    request.max_content_length = request.max_form_memory_size = MAX_FORM_BYTES
    return list(request.form.items(multi=True))


def _refused(error: OAuthError) -> Response:
    answer = _answer({"error": error.error}, error.status)
    if error.retry_after_s is not None:
        answer.headers["Retry-After"] = str(error.retry_after_s)
    return answer


def _answer(body: Mapping[str, object], status: int = 200) -> Response:
    return Response(orjson.dumps(body), status=status, content_type="application/json", headers=_NO_STORE)
