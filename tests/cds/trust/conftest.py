"""A hospital whose tokens are good, its keys, and the hooks behind a door."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from cds.http import blueprint
from cds.links import LinkSigner
from cds.service import CdsContext
from cds.testing import counting_uuids, one_card_service
from cds.trust.door import TokenDoor
from cds.trust.issuer import IssuerProfile, TrustFile
from fhir_adapters.trust.jwk import RECOMMENDED, read_key
from fhir_adapters.trust.keys import KeyRing
from fhir_adapters.trust.refusal_log import RefusalLog
from fhir_adapters.trust.testing import CannedFetcher, Signer, claims
from model_runtime.testing import CannedEngine
from record_store.seen_tokens import SeenTokens
from record_store.tables import audit

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
BASE = "https://cds.example"
ISS = "https://ehr.example/fhir"


class StandingClock:
    def __init__(self):
        self.at = NOW

    def __call__(self):
        return self.at

    def advance(self, seconds):
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def now():
    return StandingClock()


@pytest.fixture(scope="session")
def signers():
    """Key pairs by algorithm, made once: each is the hospital's, but for "stranger"."""
    pairs = {name: Signer(f"kid-{name}", name) for name in ("ES384", "RS384", "ES256", "ES512")}
    return pairs | {"stranger": Signer("kid-stranger"), "stranger-rsa": Signer("kid-RS384", "RS384")}


@pytest.fixture(scope="session")
def hospital(signers):
    """The profile of a client system with two keys, as the issuers file would give it."""
    keys = tuple(read_key(signers[name].jwk) for name in ("ES384", "RS384"))
    return IssuerProfile("hospital", ISS, keys, algorithms=frozenset(RECOMMENDED))


class Desk:
    """Takes any feedback."""

    def take(self, service_id, caller, body):
        self.last = (service_id, caller, body)


class Frame:
    """Where a door is hung: one application serves all tests, each with its own door."""

    door = reader = None

    def admit(self, headers, url, peer=""):
        return self.door.admit(headers, url, peer)

    def warm(self):
        pass

    def reader_for(self, caller):
        return self.reader


@pytest.fixture(scope="session")
def frame():
    return Frame()


@pytest.fixture(scope="session")
def make_app(shared_db, frame):
    """make_app(service, ...) -> an application whose door and reader are those of `frame`."""

    def make(*services):
        context = CdsContext(
            engine=CannedEngine({}, {}),
            db=shared_db,
            now=lambda: NOW,
            links=LinkSigner(b"k" * 32, BASE, lambda: NOW),
            new_uuid=counting_uuids(),
            base_url=BASE,
            door=frame,
            reader_for=frame.reader_for,
            feedback=Desk(),
        )
        app = Flask("trust-test")
        app.register_blueprint(blueprint(services, context))
        return app

    return make


@pytest.fixture(scope="session")
def one_card_app(make_app):
    return make_app(one_card_service())


class House:
    """The hooks behind a door: call(token) -> answer, and what the operator is told."""

    def __init__(self, door, app, db):
        self.client, self.door, self.db = app.test_client(), door, db

    def call(self, token=None, *, path="/cds-services/one-card", authorization=None, **more):
        value = authorization if authorization is not None else f"Bearer {token}" if token is not None else None
        headers = {} if value is None else {"Authorization": value}
        if path == "/cds-services":
            return self.client.get(path, headers=headers)
        body = {
            "hook": "patient-view",
            "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
            "context": {"userId": "Practitioner/d1", "patientId": "p1"},
        }
        return self.client.post(path, json=body, headers=headers, **more)

    def told(self):
        """Every refusal in the audit, oldest first."""
        with self.db.read() as conn:
            rows = conn.execute(select(audit).where(audit.c.action == "token-refused").order_by(audit.c.row)).all()
        return [dict(row._mapping) for row in rows]


@pytest.fixture
def make_house(one_card_app, frame, shared_db, now):
    """make_house(profile, ..., fetcher=...) -> House with a clean audit and a fresh memory of used tokens."""

    def make(*profiles, fetcher=None, header=None, observe=lambda issuer, reason: None):
        with shared_db.write(durable=False) as conn:
            conn.exec_driver_sql("DELETE FROM audit")
            conn.exec_driver_sql("DELETE FROM seen_token")
        ring = KeyRing(profiles, fetcher or CannedFetcher({}))
        ring.start = lambda: None  # what a test fetches, it fetches itself
        door = TokenDoor(
            TrustFile(profiles, header), ring, SeenTokens(shared_db), now, RefusalLog(shared_db, now, observe)
        )
        frame.door = door
        return House(door, one_card_app, shared_db)

    return make


@pytest.fixture
def house(make_house, hospital):
    return make_house(hospital)


@pytest.fixture
def mint(signers, now):
    """mint(**claims) -> a good token of the hospital, but for what is changed; signer and algorithm by name."""
    numbers = itertools.count()

    def make(signer="ES384", *, header=None, aud=f"{BASE}/cds-services/one-card", iss=ISS, jti=None, **changes):
        usual = {"alg": signers[signer].algorithm, "typ": "JWT", "kid": signers[signer].kid}
        given = {name: value for name, value in (usual | (header or {})).items() if value is not None}
        # The canary patient stands in every token: a log line with any of it fails the test.
        jti = f"zzcanary-{next(numbers)}" if jti is None else jti
        body = claims(iss, aud, now(), jti, **{"sub": "quillon", **changes})
        return signers[signer].token(body, given)

    return make
