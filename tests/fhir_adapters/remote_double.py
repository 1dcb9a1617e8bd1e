"""A FHIR server on loopback that does what it is told: answers, refuses, hangs up, is slow; it remembers all."""

import contextlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Came:
    method: str
    path: str
    headers: dict
    body: bytes


@dataclass
class Says:
    """One answer. hangs_up: after reading the request, before a word. after_s: how long it takes."""

    status: int = 200
    body: object = None
    headers: dict = field(default_factory=dict)
    hangs_up: bool = False
    after_s: float = 0.0


class Double:
    """says: path prefix -> list of Says (the last one stays). A callable in it is asked with what came."""

    def __init__(self, says):
        self.says = {prefix: list(answers) for prefix, answers in says.items()}
        self.came = []
        self._lock = threading.Lock()
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                came = Came(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                said = double.answer(came)
                time.sleep(said.after_s)
                if said.hangs_up:
                    self.close_connection = True
                    self.connection.close()
                    return
                data = b"" if said.body is None else json.dumps(said.body).encode()
                self.send_response(said.status)
                for name, value in {"Content-Type": "application/fhir+json", **said.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - http.server's names

            def log_message(self, *_):
                pass

            def handle(self):
                with contextlib.suppress(OSError, ValueError):
                    super().handle()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self._server.server_port}/fhir"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def answer(self, came):
        with self._lock:
            self.came.append(came)
            prefix = max((one for one in self.says if came.path.startswith(one)), key=len)
            answers = self.says[prefix]
            said = answers.pop(0) if len(answers) > 1 else answers[0]
        return said(came) if callable(said) else said

    def of(self, method):
        return [one for one in self.came if one.method == method]

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
