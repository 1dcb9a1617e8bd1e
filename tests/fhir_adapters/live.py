"""The FHIR API on a real socket of loopback, for clients that are not ours."""

import itertools
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from fhir_adapters.rest import Fhir, blueprint

START = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


class Quiet(WSGIRequestHandler):
    def log_request(self, *_):
        """Addresses hold patient identifiers."""


@contextmanager
def live(db):
    """Yield the base URL of a server over the store; each look at its clock is a second later."""
    app = Flask("live")
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    url, ids, seconds = f"http://127.0.0.1:{server.server_port}/fhir", itertools.count(1), itertools.count()
    app.register_blueprint(
        blueprint(
            Fhir(
                db,
                lambda: START + timedelta(seconds=next(seconds)),
                lambda: f"new-{next(ids)}",
                b"k" * 32,
                url,
            )
        )
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
