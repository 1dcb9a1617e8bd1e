"""batch: each entry as if it had come alone, in the order in which they stand (R4 3.1.0.11.1)."""

from collections.abc import Sequence
from time import monotonic

import orjson
from flask import Response, current_app, request

from clinical.errors import Busy, IncorrectInput
from fhir_adapters.media_type import MEDIA_TYPE
from fhir_adapters.outcome import http_response, response
from fhir_adapters.rest.entries import Entry
from fhir_adapters.rest.fhir import CONTENT_TYPE, Fhir
from fhir_adapters.rest.patch import patch_in

LONGEST_S = 60.0  # in which an entry may begin: 5,000 searches may take a second each, and hold a thread that long
# What of the bundle's own request holds for each entry: who asks, and how the answer is wanted.
_KEPT = ("Authorization", "Prefer", "X-Request-Id")


def answer_batch(_fhir: Fhir, entries: Sequence[Entry]) -> Response:
    """Return a batch-response: the answer to each entry, refusals too, with status 200."""
    until = monotonic() + LONGEST_S
    told = [entry_answer(alone(entry) if monotonic() < until else response(_too_late())) for entry in entries]
    return bundle_response("batch-response", told)


def _too_late() -> Busy:
    return Busy(f"the batch has taken {LONGEST_S:g} s: send this entry again in another one")


def alone(entry: Entry) -> Response:
    """Do one entry through the whole application, its doors included."""
    headers = {name: request.headers[name] for name in _KEPT if name in request.headers}
    for name, value in (
        ("If-Match", entry.if_match),
        ("If-None-Exist", entry.if_none_exist),
        ("If-None-Match", entry.if_none_match),
    ):
        if value is not None:
            headers[name] = value
    media_type, data = MEDIA_TYPE, entry.data
    if entry.method == "PATCH" and entry.resource.get("resourceType") == "Binary":
        try:
            media_type, data = patch_in(entry.resource, entry.data)
        except IncorrectInput as error:
            return response(error)
        if not media_type.isprintable():
            return http_response(415)
    client = {"REMOTE_ADDR": request.remote_addr or "", "wsgi.url_scheme": request.scheme}
    with current_app.test_request_context(
        f"/fhir/{entry.url}",
        base_url=request.host_url,
        method=entry.method,
        data=data or None,
        content_type=media_type if data else None,
        headers=headers,
        environ_overrides=client,
    ):
        answer = current_app.full_dispatch_request()
        if answer.is_streamed or (answer.get_data() and not answer.is_json):
            answer.close()
            return http_response(404, text="what the url names is no resource that can stand in a Bundle")
        return answer


def entry_answer(answer: Response) -> bytes:
    """Return the entry of a response: its status and headers, and the body where there is one."""
    said: dict[str, object] = {"status": str(answer.status_code)}
    for name, header in (("location", "Location"), ("etag", "ETag")):
        if header in answer.headers:
            said[name] = answer.headers[header]
    if answer.last_modified is not None:
        said["lastModified"] = answer.last_modified.isoformat().replace("+00:00", "Z")
    body = answer.get_data()
    if not body or answer.status_code == 304:
        return orjson.dumps({"response": said})
    if answer.status_code >= 400:
        said["outcome"] = orjson.Fragment(body)
        return orjson.dumps({"response": said})
    return orjson.dumps({"resource": orjson.Fragment(body), "response": said})


def bundle_response(kind: str, entries: Sequence[bytes]) -> Response:
    """Return the answers as a Bundle; what they hold stands in it byte for byte."""
    head = orjson.dumps({"resourceType": "Bundle", "type": kind})
    body = head[:-1] + b',"entry":[' + b",".join(entries) + b"]}" if entries else head
    return Response(body, content_type=CONTENT_TYPE)
