"""CDS Hooks over HTTP: routes, door and the outer edge of errors.

Every answer that is not 200 is an OperationOutcome, but for a bare 401. A route is looked for before the door is:
no route is a secret, and who called the wrong one should hear so.
"""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import orjson
import structlog
from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException

from cds.body import JSON, MAX_BODY_BYTES, READS, read_body
from cds.caller import Caller
from cds.discovery import discovery_of
from cds.pipeline import Course, answer_call
from cds.service import CdsContext, Service, by_id
from clinical.errors import ClinicalError, Denied, Fault, NotFound
from fhir_adapters import outcome

__all__ = ["MAX_BODY_BYTES", "ROOT", "blueprint"]

ROOT = "/cds-services"
# Every method is routed here, so that 404 and 405 are ours to word and OPTIONS opens nothing by itself.
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_READ, _CALL = ("GET", "HEAD"), ("POST",)

log = structlog.get_logger()


def blueprint(services: Sequence[Service], context: CdsContext) -> Blueprint:
    """Return the routes below /cds-services.

    Raises Fault when two services have the same id and hook.
    """
    routes = Blueprint("cds", __name__)
    door = _Door(context)
    rules: tuple[tuple[str, Callable[..., Response]], ...] = (
        ("", _discover(services, door)),
        ("/<service_id>", _call(by_id(services), door)),
        ("/<service_id>/feedback", _feedback(by_id(services), door)),
        ("/", _nowhere),
        ("/<path:rest>", _nowhere),
    )
    for rule, view in rules:
        routes.add_url_rule(ROOT + rule, view_func=view, methods=_METHODS, provide_automatic_options=False)
    routes.register_error_handler(Exception, _problem)
    routes.after_request(door.open_to_origins)
    return routes


class _Door:
    """Who comes in by which method; the same at every route."""

    def __init__(self, context: CdsContext) -> None:
        self.context = context

    def refuse(self, methods: Sequence[str]) -> Response | None:
        """Return the answer to a method that the route has not: 405, or 204 to a preflight of a listed origin."""
        if request.method in methods:
            return None
        allowed = self.context.cors.preflight(_headers()) if request.method == "OPTIONS" else None
        if allowed is not None:
            return Response(status=204, headers=dict(allowed))
        return outcome.http_response(405, {"Allow": ", ".join(methods)})

    def admit(self, path: str) -> Caller:
        """Return who calls. path: of the route, in the one form that a token's `aud` can name (J3)."""
        url = self.context.base_url + ROOT + path
        return self.context.door.admit(_headers(), url, request.remote_addr or "")

    def open_to_origins(self, response: Response) -> Response:
        """Let a listed page read the answer, whatever it is."""
        if response.status_code != 204:
            for name, value in self.context.cors.answer(_headers()).items():
                response.headers[name] = value
        return response


def _discover(services: Sequence[Service], door: _Door) -> Callable[[], Response]:
    discovery = discovery_of(services, door.context.base_url)

    def discover() -> Response:
        refused = door.refuse(_READ)
        if refused is not None:
            return refused
        door.admit("")
        if request.if_none_match.contains_weak(discovery.etag):
            return Response(status=304, headers=discovery.headers)
        return Response(discovery.body, headers=discovery.headers, mimetype=JSON)

    return discover


def _call(table: Mapping[str, Mapping[str, Service]], door: _Door) -> Callable[[str], Response]:
    def call(service_id: str) -> Response:
        hooks = _known(table, service_id)
        refused = door.refuse(_CALL)
        if refused is not None:
            return refused
        started = time.monotonic()
        caller = door.admit(f"/{service_id}")
        # From here on a body that trickles in holds a place of its caller, and not of the others.
        with door.context.bulkhead.enter(caller.issuer):
            body = _answered(Course(service_id, caller, started), hooks, door.context)
        return Response(orjson.dumps(body), mimetype=JSON)

    return call


def _answered(course: Course, hooks: Mapping[str, Service], context: CdsContext) -> dict[str, object]:
    if context.tape is None:
        return answer_call(course, hooks, read_body, context)
    return context.tape.record(
        course.service_id,
        read_body,
        context.reader_of,
        lambda read, reader_of: answer_call(course, hooks, read, context.read_by(reader_of)),
    )


def _feedback(table: Mapping[str, Mapping[str, Service]], door: _Door) -> Callable[[str], Response]:
    desk = door.context.feedback

    def feedback(service_id: str) -> Response:
        _known(table, service_id)
        if desk is None:
            return outcome.http_response(404)
        refused = door.refuse(_CALL)
        if refused is not None:
            return refused
        caller = door.admit(f"/{service_id}/feedback")
        with door.context.bulkhead.enter(caller.issuer):
            desk.take(service_id, caller, read_body())
        return Response(b"{}", mimetype=JSON)

    return feedback


def _nowhere(rest: str = "") -> Response:
    del rest
    return outcome.http_response(404)


def _known(table: Mapping[str, Mapping[str, Service]], service_id: str) -> Mapping[str, Service]:
    hooks = table.get(service_id)
    if hooks is None:
        raise NotFound("there is no CDS service with this id")
    return hooks


def _headers() -> Mapping[str, str]:
    # Only `get` is asked of it. A copy of all headers, twice a call, took 0.04 ms.
    return cast("Mapping[str, str]", request.headers)


def _problem(error: Exception) -> Response:
    """The outer edge of the hooks: everything that was not answered is said as an OperationOutcome."""
    if isinstance(error, Denied) and error.unauthenticated:
        # J5: a caller that is not let in learns nothing about why.
        return Response(status=401, headers={"WWW-Authenticate": "Bearer"})
    if isinstance(error, ClinicalError):
        return outcome.response(error)
    if isinstance(error, HTTPException):
        return outcome.http_response(error.code or 500, text=READS if error.code == 415 else None)
    # The text of an unforeseen error may quote a patient's data; its kind and place cannot.
    where = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-4:]]
    log.error("hook failed", kind=type(error).__name__, where=where)
    return outcome.response(Fault("the service failed; there is no guidance for this call"))
