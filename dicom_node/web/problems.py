"""Errors as DICOMweb says them: an HTTP status and a status report in JSON (PS3.18 8.5, 8.6).

The only place that knows HTTP numbers for the categories of `clinical.errors` in DICOMweb.
"""

from collections.abc import Mapping

import orjson
from flask import Response

from clinical.errors import Busy, Category, ClinicalError, Denied

STATUS: Mapping[Category, int] = {
    Category.INCORRECT: 400,
    Category.PRECONDITION: 409,
    Category.NOT_FOUND: 404,
    Category.UNSUPPORTED: 406,
    Category.DENIED: 403,
    Category.BUSY: 503,
    Category.FAULT: 500,
}
_WORDS: Mapping[int, str] = {
    400: "the request cannot be understood",
    404: "there is nothing at this address",
    405: "this resource does not take this method",
    406: "this server has no representation that the client accepts",
    411: "the request needs a Content-Length",
    413: "the request is larger than is allowed",
    416: "the object has no such range of bytes",
    415: "this resource does not take that media type",
}


def report(error: ClinicalError) -> Response:
    """Return the HTTP answer of an error."""
    unknown = isinstance(error, Denied) and error.unauthenticated
    status = 401 if unknown else STATUS[error.category]
    headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, Busy) else {}
    return _response(status, error.message, headers)


def http_report(status: int, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer to what the HTTP layer refused."""
    usual = "the server failed" if status >= 500 else _WORDS[400]
    return _response(status, _WORDS.get(status, usual), headers or {})


def _response(status: int, words: str, headers: Mapping[str, str]) -> Response:
    body = orjson.dumps({"status": status, "message": words})
    return Response(body, status=status, content_type="application/json", headers=dict(headers))
