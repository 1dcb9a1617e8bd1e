"""CDS Hooks over HTTP: discovery and calls. Every answer that is not 200 is an OperationOutcome.

CORS stays closed: no Access-Control header is ever sent, and OPTIONS is a 405.
"""

import hashlib
import traceback
from collections.abc import Sequence
from time import perf_counter

import orjson
import structlog
from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException, UnsupportedMediaType

from cds.deadline import deadline_in
from cds.prefetch import gather
from cds.request import parse_request
from cds.service import CdsContext, HookCall, Service, by_id
from clinical.errors import Category, ClinicalError, Fault, IncorrectInput, NotFound
from fhir_adapters import outcome, strict_json

MAX_BODY_BYTES = 5 * 1024 * 1024
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
    discovery = orjson.dumps({"services": [service.describe() for service in services]})
    etag = f'"{hashlib.sha256(discovery).hexdigest()[:32]}"'
    routes = Blueprint("cds", __name__)

    def discover() -> Response:
        if request.method not in {"GET", "HEAD"}:
            return outcome.http_response(405, {"Allow": "GET, HEAD"})
        headers = {"ETag": etag, "Cache-Control": "max-age=300"}
        if request.if_none_match.contains_weak(etag.strip('"')):
            return Response(status=304, headers=headers)
        return Response(discovery, headers=headers, mimetype=_JSON)

    def call(service_id: str) -> Response:
        hooks = table.get(service_id)
        if hooks is None:
            raise NotFound("there is no CDS service with this id")
        if request.method != "POST":
            return outcome.http_response(405, {"Allow": "POST"})
        return _answer(service_id, hooks, context)

    def nowhere(rest: str = "") -> Response:  # noqa: ARG001 - the router passes it
        return outcome.http_response(404)

    rules = (
        ("/cds-services", discover),
        ("/cds-services/<service_id>", call),
        ("/cds-services/", nowhere),
        ("/cds-services/<path:rest>", nowhere),
    )
    for rule, view in rules:
        routes.add_url_rule(rule, view_func=view, methods=_METHODS, provide_automatic_options=False)
    routes.register_error_handler(Exception, _problem)
    return routes


def _answer(service_id: str, hooks: dict[str, Service], context: CdsContext) -> Response:
    """Do one call. The outcome is measured however it ends; an error goes on to `_problem`."""
    started, said = perf_counter(), Category.FAULT.value
    try:
        deadline = deadline_in(context.budget_s)
        hook_request = parse_request(_body())
        service = hooks.get(hook_request.hook.name)
        if service is None:
            raise IncorrectInput("hook: this service does not serve this hook", expression=["hook"])
        prefetch = gather(hook_request, service.prefetch, context.fhir, deadline)
        cards = service.answer(HookCall(hook_request, prefetch, deadline), context)
        # A card that comes late would be shown over whatever the clinician has turned to meanwhile.
        deadline.left_s()
        said = "cards" if cards else "no-cards"
        log.info(
            "hook answered",
            service=service_id,
            hook_instance=hook_request.hook_instance,
            cards=len(cards),
            took_ms=round((perf_counter() - started) * 1000, 2),
        )
        return Response(orjson.dumps({"cards": [card.to_json() for card in cards]}), mimetype=_JSON)
    except ClinicalError as error:
        said = error.category.value
        log.warning("hook refused", service=service_id, category=said, expression=error.expression)
        raise
    finally:
        context.observe(service_id, said, perf_counter() - started)


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
    if isinstance(error, ClinicalError):
        return outcome.response(error)
    if isinstance(error, HTTPException):
        return outcome.http_response(error.code or 500, text=_READS if error.code == 415 else None)
    # The text of an unforeseen error may quote a patient's data; its kind and place cannot.
    where = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-4:]]
    log.error("hook failed", kind=type(error).__name__, where=where)
    return outcome.response(Fault("the service failed; there is no guidance for this call"))
