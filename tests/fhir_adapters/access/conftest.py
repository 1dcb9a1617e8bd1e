"""A token endpoint with clients whose keys are known, and the FHIR API behind its door."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from fhir_adapters.access import http, scopes
from fhir_adapters.access.access_token import Mint
from fhir_adapters.access.assertion import Doorkeeping
from fhir_adapters.access.clients import Client, Clients
from fhir_adapters.access.consents import Consents
from fhir_adapters.access.door import TokenAccess
from fhir_adapters.access.oauth import ASSERTION_TYPE
from fhir_adapters.access.refusals import ACTION
from fhir_adapters.access.smart_configuration import smart_configuration
from fhir_adapters.access.token_endpoint import Endpoint
from fhir_adapters.bulk.offer import Bulk
from fhir_adapters.rest import Fhir, blueprint
from fhir_adapters.trust.jwk import read_key
from fhir_adapters.trust.keys import KeyRing
from fhir_adapters.trust.refusal_log import RefusalLog
from fhir_adapters.trust.testing import CannedFetcher, Signer, claims
from record_store.accesses import AccessLog
from record_store.revoked_tokens import RevokedTokens
from record_store.seen_tokens import SeenTokens
from record_store.tables import audit

NOW = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)
BASE = "https://cds.example"
TOKEN_URL = f"{BASE}/oauth2/token"
OPERATOR = "an-operator-s-token-of-more-than-32-characters"


class StandingClock:
    def __init__(self):
        self.at = NOW

    def __call__(self):
        self.at += timedelta(microseconds=1)
        return self.at

    def advance(self, seconds):
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def now():
    return StandingClock()


@pytest.fixture(scope="session")
def signers():
    """Key pairs by algorithm, made once: each is the warehouse's, but for "stranger" and "other"."""
    pairs = {name: Signer(f"kid-{name}", name) for name in ("ES384", "RS384", "ES256", "RS256")}
    return pairs | {"stranger": Signer("kid-ES384"), "other": Signer("kid-other"), "next": Signer("kid-next")}


def scopes_of(*texts):
    return tuple(scopes.parse(text) for text in texts)


@pytest.fixture(scope="session")
def warehouse(signers):
    """A client that may read everything and write Observations."""
    keys = tuple(read_key(signers[name].jwk) for name in ("ES384", "RS384"))
    own = scopes_of("system/*.rs", "system/Observation.cruds", "patient/*.rs")
    return Client("warehouse", "https://warehouse.example/id", keys, scopes=own)


@pytest.fixture(scope="session")
def other(signers):
    """A client that may read the laboratory results of one patient, and no more."""
    own = scopes_of("patient/Observation.rs?category=laboratory")
    return Client("other", "other", (read_key(signers["other"].jwk),), scopes=own, patient="p1")


class House:
    """A token endpoint and the FHIR API over one store, as one worker has them."""

    def __init__(self, db, now, clients, signers, fetcher=None, blobs=None, consents=None):
        self.db, self.now, self.signers, self.numbers = db, now, signers, itertools.count()
        self.ring = KeyRing(clients, fetcher or CannedFetcher({}))
        self.ring.start = lambda: None  # what a test fetches, it fetches itself
        refusals = RefusalLog(db, now, action=ACTION)
        revoked, mint = RevokedTokens(db, now), Mint(b"m" * 32, issuer=BASE, audience=f"{BASE}/fhir")
        self.mint, self.issued, self.later = mint, [], []
        self.access = TokenAccess(
            clients=Clients(tuple(clients)),
            mint=mint,
            revoked=revoked,
            now=now,
            refused=refusals.record,
            configuration=smart_configuration(BASE),
            bearer=OPERATOR,
        )
        self.endpoint = Endpoint(
            url=TOKEN_URL,
            parts=Doorkeeping(Clients(tuple(clients)), self.ring, SeenTokens(db)),
            mint=mint,
            revoked=revoked,
            now=now,
            new_id=lambda: f"token-{next(self.numbers)}",
            refused=refusals.record,
            issued=lambda client, grant: self.issued.append(grant),
        )
        fhir = Fhir(
            db=db,
            now=now,
            new_id=lambda: f"made-{next(self.numbers)}",
            page_key=b"k" * 32,
            base_url=f"{BASE}/fhir",
            access=self.access,
            consents=None if consents is None else Consents(db, now, f"{BASE}/fhir", **consents),
            log=AccessLog(db, self.later.append),
            bulk=None if blobs is None else Bulk(blobs=lambda: blobs),
        )
        self.fhir = fhir
        app = Flask("access-test")
        app.register_blueprint(http.blueprint(self.endpoint, self.access.is_operator))
        app.register_blueprint(blueprint(fhir))
        self.client = app.test_client()

    def assertion(self, client, signer="ES384", *, header=None, aud=TOKEN_URL, jti=None, iss="", **changes):
        """A good assertion of a client, but for what is changed."""
        pair = self.signers[signer]
        usual = {"alg": pair.algorithm, "typ": "JWT", "kid": pair.kid}
        given = {name: value for name, value in (usual | (header or {})).items() if value is not None}
        jti = f"zzcanary-{next(self.numbers)}" if jti is None else jti
        iss = client.iss if iss == "" else iss
        return pair.token(claims(iss, aud, self.now(), jti, **{"sub": client.iss, **changes}), given)

    def ask(self, assertion, *, path="/oauth2/token", **changes):
        """Send a good request with an assertion, but for what is changed; None leaves a field out."""
        changes.setdefault("client_assertion", assertion)
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "scope": "system/*.rs",
        }
        sent = {name: value for name, value in (form | changes).items() if value is not None}
        return self.client.post(path, data=sent)

    def token(self, client, scope, signer="ES384", **changes):
        """An access token with these scopes."""
        answer = self.ask(self.assertion(client, signer), scope=scope, **changes)
        assert answer.status_code == 200, answer.data
        return answer.json["access_token"]

    def told(self):
        """The reasons that the operator is told, oldest first."""
        with self.db.read() as conn:
            rows = conn.execute(select(audit).where(audit.c.action == ACTION).order_by(audit.c.row)).all()
        return [dict(row._mapping) for row in rows]


@pytest.fixture
def make_house(sqlite_db, now, signers):
    return lambda *clients, **more: House(more.pop("db", sqlite_db), now, clients, signers, **more)


@pytest.fixture
def house(make_house, warehouse, other):
    return make_house(warehouse, other)


@pytest.fixture
def with_scopes():
    return lambda client, *texts, **changes: replace(client, scopes=scopes_of(*texts), **changes)
