"""An endpoint for tests and trials: takes notifications on loopback, and misbehaves when told to.

python -m fhir_adapters.subscriptions.testing 9100      prints what arrives, for a trial by hand
"""

import contextlib
import json
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Arrived:
    """One message."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def resource(self) -> Any:  # noqa: ANN401 - JSON
        """The body, read."""
        return json.loads(self.body)


@dataclass(slots=True)
class Receiver:
    """What arrived, in order. behave: what to do with a message: a status, or one of the names below.

    "reset" breaks the connection, "silent" never answers until `release`, "endless" and "drip" answer 200 and then
    send for ever, "redirect" points elsewhere.
    """

    url: str = ""
    arrived: list[Arrived] = field(default_factory=list)
    behave: Callable[[Arrived], int | str] = lambda _message: 200
    headers: dict[str, str] = field(default_factory=dict)
    release: threading.Event = field(default_factory=threading.Event)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, count: int, timeout_s: float = 10) -> bool:
        """Wait until so many have arrived."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.arrived) >= count, timeout_s)

    def took(self, message: Arrived) -> None:
        """Keep a message."""
        with self._changed:
            self.arrived.append(message)
            self._changed.notify_all()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    receiver: Receiver

    def log_message(self, *_arguments: object) -> None:
        """Say nothing: a path holds an id."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        message = Arrived(self.command, self.path, dict(self.headers.items()), body)
        what = self.receiver.behave(message)
        self.receiver.took(message)
        with contextlib.suppress(OSError):
            self._answer(what)

    do_PUT = do_POST  # noqa: N815
    do_DELETE = do_POST  # noqa: N815

    def _answer(self, what: int | str) -> None:
        if what == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
        elif what == "silent":
            self.receiver.release.wait(30)
            self.close_connection = True
        elif what in {"endless", "drip"}:
            self.send_response(200)
            self.send_header("Content-Length", str(1 << 40))
            self.end_headers()
            while not self.receiver.release.wait(0.2 if what == "drip" else 0):
                self.wfile.write(b" " if what == "drip" else b" " * 65536)
        else:
            self.send_response(307 if what == "redirect" else int(what))
            for name, value in self.receiver.headers.items():
                self.send_header(name, value)
            if what == "redirect":
                self.send_header("Location", f"{self.receiver.url}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a sender that was killed or has hung up."""


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    """Yield an endpoint on loopback; port 0 chooses a free one."""
    receiver = Receiver()
    handler = type("Handler", (_Handler,), {"receiver": receiver})
    server = _Server(("127.0.0.1", port), handler)
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.release.set()
        server.shutdown()
        server.server_close()


def _print_what_arrives() -> None:
    with receiving(int(sys.argv[1])) as receiver:
        print(receiver.url, flush=True)  # noqa: T201 - what it is for
        shown = 0
        while True:
            receiver.wait_for(shown + 1, timeout_s=3600)
            for message in receiver.arrived[shown:]:
                print(message.method, message.path, message.body.decode(), flush=True)  # noqa: T201
                shown += 1


if __name__ == "__main__":
    _print_what_arrives()
