"""R4 Subscriptions by rest-hook: what is asked for arrives, whatever the endpoint does, and the reason is told."""

import logging
import time
from datetime import timedelta

import pytest

from consilium.lanes import Lanes
from consilium.settings import SettingsError, load_settings
from fhir_adapters.allow_list import AllowedServer
from fhir_adapters.subscriptions.backport import TIMEOUT
from fhir_adapters.subscriptions.rest_hook import NOT_ALLOWED, Message, RestHook
from fhir_adapters.subscriptions.status import tell
from fhir_adapters.subscriptions.testing import receiving
from record_store import notifications, subscriptions
from record_store.deliveries import RetryPolicy
from tests.consilium.subscriptions.rig import FHIR_JSON, SECRET, subscription


def test_what_matches_arrives_as_it_was_stored_and_nothing_else(both):
    both.subscribe()
    assert both.read()["status"] == "active"
    stored = both.observe("o1")
    both.observe("o2", code="2345-7")
    both.run()
    assert both.told == [("PUT", "/Observation/o1")]
    assert both.receiver.arrived[0].body == stored
    assert both.receiver.arrived[0].headers["Content-Type"].startswith(FHIR_JSON)
    both.run()
    assert len(both.told) == 1


def test_without_a_payload_an_empty_post_says_that_something_matched(rig):
    rig.subscribe(channel={"payload": None})
    rig.observe()
    rig.run()
    assert rig.told == [("POST", "/")]
    assert rig.receiver.arrived[0].body == b""


def test_each_version_counts_by_what_it_says_itself_and_in_its_order(both):
    both.subscribe()
    first = both.observe("o1", valueString="1")
    second = both.observe("o1", valueString="2")
    both.observe("o1", code="2345-7")  # matches no more
    both.run()
    assert [one.body for one in both.receiver.arrived] == [first, second]


def test_the_deletion_of_what_matched_is_told(both):
    both.subscribe()
    both.observe("o1")
    both.observe("o2", code="2345-7")
    both.run()
    both.send("DELETE", "Observation/o1")
    both.send("DELETE", "Observation/o2")
    both.run()
    assert both.told == [("PUT", "/Observation/o1"), ("DELETE", "/Observation/o1")]


def test_what_was_there_before_the_subscription_is_not_told(rig):
    rig.observe()
    rig.run()
    rig.subscribe()
    assert rig.told == []


def test_writes_of_a_transaction_and_by_this_server_are_told(rig):
    rig.subscribe(criteria="Observation?status=final")
    entries = [
        {"request": {"method": "POST", "url": "Observation"}, "resource": {
            "resourceType": "Observation", "status": status, "code": {"text": "x"}}}
        for status in ("final", "preliminary", "final")
    ]  # fmt: skip
    assert (
        rig.send("POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": entries}).status_code
        == 200
    )
    rig.run()
    assert len(rig.told) == 2


def test_a_header_goes_to_the_endpoint_and_is_shown_to_nobody(rig, caplog):
    caplog.set_level(logging.DEBUG)
    reply = rig.subscribe(channel={"header": [f"Authorization: {SECRET}", "X-Ward: 3"]})
    rig.observe()
    rig.run()
    arrived = rig.receiver.arrived[0].headers
    assert (arrived["Authorization"], arrived["X-Ward"]) == (SECRET, "3")
    shown = [reply.data, *(rig.client.get(f"/fhir/Subscription{path}").data for path in (
        "", "/s1", "/s1/_history", "/s1/_history/1", "/_history"))]  # fmt: skip
    assert not [text for text in shown if b"s3cret" in text]
    assert rig.read()["channel"]["header"] == ["Authorization: ***", "X-Ward: ***"]
    assert "s3cret" not in caplog.text


def test_a_client_that_sends_the_mask_back_keeps_its_header(rig):
    rig.subscribe(channel={"header": [f"Authorization: {SECRET}"]})
    rig.subscribe(**{name: value for name, value in rig.read().items() if name == "channel"}, reason="renewed")
    rig.observe()
    rig.run()
    assert rig.receiver.arrived[0].headers["Authorization"] == SECRET
    unknown = subscription(rig.receiver.url, "s2", channel={"header": ["Authorization: ***"]})
    assert rig.send("PUT", "Subscription/s2", unknown).status_code == 400


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"criteria": "Observation?patient.name=x"}, "criteria"),
        ({"criteria": "Patient?_has:Observation:patient:code=x"}, "criteria"),
        ({"criteria": "Observation?_sort=date"}, "criteria"),
        ({"criteria": "Observation?_include=Observation:subject"}, "criteria"),
        ({"criteria": "Observation?nonsense=1"}, "criteria"),
        ({"criteria": "Observation?date=yesterday"}, "criteria"),
        ({"criteria": "Nothing?code=x"}, "criteria"),
        ({"criteria": "/Observation?code=x"}, "criteria"),
        ({"criteria": "Subscription?status=active"}, "criteria"),
        ({"criteria": "http://example.org/topic"}, "criteria"),
        ({"status": "active"}, "status"),
        ({"channel": {"type": "email", "endpoint": "mailto:a@example.org"}}, "channel.type"),
        ({"channel": {"endpoint": "http://127.0.0.1:1/"}}, "channel.endpoint"),
        ({"channel": {"endpoint": None}}, "channel.endpoint"),
        ({"channel": {"payload": "application/fhir+xml"}}, "channel.payload"),
        ({"channel": {"header": ["no colon"]}}, "channel.header[0]"),
        ({"channel": {"header": ["A: b", "Host: example.org"]}}, "channel.header[1]"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_place(rig, changes, place):
    reply = rig.send("PUT", "Subscription/s1", subscription(rig.receiver.url, **changes))
    assert reply.status_code == 400
    issue = reply.get_json(force=True)["issue"][0]
    assert issue["expression"] == [f"Subscription.{place}"]
    assert issue["details"]["text"]


def test_a_subscription_is_turned_off_at_its_end(rig):
    rig.subscribe(end="2026-11-27T04:01:00Z")
    rig.observe("o1")
    rig.run()
    rig.later(60)
    rig.run()
    rig.observe("o2")
    rig.run()
    assert rig.read()["status"] == "off"
    assert rig.told == [("PUT", "/Observation/o1")]


def test_a_client_may_turn_it_off_and_on_again_and_delete_it(rig):
    rig.subscribe()
    rig.subscribe(status="off")
    rig.observe("o1")
    rig.run()
    assert (rig.told, rig.read()["status"]) == ([], "off")
    rig.subscribe()
    rig.observe("o2")
    rig.run()
    assert rig.told == [("PUT", "/Observation/o2")]
    rig.send("DELETE", "Subscription/s1")
    rig.observe("o3")
    rig.run()
    assert len(rig.told) == 1


def deleted_after(rig, count):
    """Subscribe, let so many events be told, and delete the Subscription."""
    rig.subscribe()
    for number in range(count):
        rig.observe(f"o{number}")
    rig.run()
    rig.send("DELETE", "Subscription/s1")
    rig.run()


def test_of_a_subscription_with_many_events_some_are_removed_at_a_time(both, monkeypatch):
    monkeypatch.setattr(subscriptions, "SLICE", 2)
    deleted_after(both, 5)
    assert len(both.told) == 5

    def kept():
        with both.db.read() as conn:
            return sum(notifications.counts(conn).values())

    assert kept() == 3
    with both.db.read() as conn:
        assert (subscriptions.get(conn, "s1"), subscriptions.every(conn)) == (None, [])
    both.observe("o9")
    both.run()
    assert len(both.told) == 5
    assert (subscriptions.clear(both.db), kept(), subscriptions.clear(both.db)) == (1, 0, 0)


def test_a_message_that_fails_after_its_subscription_was_deleted_brings_it_not_back(both, monkeypatch):
    monkeypatch.setattr(subscriptions, "SLICE", 2)
    deleted_after(both, 5)
    with both.db.write() as conn:  # what a sender does whose endpoint has hung meanwhile
        tell(conn, "s1", subscriptions.ERROR, "no answer", now=lambda: both.now, base_url="http://localhost/fhir")
    with both.db.read() as conn:
        assert subscriptions.every(conn) == []
    both.subscribe("s2")
    both.observe("o9")
    both.run()
    assert both.told[-1] == ("PUT", "/Observation/o9")
    assert subscriptions.clear(both.db) == 1


def test_a_subscription_that_is_written_anew_begins_without_the_events_of_the_one_before(both, monkeypatch):
    monkeypatch.setattr(subscriptions, "SLICE", 1)
    deleted_after(both, 3)
    both.subscribe()
    assert subscriptions.clear(both.db) == 0
    both.observe("o9")
    both.run()
    with both.db.read() as conn:
        assert [one.event.id for one in notifications.between(conn, "s1", 1, None, 10)] == ["o9"]


def test_what_was_settled_long_ago_is_forgotten_in_slices(both, monkeypatch):
    monkeypatch.setattr(notifications, "SLICE", 2)
    both.subscribe()
    for number in range(5):
        both.observe(f"o{number}")
    both.run()
    assert notifications.purge(both.db, both.now) == 0
    assert notifications.purge(both.db, both.now + timedelta(seconds=1)) == 5


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (401, "the endpoint answered 401"),
        ("redirect", "the endpoint answered with a redirect, which is not followed"),
        ("reset", "the endpoint could not be reached, or broke the connection"),
    ],
)
def test_why_an_endpoint_is_in_error_is_told(rig, behaviour, words):
    rig.receiver.behave = lambda _message: behaviour
    rig.subscribe()
    rig.observe()
    for _ in range(3):
        rig.run()
        rig.later(60)
    assert rig.told == [("PUT", "/Observation/o1")] * 3
    assert (rig.read()["status"], rig.read()["error"]) == ("error", words)


def test_an_endpoint_that_fails_is_tried_again_then_the_reason_is_told_and_nothing_is_lost(both):
    both.receiver.behave = lambda _message: 500
    both.subscribe()
    both.observe("o1", valueString="1")
    both.observe("o1", valueString="2")
    both.run()
    both.run()
    assert len(both.told) == 1  # it is left alone for a while
    both.later(10)
    both.run()
    both.later(20)
    both.run()
    assert (both.read()["status"], both.read()["error"]) == ("error", "the endpoint answered 500")
    both.later(3600)
    both.observe("o2")  # still written down
    both.run()
    assert both.told == [("PUT", "/Observation/o1")] * 3
    both.receiver.behave = lambda _message: 200
    both.subscribe()
    assert "error" not in both.read()
    assert both.told[3:] == [("PUT", "/Observation/o1"), ("PUT", "/Observation/o2"), ("PUT", "/Observation/o1")]
    assert [one.resource["valueString"] for one in both.receiver.arrived[3:]] == ["1", "1.10", "2"]


def test_a_resource_that_is_refused_holds_back_only_its_own_later_versions(rig):
    rig.receiver.behave = lambda message: 422 if message.path.endswith("/bad") else 200
    rig.subscribe()
    rig.observe("bad", valueString="1")
    rig.observe("bad", valueString="2")
    rig.observe("good")
    rig.run()
    assert rig.told == [("PUT", "/Observation/bad"), ("PUT", "/Observation/good")]
    rig.receiver.behave = lambda _message: 200
    rig.later(10)
    rig.run()
    assert [one.resource["valueString"] for one in rig.receiver.arrived[2:]] == ["1", "2"]


def test_an_endpoint_that_nobody_mends_is_given_up_after_a_month(rig):
    rig.receiver.behave = lambda _message: 500
    rig.subscribe()
    rig.observe()
    for _ in range(3):
        rig.run()
        rig.later(60)
    rig.later(30 * 86_400 - 120)
    rig.run()
    assert rig.read()["status"] == "error"
    rig.later(60)
    rig.run()
    assert (rig.read()["status"], rig.read()["error"]) == ("off", "the endpoint answered 500")


def test_an_endpoint_that_is_gone_turns_the_subscription_off(rig):
    rig.receiver.behave = lambda _message: 410
    rig.subscribe()
    rig.observe()
    rig.run()
    assert rig.read()["status"] == "off"
    assert rig.read()["error"] == "the endpoint answered 410"


def test_an_endpoint_may_say_when_to_come_back(rig):
    rig.receiver.behave, rig.receiver.headers = lambda _message: 503, {"Retry-After": "120"}
    rig.subscribe()
    rig.observe()
    rig.run()
    rig.later(119)
    rig.run()
    assert len(rig.told) == 1
    rig.later(1)
    rig.run()
    assert len(rig.told) == 2


def test_an_endpoint_that_names_a_time_that_is_none_is_tried_as_any_other(rig):
    rig.receiver.behave = lambda _message: 503
    rig.receiver.headers = {"Retry-After": "Mon, 99999999999999999999 Jan 2024 00:00:00 GMT"}
    rig.subscribe()
    rig.observe()
    rig.run()
    rig.run()
    assert len(rig.told) == 1


@pytest.mark.parametrize("behaviour", ["endless", "drip"])
@pytest.mark.timed
def test_an_answer_without_end_is_not_read(rig, behaviour):
    rig.receiver.behave = lambda _message: behaviour
    rig.subscribe()
    rig.observe("o1")
    rig.observe("o2")
    began = time.monotonic()
    rig.run()
    assert time.monotonic() - began < 5
    assert len(rig.told) == 2


def test_an_endpoint_that_hangs_holds_up_no_other(rig):
    with receiving() as slow:
        slow.behave = lambda _message: "silent"
        rig.allow(slow.url)
        rig.subscribe("slow", channel={"endpoint": slow.url})
        rig.subscribe("quick")
        rig.observe()
        rig.matching.once()
        lanes = Lanes(rig.notifying.due, rig.notifying.deliver, slots=4, rest=RetryPolicy())
        assert lanes.once() == 2
        assert slow.wait_for(1)
        assert rig.receiver.wait_for(1)
        slow.release.set()
        lanes.wait(5)


def test_an_endpoint_that_does_not_answer_in_time_is_tried_again(rig):
    rig.receiver.behave = lambda _message: "silent"
    rig.subscribe(channel={"extension": [{"url": TIMEOUT, "valueUnsignedInt": 1}]})
    rig.observe()
    rig.run()
    rig.receiver.behave = lambda _message: 200
    rig.later(10)
    rig.run()
    assert rig.receiver.wait_for(2)
    assert len(rig.told) == 2


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("https://ehr.example/hook", ["10.0.0.9"]),  # inside, although it is a public name
        ("https://ehr.example/hook", ["203.0.113.5", "127.0.0.1"]),  # half inside: rebinding
        ("https://ehr.example.evil.example/hook", ["203.0.113.5"]),
        ("https://ehr.example:8443/hook", ["203.0.113.5"]),
        ("https://ehr.example/hooks", ["203.0.113.5"]),  # beside the path that is allowed
    ],
)
def test_nothing_is_sent_to_another_origin_or_into_the_house(url, addresses):
    hook = RestHook([AllowedServer("https://ehr.example/hook")], resolve=lambda _host, _port: addresses)
    answer = hook.send(Message("POST", url), 1)
    assert (answer.status, answer.problem) == (None, NOT_ALLOWED)


@pytest.mark.parametrize(
    "endpoints", ['["http://ehr.example/hook"]', '["https://user@ehr.example"]', '["https://ehr.example/a?b"]']
)
def test_an_unsafe_endpoint_stops_the_start(no_settings, endpoints, monkeypatch):
    monkeypatch.setenv("CONSILIUM_SUBSCRIPTION_ENDPOINTS", endpoints)
    with pytest.raises(SettingsError, match="SUBSCRIPTION_ENDPOINTS"):
        load_settings()
