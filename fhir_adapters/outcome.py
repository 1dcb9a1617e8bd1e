"""Errors as FHIR says them: OperationOutcome (R4 2.3.3) and the HTTP status beside it (R4 3.1.0.1.7).

The only place that knows HTTP numbers for the categories of `clinical.errors` (DESIGN section 6).
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from flask import Response

from clinical.errors import Busy, Category, ClinicalError, Denied, NotFound, PreconditionMissing
from fhir_adapters.media_type import MEDIA_TYPE
from fhir_adapters.validation.refusal import InvalidResource

# category -> (issue-type code, HTTP status)
ISSUE_CODE: Mapping[Category, tuple[str, int]] = {
    Category.INCORRECT: ("invalid", 400),
    Category.PRECONDITION: ("required", 412),
    Category.NOT_FOUND: ("not-found", 404),
    Category.UNSUPPORTED: ("not-supported", 422),
    Category.DENIED: ("forbidden", 403),
    Category.BUSY: ("throttled", 503),
    Category.FAULT: ("exception", 500),
}
UNAUTHENTICATED = ("security", 401)


class Gone(NotFound):
    """It was here and was deleted."""


class VersionConflict(PreconditionMissing):
    """Somebody else has changed it meanwhile (R4 3.1.0.5)."""


class SeveralMatches(PreconditionMissing):
    """A condition that must mean one resource matches more (R4 3.1.0.8.1)."""


class TooMany(Busy):
    """This client has as much under way as it may (RFC 6585 4)."""


# What R4 says more exactly than the category does.
_NARROWER: Mapping[type[ClinicalError], tuple[str, int]] = {
    Gone: ("deleted", 410),
    VersionConflict: ("conflict", 412),
    SeveralMatches: ("multiple-matches", 412),
    TooMany: ("throttled", 429),
}

# What the HTTP framework refuses before we see it: status -> (issue-type code, words)
HTTP_ISSUE: Mapping[int, tuple[str, str]] = {
    400: ("invalid", "the request cannot be understood"),
    404: ("not-found", "there is nothing at this address"),
    405: ("not-supported", "this address does not take this method"),
    406: ("not-supported", "this server answers application/fhir+json only"),
    408: ("timeout", "the request took too long to arrive"),
    411: ("invalid", "the request needs a Content-Length"),
    413: ("too-long", "the request body is too large"),
    414: ("too-long", "the address is too long"),
    415: ("not-supported", "this address does not read that media type, character set or encoding"),
    417: ("not-supported", "this server meets no expectation but 100-continue"),
    431: ("too-long", "the request headers are too large"),
    503: ("throttled", "the server is busy; try again later"),
}


def issue_of(error: ClinicalError) -> tuple[str, int]:
    """Return the issue-type code and the HTTP status of an error."""
    if isinstance(error, Denied) and error.unauthenticated:
        return UNAUTHENTICATED
    if isinstance(error, InvalidResource) and error.is_sound:
        return ISSUE_CODE[Category.UNSUPPORTED]
    return _NARROWER.get(type(error), ISSUE_CODE[error.category])


def operation_outcome(error: ClinicalError) -> dict[str, Any]:
    """Return the OperationOutcome of an error: one issue, and of an invalid resource one for each finding."""
    if isinstance(error, InvalidResource):
        return {"resourceType": "OperationOutcome", "issue": [one.as_issue() for one in error.problems]}
    code, _ = issue_of(error)
    return outcome(code, error.message, expression=error.expression, diagnostics=error.diagnostics)


def outcome(
    code: str,
    text: str,
    *,
    expression: Sequence[str] = (),
    diagnostics: str | None = None,
    severity: str = "error",
) -> dict[str, Any]:
    """Return an OperationOutcome of one issue; text and diagnostics must hold no patient data."""
    issue: dict[str, Any] = {"severity": severity, "code": code, "details": {"text": text}}
    if diagnostics:
        issue["diagnostics"] = diagnostics
    if expression:
        issue["expression"] = list(expression)
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def response(error: ClinicalError) -> Response:
    """Return the HTTP answer of an error; BUSY says when to come back (Retry-After, RFC 9110 10.2.3)."""
    answer = body_response(operation_outcome(error), issue_of(error)[1])
    if isinstance(error, Busy):
        answer.headers["Retry-After"] = str(error.retry_after_s)
    if answer.status_code == HTTPStatus.UNAUTHORIZED:
        answer.headers["WWW-Authenticate"] = "Bearer"  # RFC 9110 15.5.2 demands a challenge
    return answer


def http_response(status: int, headers: Mapping[str, str] | None = None, text: str | None = None) -> Response:
    """Return the answer to what the HTTP layer itself refused (no such address, method, media type, size).

    text: our words for this case, better than those for every case.
    """
    code, usual = HTTP_ISSUE.get(status, ("exception", "the server failed") if status >= 500 else HTTP_ISSUE[400])
    answer = body_response(outcome(code, text or usual), status)
    answer.headers.extend(dict(headers or {}))
    return answer


def body_response(resource: Mapping[str, Any], status: int) -> Response:
    """Return a resource of ours as an HTTP answer."""
    return Response(orjson.dumps(resource), status=status, content_type=f"{MEDIA_TYPE}; charset=utf-8")
