"""A FHIR server on loopback with one patient's record, and faults to order: what a service does then is seen."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode

from cds.client.record import Record, searchset
from clinical.errors import Busy, IncorrectInput

ROOT = "/fhir"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that came. query: below the base. token: what stood after Bearer."""

    query: str
    token: str | None


@dataclass(slots=True)
class Behaviour:
    """How the server is to answer, until it is told otherwise.

    page_size: of searches, 0 for no pages. fail: resource type -> status. redirect_to: 302 for everything.
    next_to: base that `link[next]` points to instead of our own.
    """

    page_size: int = 0
    fail: Mapping[str, int] = field(default_factory=dict)
    redirect_to: str | None = None
    next_to: str | None = None


class FhirMock:
    """The running server. base: its FHIR base URL. asked: every request since `forget`."""

    def __init__(self, record: Record, port: int = 0, host: str = "127.0.0.1") -> None:
        """port: 0 takes a free one. The server runs from `start` until `stop`. Raises Busy when it is taken."""
        self.record = record
        self.behaviour = Behaviour()
        self._asked: list[Asked] = []
        try:
            self._server = _Server((host, port), _handler_of(self))
        except OSError as problem:
            raise Busy(f"cannot listen on port {port} ({problem.strerror})") from None
        self.base = f"http://{host}:{self._server.server_port}{ROOT}"

    def asked(self) -> tuple[Asked, ...]:
        """Return what was asked since `forget`."""
        return tuple(self._asked)

    def forget(self) -> None:
        """Forget what was asked, and be a server without faults again."""
        self._asked.clear()
        self.behaviour = Behaviour()

    def note(self, asked: Asked) -> None:
        """Remember a request."""
        self._asked.append(asked)

    def answer(self, query: str) -> tuple[int, dict[str, Any]]:
        """Return status and body of `query`, relative to the base."""
        kind = query.partition("?")[0].partition("/")[0]
        if kind in self.behaviour.fail:
            return self.behaviour.fail[kind], _problem("this server was told to fail")
        path, _, text = query.partition("?")
        parameters = parse_qsl(text, keep_blank_values=True)
        page = int(dict(parameters).get("_page", "0"))
        plain = urlencode([pair for pair in parameters if pair[0] != "_page"])
        try:
            found = self.record.answer(f"{path}?{plain}" if plain else path)
        except IncorrectInput as error:
            return 400, _problem(error.message)
        if found is None:
            return 404, _problem("there is no such resource")
        return 200, self._paged(found, path, plain, page)

    def _paged(self, found: dict[str, Any], path: str, parameters: str, page: int) -> dict[str, Any]:
        size = self.behaviour.page_size
        entries = found.get("entry", [])
        if not size or found.get("resourceType") != "Bundle" or len(entries) <= size:
            return found
        part = [entry["resource"] for entry in entries[page * size : (page + 1) * size]]
        more: dict[str, Any] = {"total": len(entries)}
        if (page + 1) * size < len(entries):
            base = self.behaviour.next_to or self.base
            more["link"] = [{"relation": "next", "url": f"{base}/{path}?{parameters}&_page={page + 1}"}]
        return searchset(part, **more)

    def start(self) -> None:
        """Begin to answer."""
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="fhir-mock", daemon=True).start()

    def stop(self) -> None:
        """Stop and free the port."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that hangs up is a client's right."""


@contextmanager
def fhir_mock(record: Record, port: int = 0) -> Iterator[FhirMock]:
    """Run a server over a record for the block."""
    server = FhirMock(record, port)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _problem(text: str) -> dict[str, Any]:
    issue = {"severity": "error", "code": "processing", "details": {"text": text}}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def _handler_of(mock: FhirMock) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body leave in two writes

        def do_GET(self) -> None:
            query = self.path.removeprefix(f"{ROOT}/")
            scheme, _, shown = self.headers.get("Authorization", "").partition(" ")
            mock.note(Asked(query, shown if scheme == "Bearer" else None))
            if mock.behaviour.redirect_to is not None:
                self._send(302, b"", Location=f"{mock.behaviour.redirect_to}/{query}")
                return
            status, body = mock.answer(query)
            self._send(status, json.dumps(body).encode())

        def _send(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/fhir+json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: addresses name the patient."""

    return Handler
