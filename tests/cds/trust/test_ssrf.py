"""No call can make this server talk to somebody whom the site has not named (T3, J9).

A canary listens on loopback and every name in the world resolves to it: whatever gets through the allow-list, by
any of the three ways in (fhirServer, link[next], jku), would be seen there.
"""

import contextlib
import json
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cds.caller import Caller
from cds.hooks import PATIENT_VIEW
from cds.prefetch import PrefetchTemplate
from cds.service import Service
from cds.testing import CannedReader
from cds.trust.issuer import TrustFile
from cds.trust.readers import Readers
from fhir_adapters.allow_list import AllowedServer, Network
from fhir_adapters.client import FetchFailed, FhirClient, Grant, Reason
from fhir_adapters.trust.key_fetch import KeyFetcher, KeysAway
from fhir_adapters.trust.keys import KeyRing

EHR = "https://ehr.example/fhir"
SECRET = "zzcanary-access-token"

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody, and is quickly made
GRANTED = {
    "access_token": SECRET,
    "token_type": "Bearer",
    "expires_in": 300,
    "scope": "user/*.rs",
    "subject": "app",
}

# P stands for the canary's port.
FORMS = (
    "http://127.0.0.1:P/fhir", "http://localhost:P/fhir", "http://[::1]:P/fhir", "https://127.0.0.1:P/fhir",
    # the same address in other spellings
    "http://2130706433:P/fhir", "http://0x7f000001:P/fhir", "http://0x7f.0.0.1:P/fhir", "http://0177.0.0.1:P/fhir",
    "http://127.1:P/fhir", "http://127.0.0.1.:P/fhir", "http://0.0.0.0:P/fhir", "http://[::]:P/fhir",
    "http://[::ffff:127.0.0.1]:P/fhir", "http://[::ffff:7f00:1]:P/fhir", "http://[64:ff9b::7f00:1]:P/fhir",
    "http://[2002:7f00:1::]:P/fhir", "http://①②⑦.⓪.⓪.①:P/fhir", "http://127。0。0。1:P/fhir", "http://%31%32%37.0.0.1:P",
    "HTTP://127.0.0.1:P/fhir", "http://127.0.0.1.nip.example:P/fhir",
    # two readers of one URL, who disagree about the host
    "https://ehr.example@127.0.0.1:P/fhir", "https://ehr.example:443@127.0.0.1:P/fhir",
    "https://ehr.example%2f@127.0.0.1:P/fhir", "https://ehr.example\\@127.0.0.1:P/fhir",
    "https://127.0.0.1:P\\.ehr.example/fhir", "https://127.0.0.1:P#@ehr.example/fhir",
    "https://127.0.0.1:P?@ehr.example/fhir", "https://127.0.0.1:P;ehr.example/fhir", "https:ehr.example:P/fhir",
    "https:///127.0.0.1:P/fhir", "//127.0.0.1:P/fhir", "http://127.0.0.1:P/fhir?https://ehr.example/fhir",
    " http://127.0.0.1:P/fhir", "http://127.0.\t0.1:P/fhir", "http://127.0.0.1:P/fhir\r\nHost: ehr.example",
    # nearly the server that is allowed
    "https://ehr.example:P/fhir", "http://ehr.example:P/fhir", "http://ehr.example/fhir", "https://ehr.example.:P/fhir",
    "https://ehr.example.evil.example:P/fhir", "https://evil.example:P/ehr.example/fhir", "https://ehr-example:P/fhir",
    "https://ehr.example/fhir/../admin", "https://ehr.example/fhir/%2e%2e/admin", "https://ehr.example/fhirx",
    "https://ehr.example/fhir//127.0.0.1:P/", "https://ehr.example/fhir@127.0.0.1:P", "https://ehr.example/",
    # what clouds and other protocols have inside
    "http://169.254.169.254:P/latest/meta-data", "http://metadata.example:P/", "ftp://127.0.0.1:P/fhir",
    "gopher://127.0.0.1:P/_GET", "file:///etc/passwd", "unix:///run/consilium.sock", "dict://127.0.0.1:P/info",
)  # fmt: skip


class Canary:
    """A server on loopback that counts whoever connects, before a byte is read."""

    def __init__(self):
        self.calls = 0
        canary = self

        class Handler(BaseHTTPRequestHandler):
            def setup(self):
                canary.calls += 1
                super().setup()

            def do_GET(self):
                canary.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.block_on_close = False  # whoever is still being answered must not hold the test
        self.port = self.server.server_address[1]

    def answer(self, request):
        request.send_response(200)
        request.end_headers()


@contextmanager
def listening(canary):
    thread = threading.Thread(target=canary.server.serve_forever, args=(0.01,))
    thread.start()
    yield canary
    canary.server.shutdown()
    thread.join()
    canary.server.server_close()


@pytest.fixture(scope="module")
def running_canary():
    with listening(Canary()) as canary:
        yield canary


@pytest.fixture
def canary(running_canary):
    running_canary.calls = 0
    return running_canary


class HostileNames:
    """Every name resolves to these addresses. asked: the names, in order."""

    def __init__(self, *addresses):
        self.addresses, self.asked = addresses, []

    def __call__(self, host, port):
        self.asked.append(host)
        return self.addresses


@pytest.fixture
def names():
    return HostileNames("127.0.0.1")


def reads_all(call, context):
    return ()


ASKS = Service(
    "asks", PATIENT_VIEW, "Asks", "Asks for one thing.",
    (PrefetchTemplate("patient", "Patient/{{context.patientId}}", required=True, complete=True),), reads_all,
)  # fmt: skip
ASKS_PAGES = Service(
    "asks-pages", PATIENT_VIEW, "Asks", "Asks for pages.",
    (PrefetchTemplate("o", "Observation?patient={{context.patientId}}", required=True, complete=True),), reads_all,
)  # fmt: skip


@pytest.fixture(scope="module")
def asking_app(make_app):
    return make_app(ASKS, ASKS_PAGES)


@pytest.fixture
def call(asking_app, frame, make_house, hospital, mint, names):
    """call(service, **body) -> the answer to a call with a good token, by a hospital with one FHIR server."""
    profile = replace(hospital, fhir_bases=(AllowedServer(EHR, Network.PUBLIC),))
    make_house(profile)
    frame.reader = Readers(TrustFile((profile,)), resolve=names, tls=TLS).reader(profile.caller(None))

    def send(service, **more):
        body = {
            "hook": "patient-view",
            "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
            "context": {"userId": "Practitioner/d1", "patientId": "p1"},
            "fhirAuthorization": GRANTED,
        }
        token = mint(aud=f"https://cds.example/cds-services/{service}")
        headers = {"Authorization": f"Bearer {token}"}
        return asking_app.test_client().post(f"/cds-services/{service}", json=body | more, headers=headers)

    return send


def test_the_canary_would_be_heard(canary):
    with socket.create_connection(("127.0.0.1", canary.port)) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.0 200")
    assert canary.calls == 1
    assert len(FORMS) >= 25


@pytest.mark.parametrize("form", FORMS)
def test_a_fhir_server_that_is_not_the_callers_is_not_called(form, call, canary, names):
    answer = call("asks", fhirServer=form.replace(":P", f":{canary.port}"))
    assert answer.status_code in {400, 412}
    assert answer.json["resourceType"] == "OperationOutcome"
    assert (canary.calls, names.asked) == (0, [])


@pytest.mark.parametrize("form", FORMS)
def test_a_next_page_elsewhere_is_not_fetched(form, call, canary, names):
    page = {
        "resourceType": "Bundle",
        "type": "searchset",
        "entry": [],
        "link": [{"relation": "next", "url": form.replace(":P", f":{canary.port}")}],
    }
    answer = call("asks-pages", fhirServer=EHR, prefetch={"o": page})
    assert answer.status_code == 412
    assert (canary.calls, names.asked) == (0, [])


@pytest.mark.parametrize("form", FORMS)
def test_keys_are_not_fetched_from_where_a_token_says(form, make_house, hospital, mint, canary, names):
    registered = replace(hospital, keys=(), jku=("https://ehr.example/fhir/jwks.json",))
    house = make_house(registered, fetcher=KeyFetcher([registered], resolve=names, tls=TLS))
    answer = house.call(mint(header={"jku": form.replace(":P", f":{canary.port}")}))
    assert (answer.status_code, answer.data) == (401, b"")
    assert json.loads(house.told()[0]["detail"])["reason"] == "jku-not-registered"
    assert (canary.calls, names.asked) == (0, [])


ADDRESSES = (
    ("127.0.0.1",), ("::1",), ("93.184.215.14", "127.0.0.1"), ("0.0.0.0",), ("::ffff:127.0.0.1",),
    ("64:ff9b::7f00:1",), ("2002:7f00:1::",), ("169.254.169.254",), ("10.0.0.1",),
    ("192.168.1.1",), ("100.64.0.1",), ("fd00::1",), ("fe80::1%lo",), ("224.0.0.1",), (),
)  # fmt: skip


@pytest.mark.parametrize("addresses", ADDRESSES)
def test_a_name_that_turns_inwards_is_not_followed(addresses, hospital, canary):
    """Rebinding: the name is the registered one, its addresses are an attacker's."""
    base = f"https://ehr.example:{canary.port}"
    profile = replace(hospital, fhir_bases=(AllowedServer(f"{base}/fhir"),), jku=(f"{base}/jwks.json",))
    names = HostileNames(*addresses)
    reader = Readers(TrustFile((profile,)), resolve=names, tls=TLS).reader(Caller(profile.iss, profile.name))
    grant = Grant(f"{base}/fhir", SECRET)
    (failure,) = reader.fetch_all(grant, {"a": "Patient/p1"}, ends_at=ends()).values()
    assert isinstance(failure, FetchFailed)
    assert failure.reason is Reason.NOT_ALLOWED
    with pytest.raises(KeysAway, match="not allowed"):
        KeyFetcher([profile], resolve=names, tls=TLS).fetch(f"{base}/jwks.json")
    assert (canary.calls, names.asked) == (0, ["ehr.example"] * 2)


def ends():
    return time.monotonic() + 60


class Redirecting(Canary):
    """An allowed server that sends everybody on to the canary."""

    def __init__(self, to, status):
        super().__init__()
        self.to, self.status = to, status

    def answer(self, request):
        request.send_response(self.status)
        request.send_header("Location", self.to)
        request.end_headers()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status, hospital, canary):
    with listening(Redirecting(f"http://127.0.0.1:{canary.port}/fhir/Patient/p1", status)) as allowed:
        base = f"http://127.0.0.1:{allowed.port}"
        profile = replace(
            hospital,
            network=Network.LOOPBACK,
            fhir_bases=(AllowedServer(f"{base}/fhir", Network.LOOPBACK),),
            jku=(f"{base}/jwks.json",),
        )
        reader = Readers(TrustFile((profile,))).reader(Caller(profile.iss, profile.name))
        grant = Grant(f"{base}/fhir", SECRET)
        (failure,) = reader.fetch_all(grant, {"a": "Patient/p1"}, ends_at=ends()).values()
        assert failure.reason is Reason.REDIRECTED
        with pytest.raises(KeysAway, match="redirect"):
            KeyFetcher([profile]).fetch(f"{base}/jwks.json")
        assert allowed.calls == 2
    assert canary.calls == 0


def test_each_issuer_reads_from_its_own_servers_alone(hospital):
    one = replace(
        hospital, name="one", iss="https://one.example", fhir_bases=(AllowedServer("https://one.example/fhir"),)
    )
    two = replace(
        hospital, name="two", iss="https://two.example", fhir_bases=(AllowedServer("https://two.example/fhir"),)
    )
    none = replace(hospital, name="none", iss="https://none.example")
    others = CannedReader({})
    readers = Readers(TrustFile((one, two, none)), others)
    assert readers.reader(one.caller(None)).allows("https://one.example/fhir")
    assert not readers.reader(one.caller(None)).allows("https://two.example/fhir")
    assert readers.reader(none.caller(None)) is None
    assert readers.reader(Caller("anonymous", "anonymous")) is others
    assert Readers(None).reader(Caller("anonymous", "anonymous")) is None


def test_closing_closes_the_connections_of_issuers_and_of_those_without(hospital, monkeypatch):
    closed = []

    def noted(client):
        closed.append(client)

    monkeypatch.setattr(FhirClient, "close", noted)
    profile = replace(hospital, fhir_bases=(AllowedServer("https://one.example/fhir"),))
    readers = Readers(TrustFile((profile,)), FhirClient([AllowedServer("https://other.example/fhir")]))
    readers.close()
    assert {client.allows("https://other.example/fhir") for client in closed} == {True, False}


class Published(Canary):
    """An allowed server with a key set, sent as it is told."""

    def __init__(self, body, media_type="application/json"):
        super().__init__()
        self.body, self.media_type = body, media_type

    def answer(self, request):
        request.send_response(200)
        request.send_header("Content-Type", self.media_type)
        request.end_headers()
        request.wfile.write(self.body)


def fetched(server, hospital):
    url = f"http://127.0.0.1:{server.port}/jwks.json"
    profile = replace(hospital, keys=(), network=Network.LOOPBACK, jku=(url,))
    return KeyFetcher([profile]).fetch(url)


@pytest.mark.parametrize("media_type", ["application/json", "application/jwk-set+json; charset=utf-8"])
def test_keys_come_over_http_from_where_they_are_registered(media_type, hospital, signers):
    document = {"keys": [signers["ES384"].jwk]}
    with listening(Published(json.dumps(document).encode(), media_type)) as server:
        assert fetched(server, hospital) == document


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b'{"keys": [' + b" " * 300_000 + b"]}", "application/json"),
        (b'{"keys": [], "keys": []}', "application/json"),
        (b"<html>", "text/html"),
        (b'{"keys": []}', "text/html"),
        (b"[]", "application/json"),
        (b"", "application/json"),
    ],
)
def test_what_is_no_key_set_is_not_read(body, media_type, hospital):
    with listening(Published(body, media_type)) as server, pytest.raises(KeysAway, match="not JSON, or too large"):
        fetched(server, hospital)


class Endless(Canary):
    """An allowed server whose key set does not end."""

    def answer(self, request):
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.end_headers()
        with contextlib.suppress(OSError):
            while True:
                request.wfile.write(b" " * 65_536)


def test_a_key_set_without_end_is_not_read_to_the_end(hospital):
    with listening(Endless()) as server, pytest.raises(KeysAway, match="too large"):
        fetched(server, hospital)


def test_a_token_is_let_in_with_keys_fetched_over_http(make_house, hospital, mint, signers):
    with listening(Published(json.dumps({"keys": [signers["ES384"].jwk]}).encode())) as server:
        url = f"http://127.0.0.1:{server.port}/jwks.json"
        profile = replace(hospital, keys=(), network=Network.LOOPBACK, jku=(url,))
        house = make_house(profile, fetcher=KeyFetcher([profile]))
        assert [house.call(mint()).status_code for _ in range(3)] == [200] * 3
        assert server.calls == 1
    assert house.call(mint()).status_code == 200  # the server has gone; its keys are still known


def test_a_key_server_that_says_nothing_is_not_waited_for(hospital, monkeypatch):
    monkeypatch.setattr("fhir_adapters.trust.key_fetch.FETCH_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/jwks.json"
        fetcher = KeyFetcher([replace(hospital, network=Network.LOOPBACK, jku=(url,))])
        with pytest.raises(KeysAway, match="in time"):
            fetcher.fetch(url)


def test_the_ring_reads_a_real_server_that_changes_its_keys(make_house, hospital, mint, signers):
    with listening(Published(json.dumps({"keys": [signers["ES384"].jwk]}).encode())) as server:
        url = f"http://127.0.0.1:{server.port}/jwks.json"
        profile = replace(hospital, keys=(), network=Network.LOOPBACK, jku=(url,))
        ring = KeyRing([profile], KeyFetcher([profile]))
        ring.start()
        house = make_house(profile)
        house.door._keys = ring
        assert house.call(mint("ES384")).status_code == 200
        server.body = json.dumps({"keys": [signers["RS384"].jwk]}).encode()
        assert house.call(mint("RS384")).status_code == 200
        ring.close()
