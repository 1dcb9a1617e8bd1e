"""Every category of error has one issue code and one HTTP status, and says where in the request it is."""

import pytest

from clinical.errors import (
    Busy,
    Category,
    Denied,
    Fault,
    IncorrectInput,
    NotFound,
    PreconditionMissing,
    Unsupported,
)
from fhir_adapters.outcome import HTTP_ISSUE, ISSUE_CODE, http_response, operation_outcome, response


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (IncorrectInput("x"), "invalid", 400),
        (PreconditionMissing("x"), "required", 412),
        (NotFound("x"), "not-found", 404),
        (Unsupported("x"), "not-supported", 422),
        (Denied("x", unauthenticated=True), "security", 401),
        (Denied("x"), "forbidden", 403),
        (Busy("x"), "throttled", 503),
        (Fault("x"), "exception", 500),
    ],
)
def test_each_error_has_its_code_and_status(error, code, status):
    reply = response(error)
    assert reply.status_code == status
    assert reply.mimetype == "application/fhir+json"
    assert reply.get_json(force=True)["issue"][0]["code"] == code


def test_the_table_is_complete():
    assert set(ISSUE_CODE) == set(Category)


def test_an_outcome_names_the_place_and_the_engineer_s_words():
    issue = operation_outcome(IncorrectInput("no", expression=["Patient.name"], diagnostics="why"))["issue"][0]
    assert issue == {
        "severity": "error",
        "code": "invalid",
        "details": {"text": "no"},
        "diagnostics": "why",
        "expression": ["Patient.name"],
    }


def test_busy_says_when_to_come_back():
    assert response(Busy("away", retry_after_s=7)).headers["Retry-After"] == "7"


def test_an_unauthenticated_caller_is_told_how_to_authenticate():
    assert response(Denied("who", unauthenticated=True)).headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("status", [*HTTP_ISSUE, 418, 500, 502])
def test_what_the_http_layer_refuses_is_an_outcome_too(status):
    reply = http_response(status, {"Allow": "GET"})
    assert reply.status_code == status
    assert reply.headers["Allow"] == "GET"
    assert reply.get_json(force=True)["resourceType"] == "OperationOutcome"
