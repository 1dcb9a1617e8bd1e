"""Where an export stands, its files, its end: [base]/$export-status/[id] (Bulk Data IG 2.0).

GET: 202 while it is made, then 200 with the manifest; DELETE: no more of it. Only who kicked it off may ask.
"""

from datetime import timedelta

import orjson
from flask import Response, request
from werkzeug.http import http_date

from clinical.clock import Clock
from clinical.errors import Fault, NotFound
from fhir_adapters.access.grant import Grant, grant_from
from fhir_adapters.access.restriction import restriction
from fhir_adapters.bulk.asked import Asked
from fhir_adapters.bulk.ndjson import packed, unpacked
from fhir_adapters.bulk.plan import DELETED, ERROR, OUTPUT, steps_of, types_of
from fhir_adapters.outcome import body_response, outcome
from fhir_adapters.rest.export import STATUS_PATH, client, offer, status_url
from fhir_adapters.rest.fhir import Fhir, Interaction, caller
from record_store import exports
from record_store.exports import Export, ExportFile

FILE_PATH = STATUS_PATH + "/<file_number>"
FILE = "$export-file"
NDJSON = "application/fhir+ndjson"
POLL_S = 2
SLOW_POLL_S = 30  # when it has not come far in this time, it will not in the next two seconds
GONE = "there is no such export (any more)"


def answer(fhir: Fhir, export_id: str) -> Response:
    """Return how far the export is, or its manifest."""
    export, files = _found(fhir, export_id)
    if export.state in {exports.QUEUED, exports.RUNNING}:
        return _under_way(fhir, export)
    if export.state == exports.FAILED:
        raise Fault(f"the export failed: {export.problem}")
    response = Response(orjson.dumps(_manifest(fhir, export, files)), content_type="application/json")
    response.headers["Expires"] = http_date(export.settled_at + timedelta(seconds=offer(fhir).life_s))
    response.headers["Cache-Control"] = "private, no-store"
    return response


def answer_cancel(fhir: Fhir, export_id: str) -> Response:
    """Stop the export, or give its files up. A worker removes what there is."""
    _found(fhir, export_id)
    with fhir.db.write() as conn:
        if not exports.cancel(conn, export_id, client(), fhir.now()):
            raise NotFound(GONE)
    return body_response(outcome("informational", "the export is cancelled", severity="information"), 202)


def answer_file(fhir: Fhir, export_id: str, file_number: str) -> Response:
    """Return a file of a finished export: NDJSON, in gzip to who takes that."""
    export, files = _found(fhir, export_id)
    if export.state != exports.DONE or not file_number.isascii() or not file_number.isdigit():
        raise NotFound(GONE)
    if int(file_number[:9]) >= len(files):
        raise NotFound("the export has no such file")
    file = files[int(file_number[:9])]
    blobs = offer(fhir).blobs()
    zipped = request.accept_encodings["gzip"] > 0
    # Read once before the answer begins: what is damaged or away is an error and no short file.
    holder = blobs.local_path(file.sha256)
    path = holder.__enter__()
    response = Response(packed(path) if zipped else unpacked(path), content_type=NDJSON)
    response.call_on_close(lambda: holder.__exit__(None, None, None))
    if zipped:
        response.headers["Content-Encoding"] = "gzip"
        response.content_length = file.size
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = "private, no-store"
    return response


def _found(fhir: Fhir, export_id: str) -> tuple[Export, list[ExportFile]]:
    life_s = offer(fhir).life_s
    with fhir.db.read() as conn:
        export = exports.of_client(conn, export_id, client())
        if export is None or not _may_have(Asked.of_json(export.asked), caller()):
            raise NotFound(GONE)
        if export.state == exports.CANCELLED or _is_over(export, fhir.now, life_s):
            raise NotFound(GONE)
        return export, exports.files_of(conn, export_id)


def _may_have(asked: Asked, grant: Grant) -> bool:
    """Tell whether a caller could have asked for it: about nobody else, for no other purpose, of no type less.

    A client has tokens of several patients and scopes, and one is no good for what another has fetched.
    """
    if asked.grant is None or grant.everything:
        return grant.everything
    theirs = grant_from(asked.grant)
    if (theirs.patient, theirs.purpose, theirs.actor) != (grant.patient, grant.purpose, grant.actor):
        return False
    return all(restriction(grant, kind, "r") in (None, restriction(theirs, kind, "r")) for kind in types_of(asked))


def _is_over(export: Export, now: Clock, life_s: float) -> bool:
    ended = export.state in {exports.DONE, exports.FAILED}
    return ended and export.settled_at + timedelta(seconds=life_s) <= now()


def _under_way(fhir: Fhir, export: Export) -> Response:
    steps = len(steps_of(Asked.of_json(export.asked), "", None, fhir.base_url))
    if export.state == exports.QUEUED:
        progress = "queued"
    else:
        progress = f"{export.place.step} of {steps} parts, {export.resources} resources in files"
    response = body_response(outcome("informational", progress, severity="information"), 202)
    response.headers["X-Progress"] = progress
    waited_s = (fhir.now() - export.settled_at).total_seconds()
    response.headers["Retry-After"] = str(POLL_S if waited_s < SLOW_POLL_S else 5 * POLL_S)
    return response


def _manifest(fhir: Fhir, export: Export, files: list[ExportFile]) -> dict[str, object]:
    base = status_url(fhir, export.id)
    listed: dict[str, list[dict[str, object]]] = {OUTPUT: [], DELETED: [], ERROR: []}
    for number, one in enumerate(files):
        listed[one.kind].append({"type": one.type, "url": f"{base}/{number}", "count": one.resources})
    return {
        "transactionTime": export.at,
        "request": export.kickoff,
        "requiresAccessToken": offer(fhir).needs_token,
        "output": listed[OUTPUT],
        "deleted": listed[DELETED],
        "error": listed[ERROR],
    }


INTERACTIONS = (
    Interaction("$export-status", "GET", STATUS_PATH, answer),
    Interaction("$export-status", "DELETE", STATUS_PATH, answer_cancel),
    Interaction(FILE, "GET", FILE_PATH, answer_file),
)
