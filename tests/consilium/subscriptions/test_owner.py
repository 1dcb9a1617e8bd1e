"""A subscription tells its owner what the owner may read: when it subscribes, and again at each delivery."""

from dataclasses import replace

import pytest

from fhir_adapters.access.grant import OPERATOR, Grant, grant_from
from fhir_adapters.access.scopes import parse_all
from tests.consilium.subscriptions.rig import Rig, observation, subscription
from tests.consilium.subscriptions.test_topic import of_topic, parts, report, write

SYSTEM = Grant("client:a", "a", scopes=parse_all("system/Observation.rs system/Subscription.cruds"))
OF_P1 = Grant("client:b", "b", scopes=parse_all("patient/Observation.rs system/Subscription.cruds"), patient="p1")
CONSENT = {
    "resourceType": "Consent",
    "id": "k1",
    "status": "active",
    "scope": {
        "coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]
    },
    "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
    "patient": {"reference": "Patient/p1"},
    "policyRule": {"text": "the site's policy"},
    "provision": {"type": "deny"},
}


class Registered:
    """Lets in by name, whoever is registered just now; the operator shows nothing."""

    configuration = None

    def __init__(self):
        self.grants = {grant.client_id: grant for grant in (SYSTEM, OF_P1)}

    def admit(self, authorization, _path):
        return OPERATOR if authorization is None else self.grants[authorization]

    def grant_of(self, kept):
        grant = grant_from(kept)
        known = self.grants.get(grant.client_id)
        return grant if grant.everything else known and replace(grant, scopes=known.scopes)


@pytest.fixture
def rig(sqlite_db, receiver):
    return Rig(sqlite_db, receiver, access=Registered())


def subscribe(rig, who, **changes):
    changes = {"criteria": "Observation?status=final"} | changes
    reply = rig.send("PUT", "Subscription/s1", subscription(rig.receiver.url, **changes), Authorization=who)
    rig.run()
    return reply.status_code


def test_who_may_not_read_a_type_may_not_subscribe_to_it(rig):
    assert subscribe(rig, "a") == 201
    assert subscribe(rig, "a", criteria="DiagnosticReport?status=final") == 403
    assert subscribe(rig, "a", **of_topic()) == 403  # the topic is about reports, too
    assert subscribe(rig, "a", **of_topic(filters=["Observation?status=final"])) == 200


def test_a_header_is_not_taken_over_by_another_client_or_for_another_endpoint(rig):
    assert subscribe(rig, "a", channel={"header": ["Authorization: Bearer s3cret"]}) == 201
    kept = {"channel": {"header": ["Authorization: ***"]}}
    assert subscribe(rig, "a", **kept) == 200
    assert subscribe(rig, "b", **kept) == 400
    elsewhere = {"channel": {"header": ["Authorization: ***"], "endpoint": f"{rig.receiver.url}/elsewhere"}}
    assert subscribe(rig, "a", **elsewhere) == 400


def test_only_what_the_owner_may_read_is_told(rig):
    assert subscribe(rig, "b") == 201
    rig.observe("mine")
    rig.observe("other", subject={"reference": "Patient/p2"})
    rig.run()
    assert rig.told == [("PUT", "/Observation/mine")]
    status = rig.client.get("/fhir/Subscription/s1/$status").get_json(force=True)
    assert parts(status)[0]["events-waiting"] == 0


def test_what_was_taken_out_of_the_owners_chart_is_not_told_any_more(rig):
    subscribe(rig, "b")
    rig.observe("o1")
    rig.observe("o1", subject={"reference": "Patient/p2"})
    rig.run()
    assert rig.told == []


def test_a_deletion_is_told_to_who_could_read_what_is_gone(rig):
    subscribe(rig, "b")
    rig.observe("mine")
    rig.observe("other", subject={"reference": "Patient/p2"})
    rig.run()
    for own in ("mine", "other"):
        rig.send("DELETE", f"Observation/{own}")
    rig.run()
    assert rig.told == [("PUT", "/Observation/mine"), ("DELETE", "/Observation/mine")]


def test_a_client_that_is_registered_no_more_is_told_nothing(rig):
    subscribe(rig, "a")
    del rig.access.grants["a"]
    rig.observe()
    rig.run()
    assert rig.told == []


def test_scopes_that_were_taken_back_hold_at_delivery(rig):
    subscribe(rig, "a")
    rig.access.grants["a"] = replace(SYSTEM, scopes=parse_all("system/Patient.rs"))
    rig.observe()
    rig.run()
    assert rig.told == []


def test_events_are_shown_to_who_may_read_their_resources(rig):
    rig.subscribe(**of_topic())
    write(rig, report("r1"))
    write(rig, observation("o1", meta=report()["meta"]))
    rig.run()
    assert len(events_for(rig, None)) == 2
    assert [event["focus"]["reference"].rpartition("/")[2] for event in events_for(rig, "b")] == ["o1"]


def test_what_a_patient_denies_is_not_told(sqlite_db, receiver):
    rig = Rig(sqlite_db, receiver, access=Registered(), consents=True)
    subscribe(rig, "a")
    rig.send("PUT", "Consent/k1", CONSENT)
    rig.observe("o1")
    rig.observe("o2", subject={"reference": "Patient/p2"})
    rig.run()
    assert rig.told == [("PUT", "/Observation/o2")]


def events_for(rig, who):
    headers = {"Authorization": who} if who else {}
    return parts(rig.client.get("/fhir/Subscription/s1/$events", headers=headers).get_json(force=True))[1]
