"""The topic `ai-result-final` of the R5 Subscriptions Backport for R4: who subscribes hears what becomes final."""

import itertools
import json

import pytest
from fhir.resources.R4B.bundle import Bundle

from fhir_adapters.subscriptions import topic
from fhir_adapters.subscriptions.backport import (
    FILTER_CRITERIA,
    HEARTBEAT_PERIOD,
    MAX_COUNT,
    PAYLOAD_CONTENT,
    STATUS_PROFILE,
    TOPIC_ADVERTISED,
)
from fhir_adapters.validation import problems_of
from tests.consilium.subscriptions.rig import BASE_URL, subscription

AIAST = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "AIAST"}


def report(own="r1", status="final", patient="p1", label=AIAST, **changes):
    return {
        "resourceType": "DiagnosticReport",
        "id": own,
        "meta": {"security": [label]} if label else {},
        "status": status,
        "code": {"text": "chest radiograph"},
        "subject": {"reference": f"Patient/{patient}"},
    } | changes


def of_topic(content="id-only", filters=(), **extensions):
    """Changes that make a Subscription one of the topic."""
    channel = {"_payload": {"extension": [{"url": PAYLOAD_CONTENT, "valueCode": content}]}}
    if extensions:
        channel["extension"] = [
            {"url": url, "valuePositiveInt" if url == MAX_COUNT else "valueUnsignedInt": value}
            for url, value in extensions.items()
        ]
    named = [{"url": FILTER_CRITERIA, "valueString": one} for one in filters]
    criteria = {"_criteria": {"extension": named}} if named else {}
    return {"criteria": topic.CANONICAL, "channel": channel} | criteria


def write(rig, resource):
    resource = {name: value for name, value in resource.items() if value != {}}
    reply = rig.send("PUT", f"{resource['resourceType']}/{resource['id']}", resource)
    assert reply.status_code in {200, 201}, reply.data


def parts(bundle):
    """Return the status of a notification: simple parameters by name, and the events."""
    listed = bundle["entry"][0]["resource"]["parameter"]
    simple = {
        one["name"]: next(v for k, v in one.items() if k.startswith("value"))
        for one in listed
        if "part" not in one
    }
    events = [
        {part["name"]: next(v for k, v in part.items() if k.startswith("value")) for part in one["part"]}
        for one in listed
        if "part" in one
    ]
    return simple, events


def received(rig, at=-1):
    message = rig.receiver.arrived[at]
    assert (message.method, message.path) == ("POST", "/")
    Bundle.model_validate(message.resource)
    assert [one for one in problems_of(message.resource, expected="Bundle") if one.severity == "error"] == []
    return message.resource


def test_it_becomes_active_when_the_endpoint_has_taken_a_handshake(both):
    both.subscribe(**of_topic())
    simple, events = parts(received(both))
    assert (simple["type"], simple["status"], simple["events-since-subscription-start"]) == (
        "handshake",
        "requested",
        "0",
    )
    assert (simple["topic"], events) == (topic.CANONICAL, [])
    assert simple["subscription"] == {"reference": f"{BASE_URL}/Subscription/s1"}
    assert both.read()["status"] == "active"


def test_an_endpoint_that_refuses_the_handshake_is_an_error_until_it_is_asked_again(rig):
    rig.receiver.behave = lambda _message: 403
    rig.subscribe(**of_topic())
    write(rig, report())
    rig.run()
    assert (rig.read()["status"], rig.read()["error"]) == ("error", "the endpoint answered 403")
    rig.receiver.behave = lambda _message: 200
    rig.subscribe(**of_topic())
    assert parts(received(rig))[1][0]["event-number"] == "1"


def test_a_result_that_becomes_final_is_told_with_its_number(both):
    both.subscribe(**of_topic())
    write(both, report(status="preliminary"))
    write(both, report(status="final"))
    both.run()
    simple, (event,) = parts(received(both))
    assert (simple["type"], simple["status"], simple["events-since-subscription-start"]) == (
        "event-notification",
        "active",
        "1",
    )
    assert event["event-number"] == "1"
    assert event["focus"] == {"reference": f"{BASE_URL}/DiagnosticReport/r1"}
    assert len(received(both)["entry"]) == 1


@pytest.mark.parametrize(
    ("versions", "events"),
    [
        (["final", "final"], 1),  # it does not become what it is
        (["final", "amended", "amended"], 3),
        (["preliminary", "entered-in-error"], 1),
        (["final", "entered-in-error"], 2),
        (["registered", "preliminary", "cancelled"], 0),
        (["final", None, "final"], 2),  # deleted, and come back
    ],
)
def test_which_changes_of_status_are_events(rig, versions, events):
    rig.subscribe(**of_topic())
    for status in versions:
        if status is None:
            rig.send("DELETE", "DiagnosticReport/r1")
        else:
            write(rig, report(status=status))
    rig.run()
    assert parts(status_of(rig))[0]["events-since-subscription-start"] == str(events)


def test_what_no_model_has_said_is_no_event_and_what_a_person_confirms_is(rig):
    rig.subscribe(**of_topic())
    write(rig, report("r1", label=None))
    write(rig, report("r2", "preliminary"))
    write(rig, report("r2", "final", label=None))
    rig.run()
    (event,) = parts(received(rig))[1]
    assert event["focus"]["reference"].endswith("/r2")


def test_filters_choose_the_type_and_the_patient(rig):
    rig.subscribe(**of_topic(filters=["DiagnosticReport?patient=Patient/p1", "DiagnosticReport?status=final"]))
    write(rig, report("r1", patient="p2"))
    write(rig, report("r2", "amended"))
    write(rig, report("r3"))
    write(rig, {**report("o1"), "resourceType": "Observation"})
    rig.run()
    (event,) = parts(received(rig))[1]
    assert event["focus"]["reference"].endswith("DiagnosticReport/r3")


@pytest.mark.parametrize("content", ["empty", "id-only", "full-resource"])
def test_a_message_holds_as_much_as_was_asked_for(rig, content):
    rig.subscribe(**of_topic(content))
    write(rig, report())
    rig.run()
    message = received(rig)
    simple, (event,) = parts(message)
    assert ("focus" in event) == (content != "empty")
    assert ("topic" in simple) == (content != "empty")
    assert len(message["entry"]) == (2 if content == "full-resource" else 1)
    if content == "full-resource":
        assert rig.client.get("/fhir/DiagnosticReport/r1").data in rig.receiver.arrived[-1].body


def test_messages_hold_at_most_max_count_events_in_their_order(both):
    both.subscribe(**of_topic(**{MAX_COUNT: 2}))
    for number in range(5):
        write(both, report(f"r{number}"))
    both.run()
    told = [[event["event-number"] for event in parts(received(both, at))[1]] for at in range(1, 4)]
    assert told == [["1", "2"], ["3", "4"], ["5"]]


def test_a_subscriber_hears_from_us_though_nothing_happens(rig):
    rig.subscribe(**of_topic(**{HEARTBEAT_PERIOD: 60}))
    rig.later(59)
    rig.run()
    assert len(rig.told) == 1
    write(rig, report())
    rig.run()
    rig.later(59)
    rig.run()
    assert len(rig.told) == 2
    rig.later(1)
    rig.run()
    simple, events = parts(received(rig))
    assert (simple["type"], simple["events-since-subscription-start"], events) == ("heartbeat", "1", [])
    rig.later(60)
    rig.run()
    assert len(rig.told) == 4


def test_a_message_that_is_sent_again_is_the_same_message(rig):
    answers = itertools.chain([200, 500], itertools.repeat(200))
    rig.receiver.behave = lambda _message: next(answers)
    rig.subscribe(**of_topic())
    write(rig, report())
    rig.run()
    rig.later(10)
    rig.run()
    first, again = received(rig, 1), received(rig, 2)
    assert first["entry"] == again["entry"]


def status_of(rig, query="/s1/$status"):
    reply = rig.client.get(f"/fhir/Subscription{query}")
    assert reply.status_code == 200, reply.data
    bundle = reply.get_json(force=True)
    Bundle.model_validate(bundle)
    return bundle


def test_the_status_says_what_waits_and_why(rig):
    rig.subscribe(**of_topic())
    rig.subscribe("s2", criteria="Observation?status=final")
    rig.receiver.behave = lambda _message: 500
    write(rig, report())
    rig.run()
    bundle = status_of(rig)
    assert (bundle["type"], bundle["entry"][0]["resource"]["meta"]["profile"]) == ("searchset", [STATUS_PROFILE])
    simple, _ = parts(bundle)
    assert (simple["type"], simple["status"], simple["events-waiting"], simple["failures"]) == (
        "query-status",
        "active",
        1,
        1,
    )
    assert simple["error"] == {"text": "the endpoint answered 500"}
    assert simple["next-attempt"].startswith("2026-11-27T04:00:10")
    assert status_of(rig, "/$status")["total"] == 2
    assert status_of(rig, "/$status?status=active&id=s2")["total"] == 1
    assert status_of(rig, "/$status?status=error")["total"] == 0
    asked = {"resourceType": "Parameters", "parameter": [{"name": "id", "valueId": "s2"}]}
    assert rig.send("POST", "Subscription/$status", asked).get_json(force=True)["total"] == 1
    assert rig.client.get("/fhir/Subscription/nobody/$status").status_code == 404
    assert rig.client.get("/fhir/Subscription/$status?nonsense=1").status_code == 400


def test_the_status_tells_of_all_however_many_there_are(rig):
    entries = [
        {
            "resource": subscription(rig.receiver.url, f"s{number}"),
            "request": {"method": "PUT", "url": f"Subscription/s{number}"},
        }
        for number in range(501)
    ]
    reply = rig.send("POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": entries})
    assert reply.status_code == 200
    assert status_of(rig, "/$status")["total"] == 501
    assert status_of(rig, "/$status?id=s500&id=nobody")["total"] == 1


def test_the_status_of_one_that_no_worker_has_seen_yet_is_requested(rig):
    rig.send("PUT", "Subscription/s1", subscription(rig.receiver.url, **of_topic()))
    simple, _ = parts(status_of(rig, "/$status"))
    assert (simple["status"], simple["events-since-subscription-start"]) == ("requested", "0")
    assert rig.client.get("/fhir/Subscription/s1/$events").status_code == 200


def test_events_can_be_asked_for_again_by_their_numbers(rig):
    rig.subscribe(**of_topic())
    for number in range(3):
        write(rig, report(f"r{number}"))
    rig.run()
    reply = rig.client.get(
        "/fhir/Subscription/s1/$events?eventsSinceNumber=2&eventsUntilNumber=3&content=full-resource"
    )
    bundle = json.loads(reply.data)
    Bundle.model_validate(bundle)
    simple, events = parts(bundle)
    assert simple["type"] == "query-event"
    assert [event["event-number"] for event in events] == ["2", "3"]
    assert [entry["resource"]["id"] for entry in bundle["entry"][1:]] == ["r1", "r2"]
    assert rig.client.get("/fhir/Subscription/s1/$events?content=all").status_code == 400
    assert rig.client.get("/fhir/Subscription/s1/$events?eventsSinceNumber=x").status_code == 400


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        (of_topic() | {"criteria": "urn:consilium:SubscriptionTopic/other"}, "criteria"),
        (of_topic(filters=["Patient?name=x"]), "criteria.extension"),
        (of_topic(filters=["DiagnosticReport?nonsense=x"]), "criteria.extension"),
        (of_topic("everything"), "channel.payload.extension"),
        ({"criteria": topic.CANONICAL}, "channel.payload.extension"),
        ({"criteria": topic.CANONICAL, "channel": {"payload": None}}, "channel.payload"),
        (of_topic(**{MAX_COUNT: 101}), "channel.extension"),
        (of_topic(**{HEARTBEAT_PERIOD: 1}), "channel.extension"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_place(rig, changes, place):
    with pytest.raises(AssertionError, match=f"Subscription.{place}".replace(".", r"\.")):
        rig.subscribe(**changes)


def test_the_topic_is_advertised(rig):
    said = rig.client.get("/fhir/metadata").get_json(force=True)
    (own,) = [one for one in said["rest"][0]["resource"] if one["type"] == "Subscription"]
    assert own["extension"] == [{"url": TOPIC_ADVERTISED, "valueCanonical": topic.CANONICAL}]
    assert {one["name"] for one in own["operation"]} >= {"status", "events"}
    others = [one for one in said["rest"][0]["resource"] if one["type"] != "Subscription"]
    assert not [one for other in others for one in other["operation"] if one["name"] in {"status", "events"}]
