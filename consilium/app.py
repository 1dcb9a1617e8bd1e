"""The web application: every door of HTTP over one set of collaborators."""

import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
import structlog
from flask import Flask, Request, Response, g, request
from flask.sessions import NullSession, SessionInterface, SessionMixin
from werkzeug.exceptions import HTTPException

import cds.documents
import cds.http
import fhir_adapters.rest
from cds.discovery import DESCRIPTION, DOCUMENTATION
from cds.links import LinkSigner
from cds.service import CdsContext, Service
from cds.stages import CrossOrigin
from clinical.errors import ClinicalError, Denied, Fault
from consilium import dicomweb
from consilium.dicomweb import LazyDoor
from consilium.headers import harden
from consilium.health import Readiness
from consilium.pages import hooks, views
from consilium.pages.views import PagesContext
from consilium.viewer import routes as viewer
from fhir_adapters import outcome
from fhir_adapters.access import http as oauth
from fhir_adapters.access.token_endpoint import Endpoint
from fhir_adapters.rest import Fhir

log = structlog.get_logger()
NO_SESSION = NullSession()

# Without a bearer token one may ask whether we live, and open a link that carries its own signature.
# The hooks and the FHIR API have doors of their own (`CdsContext.door`, `Fhir.access`): they know issuers, clients
# and this token. The token endpoint knows its clients.
OPEN_PATHS = ("/livez", "/readyz", cds.http.ROOT, fhir_adapters.rest.ROOT, DOCUMENTATION, DESCRIPTION)
OPEN_BELOW = (
    "/overlay/",
    "/static/",
    "/schemas/",
    viewer.ROOT + "/",
    cds.http.ROOT + "/",
    fhir_adapters.rest.ROOT + "/",
    oauth.ROOT + "/",
)


@dataclass(frozen=True, slots=True)
class WebParts:
    """What the web process is made of; `consilium.wiring` builds it from the settings.

    bearer_token: what callers must show, None in the development profile. The FHIR API and the hooks have doors of
    their own, which know it. oauth: the token endpoint, None where no client can have a token.
    observe: told (route, status, seconds) of every answer. metrics: the Prometheus text.
    base_url: the public one, without a trailing slash. viewer: the folder of the mounted viewer, if there is one.
    """

    services: tuple[Service, ...]
    cds: CdsContext
    fhir: Fhir
    pages: PagesContext
    dicomweb: LazyDoor
    readiness: Callable[[], Readiness]
    metrics: Callable[[], bytes]
    observe: Callable[[str, int, float], None]
    base_url: str
    viewer: Path
    oauth: Endpoint | None = None
    bearer_token: str | None = None
    max_body_bytes: int = 5 << 20


class _NoSessions(SessionInterface):
    """Nothing of ours keeps a session in a cookie."""

    def open_session(self, app: Flask, request: Request) -> SessionMixin | None:  # noqa: ARG002 - Flask's
        """Return none: a signed cookie is neither looked for nor set."""
        return NO_SESSION

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Never called for a null session."""


class _App(Flask):
    """Flask without what it does for coroutines and sessions, in every request, and we have neither of."""

    session_interface = _NoSessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function: none of ours is a coroutine."""
        return func


def create_app(parts: WebParts) -> Flask:
    """Return the WSGI application. Opens nothing: collaborators open themselves at first use."""
    app = _App("consilium", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = parts.max_body_bytes
    harden(app, https=parts.base_url.startswith("https://"))
    app.before_request(_start_clock)
    _open_dicomweb_to_origins(app, parts.cds.cors)
    if parts.bearer_token is not None:
        app.before_request(_gate(parts.bearer_token, parts.pages.links))
    app.after_request(_observer(parts.observe))
    app.register_error_handler(ClinicalError, _clinical)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unexpected)
    app.register_blueprint(cds.http.blueprint(parts.services, parts.cds))
    app.register_blueprint(cds.documents.blueprint(parts.services, parts.base_url, version("consilium-cds")))
    app.register_blueprint(fhir_adapters.rest.blueprint(parts.fhir))
    if parts.oauth is not None:
        app.register_blueprint(oauth.blueprint(parts.oauth, _is(parts.bearer_token)))
    app.register_blueprint(dicomweb.blueprint(parts.dicomweb))
    app.register_blueprint(viewer.blueprint(parts.viewer))
    app.register_blueprint(views.blueprint(parts.pages))
    app.register_blueprint(hooks.blueprint(parts.services, hooks.told_by(parts.cds), parts.pages.root))
    _health_routes(app, parts)
    return app


def _open_dicomweb_to_origins(app: Flask, cors: CrossOrigin) -> None:
    """Let the pages that may call the hooks call DICOMweb too: viewers of other origins. Before the gate."""
    below = f"{dicomweb.ROOT}/"

    def preflight() -> Response | None:
        if request.method != "OPTIONS" or not request.path.startswith(below):
            return None
        allowed = cors.preflight(dict(request.headers))
        return None if allowed is None else Response(status=HTTPStatus.NO_CONTENT, headers=dict(allowed))

    def answer(response: Response) -> Response:
        if request.path.startswith(below) and request.method != "OPTIONS":
            response.headers.update(cors.answer(dict(request.headers)))
        return response

    app.before_request(preflight)
    app.after_request(answer)


def _health_routes(app: Flask, parts: WebParts) -> None:
    @app.get("/livez")
    def livez() -> Response:
        return _json({"status": "alive"})

    @app.get("/readyz")
    def readyz() -> Response:
        state = parts.readiness()
        return _json(
            state.as_json(in_words=_shows(parts.bearer_token)),
            HTTPStatus.OK if state.ready else HTTPStatus.SERVICE_UNAVAILABLE,
        )

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(parts.metrics(), content_type="text/plain; version=0.0.4; charset=utf-8")


def _start_clock() -> None:
    g.started = time.perf_counter()


def _shows(token: str | None) -> bool:
    """Tell whether the caller shows the bearer token, or needs none."""
    if token is None:
        return True
    return hmac.compare_digest(_bearer().encode(), token.encode())


def _is(token: str | None) -> Callable[[str], bool]:
    """Return what tells whether a text is the bearer token: without one, none is."""
    return lambda shown: token is not None and hmac.compare_digest(shown.encode(), token.encode())


def _bearer() -> str:
    """Return the bearer token that the caller shows, "" for none."""
    scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
    return shown.strip() if scheme.lower() == "bearer" else ""


def _gate(token: str, links: LinkSigner) -> Callable[[], Response | None]:
    def gate() -> Response | None:
        if request.path.startswith(f"{dicomweb.ROOT}/"):
            # A card's link to the viewer brings a permission to read one study.
            study = links.study_of(_bearer())
            if study is not None:
                g.dicom_study = study
                return None
        if request.path in OPEN_PATHS or request.path.startswith(OPEN_BELOW) or _shows(token):
            return None
        return outcome.response(Denied("authentication is required", unauthenticated=True))

    return gate


def _observer(observe: Callable[[str, int, float], None]) -> Callable[[Response], Response]:
    def after(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule is not None else "none"
        observe(route, response.status_code, time.perf_counter() - g.get("started", time.perf_counter()))
        return response

    return after


def _clinical(error: ClinicalError) -> Response:
    return outcome.response(error)


def _http(error: HTTPException) -> Response:
    headers = dict(error.get_response().headers) if error.code == HTTPStatus.METHOD_NOT_ALLOWED else {}
    allow = {name: value for name, value in headers.items() if name == "Allow"}
    return outcome.http_response(error.code or HTTPStatus.INTERNAL_SERVER_ERROR, allow)


def _unexpected(error: Exception) -> Response:
    # The outer edge of the web process: whatever gets here is our fault, and its text may hold anything.
    log.error("request failed", kind=type(error).__name__, route=str(request.url_rule))
    return outcome.response(Fault("the server failed; its log says where"))


def _json(body: Mapping[str, Any], status: int = HTTPStatus.OK) -> Response:
    return Response(orjson.dumps(body), status=status, content_type="application/json")
