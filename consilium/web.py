"""The web process: gunicorn with threads, each worker building its collaborators after the fork."""

import gc
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import structlog
from flask import Flask
from gunicorn import glogging
from gunicorn.app.base import BaseApplication
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest

from cds.service import CdsContext
from clinical.errors import Busy
from consilium.app import create_app
from consilium.dicomweb import LazyDoor
from consilium.metric_files import fold_metrics
from consilium.shares import Shares
from consilium.supervise import await_the_others, listening_socket, report_ready
from consilium.web_parts import build_parts
from consilium.web_worker import WholeRequestWorker
from consilium.wiring import House
from model_runtime.engine import LocalEngine

GRACE_S = 6
COLLECT_EVERY = 5000  # new containers; what one large call makes

log = structlog.get_logger()


class RoutedLogger(glogging.Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's messages by way of `consilium.logs`: its own handler would print request lines."""

    def setup(self, cfg: object) -> None:
        """Let the messages reach the root logger; `errorlog` is None, so there is no other handler."""
        super().setup(cfg)
        self.error_log.propagate = True


class RequestBody:
    """What a client sends. Broken framing is the client's mistake (400) and not our failure (500)."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401  (gunicorn has no types)
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        """Return what has arrived, as gunicorn reads it."""
        try:
            data: bytes = self._stream.read(None if size < 0 else size)
        except (ParseException, OSError):
            raise BadRequest from None
        return data


class WebServer(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn, configured by our settings and by nothing else."""

    _warming: threading.Thread

    def __init__(self, house: House, environ: Mapping[str, str]) -> None:
        """Take the socket that the parent bound, or bind one. Raises Busy when the port is taken."""
        self._environ = environ
        self._house = house
        self.shares = Shares()
        self._fd = environ.get("CONSILIUM_HTTP_FD") or self._bind(
            house.settings.http_host, house.settings.http_port
        )
        super().__init__()

    @property
    def request_seconds(self) -> float:
        """Within which a request must have arrived whole; the worker asks."""
        return self._house.settings.request_seconds

    def _bind(self, host: str, port: int) -> str:
        try:
            self._socket = listening_socket(host, port)
        except OSError as exc:
            raise Busy(f"CONSILIUM_HTTP_PORT: cannot listen on port {port} ({exc.strerror})") from None
        port = self._socket.getsockname()[1]
        self._house = replace(self._house, settings=self._house.settings.model_copy(update={"http_port": port}))
        log.info("web listening", port=port)
        return str(self._socket.fileno())

    def load_config(self) -> None:
        """Set what gunicorn needs; its own files, arguments and GUNICORN_CMD_ARGS are not read."""
        settings = self._house.settings
        for name, value in {
            "bind": f"fd://{self._fd}",
            "worker_class": WholeRequestWorker,
            "workers": settings.web_workers,
            "threads": settings.web_threads,
            "graceful_timeout": GRACE_S,
            "timeout": 60,
            "keepalive": 65,
            "limit_request_line": 8190,
            "limit_request_fields": 64,
            "limit_request_field_size": 16384,
            # Nobody in front may set SCRIPT_NAME or PATH_INFO by a header: it would be a 500 or another path.
            "forwarder_headers": "",
            "worker_tmp_dir": "/dev/shm" if os.path.isdir("/dev/shm") else None,  # noqa: PTH112, S108
            "accesslog": None,
            "errorlog": None,
            "logger_class": RoutedLogger,
            "loglevel": "warning",
            "control_socket_disable": True,
            "sendfile": False,  # it would wait for the client in a thread; our files are small
            "post_worker_init": self._worker_ready,
            "child_exit": self._forget_worker,
        }.items():
            self.cfg.set(name, value)

    def load(self) -> Callable[..., Any]:
        """Build the application: in the worker, after the fork."""
        parts = build_parts(self._house, supervised="CONSILIUM_STATUS_FD" in self._environ)
        # The first caller of a hook should not wait for its issuer's keys, nor for its model to be loaded; but all
        # of the house starts on the same processors, so this begins when the others serve too.
        self._warming = threading.Thread(
            target=self._warm, args=(parts.cds, parts.dicomweb), name="warm", daemon=True
        )
        return _with_checked_body(create_app(parts))

    def _warm(self, context: CdsContext, dicomweb: LazyDoor) -> None:
        if "CONSILIUM_STATUS_FD" in self._environ:
            await_the_others(self._house.settings.data_dir)
        _warm(context, dicomweb)

    def _worker_ready(self, worker: Any) -> None:  # noqa: ANN401  (gunicorn has no types)
        self.shares.tell(worker.age, 0)
        report_ready(dict(self._environ))
        self._warming.start()

    def _forget_worker(self, _server: object, worker: Any) -> None:  # noqa: ANN401  (gunicorn has no types)
        from prometheus_client import multiprocess  # noqa: PLC0415

        self.shares.forget(worker.age)
        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
        fold_metrics()


def _with_checked_body(app: Flask) -> Callable[..., Any]:
    def answer(environ: dict[str, Any], start_response: Any) -> Any:  # noqa: ANN401  (WSGI's)
        environ["wsgi.input"] = RequestBody(environ["wsgi.input"])
        return app(environ, start_response)

    return answer


def _warm(context: CdsContext, dicomweb: LazyDoor) -> None:
    context.door.warm()
    engine = context.engine
    if isinstance(engine, LocalEngine):
        for state in engine.ready():
            engine.check_files(state.name)
            if state.version:
                engine.warm(state.name, heavy=False)
    dicomweb.warm()
    _leave_what_stays_alone()


def _leave_what_stays_alone() -> None:
    """Take what a worker has loaded out of the garbage collector's rounds.

    A call of 74 kB makes thousands of dictionaries; each full round then went through every module and model of
    the worker too. Measured: a third more such calls a second, and half the time of the slowest.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, 20, 20)
