import json
from contextlib import contextmanager
from datetime import UTC, datetime

import numpy as np
import pytest
from flask import Flask

from cds.call_audit import AuditOfCalls
from cds.caller import Caller, Capabilities
from cds.http import blueprint
from cds.links import LinkSigner
from cds.service import CdsContext
from cds.services import SERVICES
from cds.testing import counting_uuids
from cds.wire_schema.testing import WireWatch
from model_runtime.testing import CannedEngine, manifest_of, risk_document
from record_store.testing import database

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def shared_db(tmp_path_factory):
    db = database(tmp_path_factory.mktemp("cds"))
    yield db
    db.dispose()


@pytest.fixture
def make_context(shared_db):
    """make_context(engine=..., db=..., fhir=...) -> CdsContext with a standing clock and counted UUIDs."""

    def make(**changes):
        parts = {
            "engine": risk_engine(0.25),
            "db": shared_db,
            "now": lambda: NOW,
            "links": LinkSigner(b"k" * 32, "https://cds.example", lambda: NOW),
            "new_uuid": counting_uuids(),
            # What a call may take is shown where it is the claim; here its first one may load a library.
            "budget_s": 60.0,
        }
        return CdsContext(**parts | changes)

    return make


@pytest.fixture
def wire():
    """Every answer of the hooks in a test is legal by the schemas that we publish."""
    watch = WireWatch()
    yield watch
    assert watch.found == []


@pytest.fixture
def make_client(make_context, wire):
    """make_client(services=SERVICES, **context) -> HTTP client of an app with nothing but the hooks."""

    def make(services=SERVICES, **changes):
        app = Flask("cds-test")
        app.register_blueprint(blueprint(services, make_context(**changes)))
        return wire.over(app).test_client()

    return make


EPIC = Caller("https://ehr.example/fhir", "epic", capabilities=Capabilities(system_actions=True))


class RecordingStages:
    """Every stage at once; says what was called, and lets everything through."""

    def __init__(self):
        self.seen = []

    def admit(self, headers, url, peer):
        self.seen.append(("door", url, peer))
        return EPIC

    @contextmanager
    def enter(self, caller):
        self.seen.append(("bulkhead", caller))
        yield
        self.seen.append(("bulkhead left",))

    def budget(self, hook, service):
        self.seen.append(("budget", hook, service))
        return 5.0

    def covers(self, service):
        self.seen.append(("shadow?", service))
        return False

    def check(self, name):
        self.seen.append(("circuit", name))

    def reader_for(self, caller):
        self.seen.append(("reader", caller.name))

    def recall(self, call, model, make):
        self.seen.append(("results", model))
        return make()

    @contextmanager
    def guard(self, name, deadline):
        self.seen.append(("guard", name))
        yield

    def sift(self, call, guidance):
        self.seen.append(("hygiene", len(guidance.cards)))
        return guidance

    def adapt(self, guidance, capabilities):
        self.seen.append(("adapt", capabilities.system_actions))
        return guidance

    def row(self, call):
        self.seen.append(("audit", call.outcome, call.cards, call.caller))
        return AuditOfCalls(lambda: NOW).row(call)

    def rows(self, db, call, guidance):
        self.seen.append(("sent", call.service_id, len(guidance.cards)))
        return ()

    def take(self, service_id, caller, body):
        self.seen.append(("feedback", service_id, caller.name, body))

    def stages(self):
        return {
            "door": self,
            "bulkhead": self,
            "budget": self.budget,
            "shadow": self,
            "circuits": self,
            "reader_for": self.reader_for,
            "results": self,
            "hygiene": self,
            "adapt": self.adapt,
            "audit": self,
            "sent": self,
            "feedback": self,
            "base_url": "https://cds.example",
        }


@pytest.fixture
def recorder():
    return RecordingStages()


@pytest.fixture
def client(make_client):
    return make_client()


@pytest.fixture
def risk_engine_of():
    return risk_engine


def risk_engine(answer):
    """A canned diabetes-risk model: one probability for every row, an error, or a function of the features."""
    manifests = {"diabetes-risk": manifest_of(risk_document())}
    if isinstance(answer, float):
        probability = answer
        return CannedEngine(
            {"diabetes-risk": lambda inputs: {"probability": np.full((len(inputs["features"]), 1), probability)}},
            manifests,
        )
    return CannedEngine({"diabetes-risk": answer}, manifests)


@pytest.fixture
def adult():
    """Prefetch of a complete patient: the canary, born 1969-05-01, with all inputs of diabetes-risk."""
    return {
        "patient": {
            "resourceType": "Patient",
            "id": "p1",
            "identifier": [{"system": "urn:oid:1.2.3", "value": "ZZCANARY-4711"}],
            "name": [{"family": "Zzcanary", "given": ["Quillon"]}],
            "gender": "male",
            "birthDate": "1969-05-01",
        },
        "bmi": bundle_of(observation("39156-5", 31.24, "kg/m2", "b1")),
        "waist": bundle_of(observation("8280-0", 40, "[in_i]", "w1")),
        "blood-pressure": bundle_of(pressure(131, 84)),
        "glucose": bundle_of(observation("14771-0", 7.1, "mmol/L", "g1")),
        "insulin": bundle_of(),
        "health-and-habits": bundle_of(),
        "family-history": bundle_of(
            {
                "resourceType": "FamilyMemberHistory",
                "id": "f1",
                "status": "completed",
                "date": "2020-02-03",
                "patient": {"reference": "Patient/p1"},
                "relationship": coded("http://terminology.hl7.org/CodeSystem/v3-RoleCode", "MTH"),
                "condition": [{"code": coded("http://snomed.info/sct", "44054006")}],
            }
        ),
    }


def coded(system, code):
    return {"coding": [{"system": system, "code": code}]}


def bundle_of(*resources, **more):
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "entry": [{"resource": resource} for resource in resources],
        **more,
    }


def observation(code, value, unit, ident="o1", **more):
    return {
        "resourceType": "Observation",
        "id": ident,
        "status": "final",
        "code": coded("http://loinc.org", code),
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2026-03-04T10:11:12+01:00",
        "valueQuantity": {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit},
        **more,
    }


def pressure(systolic, diastolic):
    def part(code, value):
        unit = {"value": value, "system": "http://unitsofmeasure.org", "code": "mm[Hg]"}
        return {"code": coded("http://loinc.org", code), "valueQuantity": unit}

    panel = observation("85354-9", 0, "x", "bp1", component=[part("8480-6", systolic), part("8462-4", diastolic)])
    del panel["valueQuantity"]
    return panel


@pytest.fixture
def post():
    """post(client, service, body) -> response; bodies are sent as they are when they are bytes."""

    def send(client, service, body, content_type="application/json", **more):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return client.post(f"/cds-services/{service}", data=data, content_type=content_type, **more)

    return send


@pytest.fixture
def make_bundle():
    return bundle_of


@pytest.fixture
def make_observation():
    return observation
