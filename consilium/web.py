"""The web process: gunicorn with threads, each worker building its collaborators after the fork."""

import os
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from flask import Flask
from gunicorn.app.base import BaseApplication

import cds.services
from cds.links import LinkSigner
from cds.service import CdsContext
from consilium import health, metrics
from consilium.app import WebParts, create_app
from consilium.keys import derived_key
from consilium.pages.views import PagesContext
from consilium.supervise import report_ready
from consilium.wiring import House, is_loopback
from fhir_adapters.allow_list import AllowedServer, Network
from fhir_adapters.client import FhirClient
from fhir_adapters.rest import Fhir
from model_runtime.engine import Engine, LocalEngine, State
from model_runtime.library import Library

GRACE_S = 6


class WebServer(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn, configured by our settings and by nothing else."""

    def __init__(self, house: House, environ: Mapping[str, str]) -> None:
        self._house = house
        self._environ = environ
        super().__init__()

    def load_config(self) -> None:
        """Set what gunicorn needs; its own files, arguments and GUNICORN_CMD_ARGS are not read."""
        settings = self._house.settings
        host = settings.http_host
        inherited = self._environ.get("CONSILIUM_HTTP_FD")
        bind = f"fd://{inherited}" if inherited else f"{f'[{host}]' if ':' in host else host}:{settings.http_port}"
        for name, value in {
            "bind": bind,
            "worker_class": "gthread",
            "workers": settings.web_workers,
            "threads": settings.web_threads,
            "graceful_timeout": GRACE_S,
            "timeout": 60,
            "keepalive": 65,
            "limit_request_line": 8190,
            "limit_request_fields": 64,
            "limit_request_field_size": 16384,
            "worker_tmp_dir": "/dev/shm" if os.path.isdir("/dev/shm") else None,  # noqa: PTH112, S108
            "accesslog": None,
            "loglevel": "warning",
            "control_socket_disable": True,
            "post_worker_init": self._worker_ready,
            "child_exit": _forget_worker,
        }.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Build the application: in the worker, after the fork."""
        parts = build_parts(self._house)
        # The first caller of a hook should not wait for its model to be loaded and checked.
        threading.Thread(target=_warm, args=(parts.cds.engine,), name="warm", daemon=True).start()
        return create_app(parts)

    def _worker_ready(self, _worker: object) -> None:
        report_ready(dict(self._environ))


def _warm(engine: Engine) -> None:
    if isinstance(engine, LocalEngine):
        for state in engine.ready():
            if state.version and engine.manifest(state.name).risk:
                engine.warm(state.name)


def _forget_worker(_server: object, worker: Any) -> None:  # noqa: ANN401  (gunicorn has no types)
    from prometheus_client import multiprocess  # noqa: PLC0415

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def build_parts(house: House) -> WebParts:
    """Return the web process's collaborators."""
    settings = house.settings
    engine = LocalEngine(Library(settings.models))
    links = LinkSigner(derived_key(house.key, "overlay-link"), house.base_url, house.now, settings.link_life_s)
    ready = _readiness(house, engine)
    return WebParts(
        services=cds.services.SERVICES,
        cds=_cds_context(house, engine, links),
        fhir=Fhir(
            db=house.db,
            now=house.now,
            new_id=lambda: str(uuid.uuid4()),
            page_key=derived_key(house.key, "page-token"),
            base_url=f"{house.base_url}/fhir",
        ),
        pages=PagesContext(
            db=house.db,
            blobs=house.blobs,
            decoder=lambda: house.decoder,
            links=links,
            readiness=ready,
            manifests=lambda: [engine.manifest(state.name) for state in engine.ready() if state.version],
            facts={"ae_title": settings.ae_title, "dicom_port": settings.dicom_port},
        ),
        readiness=ready,
        metrics=metrics.exposition,
        observe=_observe,
        bearer_token=None if settings.bearer_token is None else settings.bearer_token.get_secret_value(),
    )


def _cds_context(house: House, engine: LocalEngine, links: LinkSigner) -> CdsContext:
    servers = [_allowed(house, base) for base in house.settings.fhir_servers]
    return CdsContext(
        engine=engine,
        db=house.db,
        now=house.now,
        links=links,
        new_uuid=lambda: str(uuid.uuid4()),
        fhir=FhirClient(servers) if servers else None,
        budget_s=house.settings.hook_budget_ms / 1000,
        observe=lambda service, status, seconds: metrics.HOOK_SECONDS.labels(service, status).observe(seconds),
    )


def _allowed(house: House, base: str) -> AllowedServer:
    development = house.settings.profile == "development"
    if development and is_loopback(urlsplit(base).hostname or ""):
        return AllowedServer(base, Network.LOOPBACK)
    return AllowedServer(base, Network(house.settings.fhir_network))


def _readiness(house: House, engine: LocalEngine) -> Callable[[], health.Readiness]:
    checks = {
        "database": health.database_check(house.db),
        "migrations": health.migrations_check(house.db),
        "models": health.models_check(lambda: _model_problems(engine), ()),
        "blobs": health.blob_space_check(house.blobs, house.low_water_bytes),
        "children": health.children_check(house.settings.data_dir),
    }
    return lambda: health.readiness(checks)


def _model_problems(engine: LocalEngine) -> dict[str, str | None]:
    return {state.name: state.problem if state.state is State.BROKEN else None for state in engine.ready()}


def _observe(route: str, status: int, _seconds: float) -> None:
    metrics.HTTP_REQUESTS.labels(route, str(status)).inc()
