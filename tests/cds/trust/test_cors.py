"""Pages of other origins: none, but for those that the site lists."""

import pytest

from cds.trust.cors import Cors
from clinical.errors import IncorrectInput

APP = "https://app.example"
PREFLIGHT = {"Origin": APP, "Access-Control-Request-Method": "POST"}


def test_closed_is_the_beginning():
    closed = Cors()
    assert closed.closed
    assert closed.answer({"Origin": APP}) == {}
    assert closed.preflight(PREFLIGHT) is None


def test_a_listed_page_may_read_answers_and_no_cookies_go_along():
    headers = Cors([APP]).answer({"Origin": APP})
    assert headers["Access-Control-Allow-Origin"] == APP
    assert headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in headers


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "*", "", "https://app.example.evil.example", "http://app.example", APP + "/",
     "https://app.example:8443", "https://APP.example", "https://evil.example https://app.example"],
)  # fmt: skip
def test_no_other_page_is_named_in_an_answer(origin):
    cors = Cors([APP])
    assert cors.answer({"Origin": origin}) == {"Vary": "Origin"}
    assert cors.preflight(PREFLIGHT | {"Origin": origin}) is None


def test_a_preflight_of_a_listed_page_is_answered():
    asked = PREFLIGHT | {"Access-Control-Request-Headers": "Authorization, content-type"}
    headers = Cors([APP]).preflight(asked)
    assert headers["Access-Control-Allow-Origin"] == APP
    assert headers["Access-Control-Allow-Methods"] == "GET, POST"
    assert (
        headers["Access-Control-Allow-Headers"]
        == "Accept, Authorization, Content-Type, If-None-Match, If-Range, Range"
    )
    assert "Origin" in headers["Vary"]


@pytest.mark.parametrize(
    "change",
    [
        {"Access-Control-Request-Method": "DELETE"},
        {"Access-Control-Request-Method": ""},
        {"Access-Control-Request-Headers": "x-anything"},
    ],
)
def test_a_preflight_for_more_than_the_hooks_take_is_not(change):
    assert Cors([APP]).preflight(PREFLIGHT | change) is None


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "app.example", "https://app.example/", "https://*.example", "https://user@app.example", "file://",
     "https://App.example", "https://app.example:99999999"],
)  # fmt: skip
def test_what_is_no_origin_cannot_be_listed(origin):
    with pytest.raises(IncorrectInput):
        Cors([origin])
