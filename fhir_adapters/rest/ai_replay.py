"""$ai-replay: POST [base]/[type]/[id]/$ai-replay, an operation of ours (R4 3.2): computed again, is it the same?

A worker computes: web processes load no imaging model. It is waited for a moment; then, or with `Prefer:
respond-async`, the answer is 202 with the address where it will be (as R4 3.1.6.4, asynchronous requests).
"""

import time

from flask import Response, request
from sqlalchemy import Connection

from clinical.errors import NotFound
from fhir_adapters.media_type import MEDIA_TYPE
from fhir_adapters.outcome import TooMany
from fhir_adapters.rest.ai.reach import result_within
from fhir_adapters.rest.fhir import Fhir, Interaction
from fhir_adapters.rest.negotiate import preferences
from fhir_adapters.search.index import ID
from record_store import replays
from record_store.replays import DONE, REFUSED, ReplayRow

WAIT_S = 3.0
LOOK_S = 0.05
MOST_WAITING = 50
pause = time.sleep
STATUS_PATH = "/$ai-replay-status/<request_id>"


def answer(fhir: Fhir, resource_type: str, resource_id: str) -> Response:
    """Return the comparison as Parameters, or 202 while it is under way."""
    with fhir.db.read() as conn:
        result_within(fhir, conn, resource_type, resource_id, "r")
    with fhir.db.write() as conn:
        request_id = _asked(fhir, conn, resource_type, resource_id)
    wait_s = 0.0 if "respond-async" in preferences(request) else WAIT_S
    until = time.monotonic() + wait_s
    while True:
        with fhir.db.read() as conn:
            row = replays.row_of(conn, request_id)
        if row is not None and row.state in (DONE, REFUSED):
            return _settled(row)
        if time.monotonic() >= until:
            return _under_way(fhir, request_id)
        pause(LOOK_S)


def _asked(fhir: Fhir, conn: Connection, resource_type: str, resource_id: str) -> str:
    """Return the id of the request for this result: each costs a run of its model, so one is under way at most."""
    if (same := replays.pending(conn, resource_type, resource_id)) is not None:
        return same
    if replays.waiting(conn) >= MOST_WAITING:
        raise TooMany("many results wait to be computed again; ask later", retry_after_s=30)
    request_id = fhir.new_id()
    replays.ask(conn, request_id, resource_type, resource_id, fhir.now())
    return request_id


def answer_status(fhir: Fhir, request_id: str) -> Response:
    """Return the comparison that was asked for, or 202 again."""
    with fhir.db.read() as conn:
        row = replays.row_of(conn, request_id) if ID.fullmatch(request_id) else None
        if row is None:
            raise NotFound("no such request; answers are kept for a day")
        result_within(fhir, conn, row.type, row.resource_id, "r")
    return _settled(row) if row.state in (DONE, REFUSED) else _under_way(fhir, request_id)


def _settled(row: ReplayRow) -> Response:
    return Response(row.answer, status=row.status, content_type=f"{MEDIA_TYPE}; charset=utf-8")


def _under_way(fhir: Fhir, request_id: str) -> Response:
    response = Response(status=202)
    response.headers["Content-Location"] = f"{fhir.base_url.rstrip('/')}/$ai-replay-status/{request_id}"
    response.headers["Retry-After"] = "2"
    return response


INTERACTION = Interaction("$ai-replay", "POST", "/<resource_type>/<resource_id>/$ai-replay", answer)
STATUS = Interaction("$ai-replay-status", "GET", STATUS_PATH, answer_status)
