"""The tests' worklist by UPS-RS (PS3.18 section 11): Flask on loopback, which looks at media types and UIDs."""

import json
import threading
from contextlib import contextmanager

from flask import Flask, Response, request
from pydicom.dataset import Dataset
from werkzeug.serving import make_server

JSON = "application/dicom+json"
_HTTP = {0x0000: 200, 0xC307: 404, 0xC301: 400}
_WARNING = {"Warning": '299 worklist: "The Transaction UID is incorrect."'}


def app_of(book, token=None):
    app = Flask("worklist")

    @app.before_request
    def check():
        if token and request.headers.get("Authorization") != f"Bearer {token}":
            return Response(status=401)
        if request.headers["Accept"] != JSON:
            return Response(status=406)
        if request.method in {"PUT", "POST"} and request.content_type != JSON:
            return Response(status=415)
        return None

    def content():
        (one,) = json.loads(request.data)
        return Dataset.from_json(one)

    def answer(status):
        return Response(status=_HTTP.get(status, 409), headers=_WARNING if status == 0xC301 else {})

    @app.get("/rs/workitems")
    def search():
        book.searches.append(request.args)
        assert request.args["ProcedureStepState"] == "SCHEDULED"
        found = [one.to_json_dict() for one in book.scheduled()]
        return Response(json.dumps(found), content_type=JSON) if found else Response(status=204)

    @app.get("/rs/workitems/<uid>")
    def read(uid):
        if uid not in book.steps:
            return Response(status=404)
        return Response(json.dumps([book.steps[uid].to_json_dict()]), content_type=JSON)

    @app.put("/rs/workitems/<uid>/state")
    def change(uid):
        asked = content()
        status = book.change(uid, asked.ProcedureStepState, asked.get("TransactionUID"))
        if book.is_cut("claim" if asked.ProcedureStepState == "IN PROGRESS" else "end"):
            return Response(status=502)
        return answer(status)

    @app.post("/rs/workitems/<uid>")
    def update(uid):
        changes = content()
        assert "TransactionUID" not in changes, "it is the query, not the payload"
        return answer(book.update(uid, request.query_string.decode(), changes))

    return app


@contextmanager
def rs(book, token=None):
    """Offer a book by UPS-RS; yields the URL."""
    server = make_server("127.0.0.1", 0, app_of(book, token), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/rs"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
