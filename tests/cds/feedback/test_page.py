"""`/feedback` and `/feedback.json` through the whole web application."""

import os
from datetime import UTC, datetime

import pytest

from cds.guidance import Guidance
from consilium.app import create_app
from consilium.settings import load_settings
from consilium.web_parts import build_parts
from consilium.wiring import House

TOKEN = "a-token-of-more-than-thirty-two-characters"


@pytest.fixture
def client(own_clinic, tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith("CONSILIUM_"):
            monkeypatch.delenv(name)
    own_clinic.at = datetime.now(UTC)
    house = House(load_settings(data_dir=tmp_path, low_water_mb=0, bearer_token=TOKEN))
    yield create_app(build_parts(house)).test_client()
    house.db.dispose()


def get(client, path):
    return client.get(path, headers={"Authorization": f"Bearer {TOKEN}"})


def test_the_page_shows_counts_reasons_and_the_curve_without_script_or_comment(own_clinic, client) -> None:
    cards = [own_clinic.sends(own_clinic.card(probability=0.3 + n / 20)) for n in range(5)]
    own_clinic.says(own_clinic.accepted(cards[0]), own_clinic.accepted(cards[4]))
    own_clinic.says(own_clinic.overridden(cards[1], "patient-ineligible", comment="Zzcanary <script>"))
    own_clinic.shadow("next").record(own_clinic.call(service="next"), Guidance((own_clinic.card(),)))
    page = get(client, "/feedback")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "Patient does not meet eligibility" in page.text
    assert "67 % (21–94)" in page.text
    assert page.text.count('<rect class="cards"') == 5
    assert "next in shadow mode" in page.text
    assert "Zzcanary" not in page.text
    assert "<script" not in page.text


def test_the_json_is_the_report(own_clinic, client) -> None:
    own_clinic.sends()
    found = get(client, "/feedback.json?days=7&service=diabetes-risk").get_json()
    assert found["only"] == {"service": "diabetes-risk"}
    assert [group["sent"] for group in found["groups"]] == [1]
    assert get(client, "/feedback.json?client=nobody").get_json()["groups"] == []


def test_an_empty_store_is_a_page_that_says_so(client) -> None:
    assert "No card was sent" in get(client, "/feedback").text


def test_both_are_closed_without_the_token(client) -> None:
    assert [client.get(path).status_code for path in ("/feedback", "/feedback.json")] == [401, 401]


@pytest.mark.parametrize("days", ["0", "-1", "x", "9999", "0000100000000", "٣", "1.5", ""])
def test_a_period_that_is_none_is_refused_in_the_form_that_was_asked_for(client, days) -> None:
    page, answer = get(client, f"/feedback?days={days}"), get(client, f"/feedback.json?days={days}")
    assert (page.status_code, page.mimetype) == (400, "text/html")
    assert (answer.status_code, answer.get_json()["issue"][0]["expression"]) == (400, ["days"])


def test_what_is_asked_for_is_shown_as_text_and_not_as_markup(client) -> None:
    assert "<b>x" not in get(client, "/feedback?service=<b>x").text
