"""A server, its worker's part in subscriptions and an endpoint, driven step by step."""

import itertools
import json
from datetime import UTC, datetime, timedelta

from flask import Flask

from consilium.matching import Matching
from consilium.notifying import Notifying
from fhir_adapters.access.consents import Consents
from fhir_adapters.access.door import OPEN
from fhir_adapters.allow_list import AllowedServer, Network
from fhir_adapters.rest import Fhir, blueprint
from fhir_adapters.subscriptions.owner import may_see_of
from fhir_adapters.subscriptions.rest_hook import RestHook
from record_store.deliveries import RetryPolicy
from record_store.version_match import VersionMatch

BASE_URL = "http://127.0.0.1:8080/fhir"
FHIR_JSON = "application/fhir+json"
LOINC = "http://loinc.org"
MATCH = VersionMatch()  # its tables are made once
SECRET = "Bearer s3cret-zzz"


class Rig:
    """now: moved by `later`. run: what the worker does until nothing more is due."""

    def __init__(self, db, receiver, access=OPEN, *, consents=False, **notifying):
        self.db, self.receiver, self.now = db, receiver, datetime(2026, 11, 27, 4, 0, tzinfo=UTC)
        self.access, self.numbers = access, itertools.count(1)
        self.consents = (
            Consents(db, lambda: self.now, BASE_URL, clock=itertools.count().__next__) if consents else None
        )
        self.given = {"may_see": may_see_of(access, BASE_URL, self.consents)} | notifying
        self.allow(receiver.url)

    def allow(self, *urls):
        """Let notifications go to these and the endpoint."""
        endpoints = tuple(AllowedServer(url, Network.LOOPBACK) for url in {self.receiver.url, *urls})
        fhir = Fhir(
            db=self.db,
            now=lambda: self.now,
            new_id=lambda: f"made-{next(self.numbers)}",
            page_key=b"k" * 32,
            base_url=BASE_URL,
            endpoints=endpoints,
            access=self.access,
            consents=self.consents,
        )
        app = Flask("subscriptions")
        app.register_blueprint(blueprint(fhir))
        self.client, self.hook = app.test_client(), RestHook(endpoints)
        self.work_on(self.db)

    def work_on(self, db, **notifying):
        """Let the worker use this database."""
        self.matching = Matching(db, lambda: self.now, BASE_URL, _match=MATCH)
        given = (
            self.given | {"send": self.hook.send, "retry": RetryPolicy(3, 10.0, jitter=lambda: 1.0)} | notifying
        )
        self.notifying = Notifying(db=db, now=lambda: self.now, worker="w", base_url=BASE_URL, **given)

    def later(self, seconds):
        self.now += timedelta(seconds=seconds)

    def run(self):
        self.matching.expire()
        self.matching.once()
        for own in self.notifying.due():
            self.notifying.deliver(own)
        self.matching.once()

    def send(self, method, path, resource=None, **headers):
        data = json.dumps(resource) if isinstance(resource, dict) else resource
        return self.client.open(f"/fhir/{path}", method=method, data=data, content_type=FHIR_JSON, headers=headers)

    def subscribe(self, own="s1", **changes):
        """Write a Subscription and let the worker take it over; return the answer."""
        reply = self.send("PUT", f"Subscription/{own}", subscription(self.receiver.url, own, **changes))
        assert reply.status_code in {200, 201}, reply.data
        self.run()
        return reply

    def observe(self, own="o1", code="4548-4", **changes):
        reply = self.send("PUT", f"Observation/{own}", observation(own, code, **changes))
        assert reply.status_code in {200, 201}, reply.data
        return self.client.get(f"/fhir/Observation/{own}").data

    def read(self, own="s1"):
        return self.client.get(f"/fhir/Subscription/{own}").get_json(force=True)

    @property
    def told(self):
        return [(one.method, one.path) for one in self.receiver.arrived]


def observation(own, code="4548-4", **changes):
    return {
        "resourceType": "Observation",
        "id": own,
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": code}]},
        "subject": {"reference": "Patient/p1"},
        "valueString": "1.10",
    } | changes


def subscription(url, own="s1", criteria=f"Observation?code={LOINC}|4548-4", **changes):
    channel = {"type": "rest-hook", "endpoint": url, "payload": FHIR_JSON} | changes.pop("channel", {})
    return {
        "resourceType": "Subscription",
        "id": own,
        "status": "requested",
        "reason": "tests",
        "criteria": criteria,
        "channel": {name: value for name, value in channel.items() if value is not None},
    } | changes
