"""What is answered to bytes that never became a request: an OperationOutcome, and nothing of what was sent."""

from http import HTTPStatus

import orjson
from gunicorn.http import errors

from fhir_adapters.media_type import MEDIA_TYPE
from fhir_adapters.outcome import HTTP_ISSUE, outcome

_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (errors.LimitRequestLine, 414),
    (errors.LimitRequestHeaders, 431),
    (errors.ExpectationFailed, 417),
    (errors.ForbiddenProxyRequest, 403),
    # Ours to word, though parse errors by their class: what the application wanted to send.
    (errors.InvalidResponseHeader, 500),
    (errors.InvalidResponseHeaderName, 500),
    (errors.ConfigurationProblem, 500),
    # RFC 9112 6.1 would say 501 to an unknown transfer coding; to us it is one more request that no client of
    # ours sends, and a stranger must not be able to raise the count of our own failures.
    (errors.ParseException, 400),
)


def status_of(error: BaseException) -> int:
    """Return the HTTP status for what gunicorn says is wrong with a request; 500 for anything else."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def refusal(status: int) -> bytes:
    """Return a whole HTTP/1.1 answer that ends its connection."""
    code, words = HTTP_ISSUE.get(status, ("exception", "the server failed") if status >= 500 else HTTP_ISSUE[400])
    body = orjson.dumps(outcome(code, words))
    head = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Connection: close",
        f"Content-Type: {MEDIA_TYPE}; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        *(["Retry-After: 5"] if status == HTTPStatus.SERVICE_UNAVAILABLE else []),
    ]
    return "\r\n".join([*head, "", ""]).encode("ascii") + body
