"""CDS Hooks over HTTP: routes and door. Every answer that is not 200 is an OperationOutcome, but for a bare 401.

CORS stays closed: no Access-Control header is ever sent, and OPTIONS is a 405.
"""

import time
import traceback
from collections.abc import Mapping, Sequence

import orjson
import structlog
from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException, UnsupportedMediaType

from cds.discovery import discovery_of
from cds.pipeline import Course, answer_call
from cds.service import CdsContext, Service, by_id
from clinical.errors import ClinicalError, Denied, Fault, IncorrectInput, NotFound
from fhir_adapters import outcome, strict_json

MAX_BODY_BYTES = 5 * 1024 * 1024
ROOT = "/cds-services"
_JSON = "application/json"
_READS = "a hook call is read as application/json, in UTF-8 and not compressed"
# Every method is routed here, so that 404 and 405 are ours to word and OPTIONS opens nothing.
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

log = structlog.get_logger()


def blueprint(services: Sequence[Service], context: CdsContext) -> Blueprint:
    """Return the routes below /cds-services.

    Raises Fault when two services have the same id and hook.
    """
    table = by_id(services)
    discovery = discovery_of(services)
    routes = Blueprint("cds", __name__)

    def discover() -> Response:
        if request.method not in {"GET", "HEAD"}:
            return outcome.http_response(405, {"Allow": "GET, HEAD"})
        context.door.admit(_headers(), context.base_url + ROOT)
        if request.if_none_match.contains_weak(discovery.etag):
            return Response(status=304, headers=discovery.headers)
        return Response(discovery.body, headers=discovery.headers, mimetype=_JSON)

    def call(service_id: str) -> Response:
        hooks = _known(table, service_id)
        if request.method != "POST":
            return outcome.http_response(405, {"Allow": "POST"})
        started = time.monotonic()
        caller = context.door.admit(_headers(), f"{context.base_url}{ROOT}/{service_id}")
        with context.bulkhead.enter(caller.issuer):
            body = answer_call(Course(service_id, caller, started), hooks, _body, context)
        return Response(orjson.dumps(body), mimetype=_JSON)

    def feedback(service_id: str) -> Response:
        _known(table, service_id)
        if context.feedback is None:
            return outcome.http_response(404)
        if request.method != "POST":
            return outcome.http_response(405, {"Allow": "POST"})
        caller = context.door.admit(_headers(), f"{context.base_url}{ROOT}/{service_id}/feedback")
        context.feedback.take(service_id, caller, _body())
        return Response(b"{}", mimetype=_JSON)

    def nowhere(rest: str = "") -> Response:  # noqa: ARG001 - the router passes it
        return outcome.http_response(404)

    rules = (
        (ROOT, discover),
        (f"{ROOT}/<service_id>", call),
        (f"{ROOT}/<service_id>/feedback", feedback),
        (f"{ROOT}/", nowhere),
        (f"{ROOT}/<path:rest>", nowhere),
    )
    for rule, view in rules:
        routes.add_url_rule(rule, view_func=view, methods=_METHODS, provide_automatic_options=False)
    routes.register_error_handler(Exception, _problem)
    return routes


def _known(table: Mapping[str, dict[str, Service]], service_id: str) -> dict[str, Service]:
    hooks = table.get(service_id)
    if hooks is None:
        raise NotFound("there is no CDS service with this id")
    return hooks


def _headers() -> dict[str, str]:
    return dict(request.headers.items())


def _body() -> dict[str, object]:
    """Return the JSON object that was sent. Raises IncorrectInput, or the HTTP layer's 413 and 415."""
    plain = request.headers.get("Content-Encoding", "identity").lower() == "identity"
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype != _JSON or not plain or charset not in {"utf-8", "utf8"}:
        raise UnsupportedMediaType(_READS)
    request.max_content_length = MAX_BODY_BYTES
    try:
        data = request.get_data(cache=False)
    except OSError:
        # gunicorn's words for a body whose framing is broken or that never came.
        raise IncorrectInput("the body did not arrive whole") from None
    return strict_json.load_object(data, max_bytes=MAX_BODY_BYTES)


def _problem(error: Exception) -> Response:
    """The outer edge of the hooks: everything that was not answered is said as an OperationOutcome."""
    if isinstance(error, Denied) and error.unauthenticated:
        # J5: a caller that is not let in learns nothing about why.
        return Response(status=401, headers={"WWW-Authenticate": "Bearer"})
    if isinstance(error, ClinicalError):
        return outcome.response(error)
    if isinstance(error, HTTPException):
        return outcome.http_response(error.code or 500, text=_READS if error.code == 415 else None)
    # The text of an unforeseen error may quote a patient's data; its kind and place cannot.
    where = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-4:]]
    log.error("hook failed", kind=type(error).__name__, where=where)
    return outcome.response(Fault("the service failed; there is no guidance for this call"))
