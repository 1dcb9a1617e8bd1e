"""Another FHIR server, well-behaved and not: nothing twice, nothing over somebody's change, one token for all."""

import base64
import itertools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from flask import Flask
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from werkzeug.serving import make_server

from clinical.errors import IncorrectInput
from fhir_adapters.access import http as access_http
from fhir_adapters.access.clients import Client
from fhir_adapters.access.scopes import parse as scope_of
from fhir_adapters.allow_list import AllowedServer, Network
from fhir_adapters.importing.remote import RemoteTarget
from fhir_adapters.importing.run import Import
from fhir_adapters.importing.sources import find
from fhir_adapters.remote.exchange import Exchange
from fhir_adapters.remote.identity import Identity, new_key, signing_key
from fhir_adapters.remote.problem import ChangedThere, RemoteProblem
from fhir_adapters.remote.server import Patience, RemoteServer
from fhir_adapters.remote.tokens import AccessTokens
from fhir_adapters.rest import blueprint
from fhir_adapters.trust.jwk import read_key
from record_store.testing import database
from tests.fhir_adapters.access.conftest import House as AccessHouse
from tests.fhir_adapters.conftest import client_of, make_fhir
from tests.fhir_adapters.remote_double import Double, Says
from tests.fhir_adapters.synthea import Synthea, written
from tests.fhir_adapters.test_importing import Seen

PATIENT = b'{"resourceType":"Patient","identifier":[{"system":"urn:s","value":"17"}],"note":1.10}'
CREATED = Says(201, headers={"Location": "http://x/fhir/Patient/new/_history/1", "ETag": 'W/"1"'})
USUAL = Patience(tries=4, within_s=30, timeout_s=30, jitter=lambda: 1.0)
HASTY = replace(USUAL, tries=1, timeout_s=0.4)
LATE = Says(after_s=20)  # which nobody waits for


class Clock:
    """Sleeping moves it."""

    def __init__(self):
        self.at, self.slept = 1000.0, []

    def __call__(self):
        return self.at

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.at += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def double():
    made = []

    def start(says):
        made.append(Double(says))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def server_at(clock):
    exchanges = []

    def make(base, tokens=None, patience=USUAL):
        exchanges.append(Exchange([AllowedServer(base, Network.LOOPBACK)]))
        held = tokens(exchanges[-1]) if tokens else None
        return RemoteServer(base, exchanges[-1], held, patience, clock.sleep, clock)

    yield make
    for one in exchanges:
        one.close()


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("key") / "key.jwk"
    path.write_text(json.dumps(new_key("ours")))
    return signing_key(path)


def test_a_create_is_sent_again_until_it_is_known_and_makes_one(double, server_at, clock):
    there = double({"/fhir": [Says(503, headers={"Retry-After": "7"}), Says(429), Says(hangs_up=True), CREATED]})
    stored = server_at(there.base).create("Patient", PATIENT, "identifier=urn:s|17")
    assert (stored.id, stored.etag, stored.created) == ("new", 'W/"1"', True)
    assert clock.slept == [7.0, 1.0, 2.0]
    assert {one.headers["if-none-exist"] for one in there.came} == {"identifier=urn:s%7C17"}
    assert {one.body for one in there.came} == {PATIENT}


def test_what_was_there_is_found_and_not_made(double, server_at):
    there = double({"/fhir": [Says(200, headers={"Location": "Patient/old/_history/3", "ETag": 'W/"3"'})]})
    stored = server_at(there.base).create("Patient", PATIENT, "identifier=urn:s|17")
    assert (stored.id, stored.created) == ("old", False)


@pytest.mark.parametrize(
    ("said", "tries", "may_pass"),
    [
        (Says(400), 1, False),
        (Says(422), 1, False),
        (Says(500), 4, True),
        (Says(503), 4, True),
        (Says(403), 1, True),
    ],
)
def test_what_cannot_help_is_not_tried_again(double, server_at, said, tries, may_pass):
    there = double({"/fhir": [said]})
    with pytest.raises(RemoteProblem) as failed:
        server_at(there.base).create("Patient", PATIENT, "identifier=x")
    assert (len(there.came), failed.value.may_pass, failed.value.status) == (tries, may_pass, said.status)


def test_what_may_have_arrived_is_sent_again_only_where_twice_is_as_good_as_once(double, server_at):
    for said, patience in ((Says(hangs_up=True), USUAL), (LATE, replace(HASTY, tries=4)), (Says(502), USUAL)):
        there = double({"/fhir": [said]})
        with pytest.raises(RemoteProblem):
            server_at(there.base, patience=patience).bundle(b"{}", repeatable=False)
        assert len(there.came) <= 1  # on a busy machine the hasty one has left before it was heard
    refused = double({"/fhir": [Says(503), Says(200, {"resourceType": "Bundle"})]})
    assert server_at(refused.base).bundle(b"{}", repeatable=False) == {"resourceType": "Bundle"}


def test_a_server_that_asks_for_more_patience_than_there_is_gets_none(double, server_at, clock):
    there = double({"/fhir": [Says(503, headers={"Retry-After": "3600"})]})
    with pytest.raises(RemoteProblem) as failed:
        server_at(there.base).read("Patient/1")
    assert (failed.value.retry_after_s, clock.slept, len(there.came)) == (3600, [], 1)


def test_an_update_says_which_version_it_replaces_and_never_overwrites_another(double, server_at):
    there = double({"/fhir": [Says(412)]})
    with pytest.raises(ChangedThere):
        server_at(there.base).update("Patient", "p", PATIENT, 'W/"3"')
    assert [one.headers.get("if-match") for one in there.came] == ['W/"3"']


def test_an_update_whose_answer_was_lost_is_known_again(double, server_at):
    body = b'{"resourceType":"Patient","id":"p","active":true}'
    is_there = {"resourceType": "Patient", "id": "p", "active": True, "meta": {"versionId": "4"}}
    there = double({"/fhir": [Says(hangs_up=True), Says(412), Says(200, is_there)]})
    assert server_at(there.base).update("Patient", "p", body, 'W/"3"').etag == 'W/"4"'
    other = double({"/fhir": [Says(hangs_up=True), Says(412), Says(200, is_there | {"active": False})]})
    with pytest.raises(ChangedThere):
        server_at(other.base).update("Patient", "p", body, 'W/"3"')


def test_a_search_follows_its_pages_but_to_no_other_server(double, server_at):
    def page(next_url, *ids):
        entries = [{"resource": {"resourceType": "Patient", "id": one}} for one in ids]
        entries.append({"resource": {"resourceType": "OperationOutcome"}, "search": {"mode": "outcome"}})
        link = [{"relation": "next", "url": next_url}] if next_url else []
        return Says(200, {"resourceType": "Bundle", "link": link, "entry": entries})

    there = double({"/fhir": [Says(500)]})
    there.says["/fhir"] = [page(f"{there.base}?page=2", "a", "b"), page(None, "c")]
    assert [one["id"] for one in server_at(there.base).search("Patient?name=x|y")] == ["a", "b", "c"]
    assert there.came[0].path == "/fhir/Patient?name=x%7Cy"
    there.says["/fhir"] = [Says(200, {"resourceType": "Bundle", "entry": [None]})]
    with pytest.raises(RemoteProblem, match="no object"):
        list(server_at(there.base).search("Patient"))
    there.says["/fhir"] = [page("http://127.0.0.1:1/fhir?page=2", "a")]
    with pytest.raises(RemoteProblem, match="another server"):
        list(server_at(there.base).search("Patient"))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (Says(302, headers={"Location": "http://127.0.0.1:1/"}), "redirect"),
        (Says(200, "no object"), "not FHIR JSON"),
        (LATE, "in time"),
    ],
)
def test_odd_answers_are_told_in_words_without_an_address(double, server_at, said, reason):
    there = double({"/fhir": [said]})
    with pytest.raises(RemoteProblem, match=reason) as failed:
        server_at(there.base, patience=HASTY if said is LATE else USUAL).read("Patient/secret")
    assert "secret" not in failed.value.message
    assert "127.0.0.1" not in failed.value.message


def test_a_server_that_is_not_named_is_never_called(server_at):
    remote = server_at("http://127.0.0.1:1/fhir")
    remote.base = "http://127.0.0.1:2/fhir"
    with pytest.raises(RemoteProblem, match="not allowed"):
        remote.read("Patient/1")


def granted(text="tok", life=300, **more):
    return Says(200, {"access_token": text, "token_type": "bearer", "expires_in": life, **more})


def tokens_of(base, key, clock, **more):
    identity = Identity("us", key, "system/*.cruds", f"{base}/token", **more)
    return lambda exchange: AccessTokens(
        exchange, base, identity, now=lambda: datetime(2026, 1, 1, tzinfo=UTC), new_id=lambda: "j", seconds=clock
    )


def test_the_token_is_asked_for_with_a_signed_assertion_and_kept_until_a_little_before_its_end(
    double, server_at, clock, key
):
    there = double({"/fhir/token": [granted("one"), granted("two")], "/fhir/Patient": [Says(200, {"id": "p"})]})
    remote = server_at(there.base, tokens_of(there.base, key, clock))
    for _ in range(3):
        remote.read("Patient/p")
    clock.at += 239
    remote.read("Patient/p")
    clock.at += 2  # 59 seconds are left
    remote.read("Patient/p")
    assert [one.headers.get("authorization") for one in there.of("GET")] == ["Bearer one"] * 4 + ["Bearer two"]
    form = dict(part.split("=", 1) for part in there.of("POST")[0].body.decode().split("&"))
    assert form["grant_type"] == "client_credentials"
    read = jwt.decode(form["client_assertion"], ECKey.import_key(key.public), algorithms=["ES384"])
    assert read.header == {"alg": "ES384", "kid": "ours", "typ": "JWT"}
    at = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    wanted = {"iss": "us", "sub": "us", "aud": f"{there.base}/token", "iat": at, "exp": at + 240, "jti": "j"}
    assert read.claims == wanted


def test_the_token_endpoint_is_the_one_that_the_server_names(double, server_at, clock, key):
    there = double(
        {"/fhir/token": [granted()], "/fhir/Patient": [Says(200, {"id": "p"})], "/fhir/.well-known": [Says()]}
    )
    there.says["/fhir/.well-known"] = [Says(200, {"token_endpoint": f"{there.base}/token"})]
    identity = Identity("us", key, "system/*.rs")
    tokens = lambda exchange: AccessTokens(  # noqa: E731
        exchange,
        there.base,
        identity,
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        new_id=lambda: "j",
        seconds=clock,
    )
    server_at(there.base, tokens).read("Patient/p")
    assert [one.path for one in there.came] == [
        "/fhir/.well-known/smart-configuration",
        "/fhir/token",
        "/fhir/Patient/p",
    ]


def test_many_threads_ask_for_one_token(double, server_at, clock, key):
    slow = granted("one")
    slow.after_s = 0.1
    there = double({"/fhir/token": [slow], "/fhir/Patient": [Says(200, {"id": "p"})]})
    remote = server_at(there.base, tokens_of(there.base, key, clock))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(remote.read, ["Patient/p"] * 8))
    assert len(there.of("POST")) == 1


def test_while_one_thread_renews_the_others_use_the_token_that_is_still_good(double, server_at, clock, key):
    gate = threading.Event()

    def slowly(_came):
        gate.wait(30)
        return granted("two")

    there = double({"/fhir/token": [granted("one"), slowly], "/fhir/Patient": [Says(200, {"id": "p"})]})
    remote = server_at(there.base, tokens_of(there.base, key, clock))
    remote.read("Patient/p")
    clock.at += 250
    with ThreadPoolExecutor(2) as pool:
        renewing = pool.submit(remote.read, "Patient/p")
        until = time.monotonic() + 30
        while len(there.of("POST")) < 2 and time.monotonic() < until:
            time.sleep(0.001)
        assert remote.read("Patient/p") == {"id": "p"}
        gate.set()
        renewing.result()
    assert [one.headers["authorization"] for one in there.of("GET")] == ["Bearer one", "Bearer one", "Bearer two"]


def test_a_token_that_the_server_refuses_is_renewed_once(double, server_at, clock, key):
    there = double(
        {"/fhir/token": [granted("one"), granted("two")], "/fhir/Patient": [Says(401), Says(200, {"id": "p"})]}
    )
    remote = server_at(there.base, tokens_of(there.base, key, clock))
    assert remote.read("Patient/p") == {"id": "p"}
    there.says["/fhir/Patient"] = [Says(401)]
    with pytest.raises(RemoteProblem) as failed:
        remote.read("Patient/p")
    assert (failed.value.status, clock.slept) == (401, [])
    assert len(there.of("GET")) == 4


def test_a_refused_client_is_told_by_oauths_word_and_nothing_else(double, server_at, clock, key):
    refusal = Says(400, {"error": "invalid_client", "error_description": "zzcanary"})
    there = double({"/fhir/token": [refusal], "/fhir/Patient": [Says()]})
    with pytest.raises(RemoteProblem, match="400: invalid_client") as failed:
        server_at(there.base, tokens_of(there.base, key, clock)).read("Patient/p")
    assert ("zzcanary" in failed.value.message, failed.value.may_pass, len(there.came)) == (False, False, 1)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("no json", "no JWK"),
        (json.dumps({"kty": "oct", "k": "aaaa"}), "no JWK"),
        (json.dumps(ECKey.generate_key("P-384").as_dict(private=False)), "public key only"),
        (json.dumps(ECKey.generate_key("P-256").as_dict(private=True)), "P-384"),
    ],
)
def test_a_key_that_cannot_sign_is_refused_without_a_word_of_it(tmp_path, content, reason):
    path = tmp_path / "key"
    path.write_text(content)
    with pytest.raises(IncorrectInput, match=reason) as refused:
        signing_key(path)
    assert "aaaa" not in refused.value.message


def test_an_rsa_key_signs_with_rs384_and_its_name_is_its_thumbprint(tmp_path):
    path = tmp_path / "key"
    path.write_text(json.dumps(RSAKey.generate_key(2048).as_dict(private=True)))
    found = signing_key(path)
    assert (found.algorithm, len(base64.urlsafe_b64decode(found.kid + "="))) == ("RS384", 32)
    assert "d" not in found.public


@pytest.fixture
def ours(sqlite_db, now):
    app = client_of(make_fhir(sqlite_db, now)).application
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/fhir"
    server.shutdown()
    thread.join()
    server.server_close()


def test_our_own_server_is_one_of_them(ours, server_at):
    remote = server_at(ours, patience=Patience())
    patient = b'{"resourceType":"Patient","identifier":[{"system":"urn:s","value":"17"}]}'
    first = remote.create("Patient", patient, "identifier=urn:s|17")
    again = remote.create("Patient", patient, "identifier=urn:s|17")
    assert (first.created, again.created, first.id == again.id) == (True, False, True)
    body = json.dumps({"resourceType": "Patient", "id": first.id, "active": True}).encode()
    second = remote.update("Patient", first.id, body, first.etag)
    assert second.etag == 'W/"2"'
    with pytest.raises(ChangedThere):
        remote.update("Patient", first.id, body, first.etag)
    assert [one["id"] for one in remote.search("Patient?active=true&_count=1")] == [first.id]


@pytest.fixture
def send(server_at, sqlite_db, now, tmp_path):
    """Import into a server; return the tally and the problems."""

    def call(base, *resources, kind=None, **more):
        path = tmp_path / f"{'b.json' if kind else 'o.ndjson'}"
        made = json.dumps({"resourceType": "Bundle", "type": kind, "entry": resources}) if kind else None
        path.write_text(made or "\n".join(map(json.dumps, resources)))
        seen = Seen()
        target = RemoteTarget(server_at(base, patience=Patience(tries=2)), sqlite_db, now, seen.problem, **more)
        work = Import(target, seen)
        work.run(find([path]))
        return work.tally, seen.problems, work.skipped

    return call


def test_files_go_into_our_own_server_and_a_second_time_nothing_is_sent(ours, server_at, tmp_path):
    made = Synthea()
    files = {"a": made.patient(1), "hospitalInformation": made.hospitals()}
    files |= {"practitionerInformation": made.practitioners()}
    for name, one in files.items():
        written(one, tmp_path / f"{name}.json")
    count = sum(len(one["entry"]) for one in files.values())
    folder = tmp_path / "store"
    folder.mkdir()
    db, seen = database(folder), Seen()
    for expected in ((count, 0), (0, 3)):
        target = RemoteTarget(server_at(ours, patience=Patience()), db, lambda: datetime.now(UTC), seen.problem)
        work = Import(target, seen)
        work.run(find([one for one in tmp_path.iterdir() if one.suffix == ".json"]))
        assert seen.problems == []
        assert (work.tally.created, work.skipped) == expected
    (report,) = server_at(ours).search("DiagnosticReport")
    (organization,) = server_at(ours).search(f"Organization?_id={report['performer'][0]['reference'][13:]}")
    assert organization["name"] == "HOSPITAL 0"
    db.dispose()


def test_what_a_server_refuses_is_told_with_its_place_and_sent_again_the_next_time(double, send):
    def answers(came):
        entries = json.loads(came.body)["entry"]
        statuses = ["422 no" if one["resource"]["id"] == "b" else "201 Created" for one in entries]
        return Says(200, {"resourceType": "Bundle", "entry": [{"response": {"status": one}} for one in statuses]})

    there = double({"/fhir": [answers], "/fhir/Patient": [Says(200, {"resourceType": "Bundle"})]})
    people = [{"resourceType": "Patient", "id": one} for one in ("a", "b", "c")]
    tally, problems, _ = send(there.base, *people)
    assert (tally.created, tally.refused) == (2, 1)
    assert [(one.place.line, one.reason) for one in problems] == [(2, "the server answered 422")]
    assert send(there.base, *people)[0].created == 2
    first = json.loads(there.of("POST")[0].body)
    assert (first["type"], first["entry"][0]["request"]) == ("batch", {"method": "PUT", "url": "Patient/a"})


def test_a_server_that_is_away_ends_the_import_and_it_goes_on_later(double, send):
    there = double({"/fhir": [Says(503)]})
    with pytest.raises(RemoteProblem, match="503"):
        send(there.base, {"resourceType": "Patient", "id": "a"})
    there.says["/fhir"] = [Says(200, {"resourceType": "Bundle", "entry": [{"response": {"status": "201"}}]})]
    assert send(there.base, {"resourceType": "Patient", "id": "a"})[0].created == 1


def test_nothing_goes_to_a_server_where_an_id_is_another_patient(double, send):
    other = {"resourceType": "Patient", "id": "a", "identifier": [{"system": "urn:s", "value": "99"}]}
    there = double({"/fhir": [Says(200, {"resourceType": "Bundle", "entry": [{"resource": other}]})]})
    with pytest.raises(Exception, match="the id of another patient"):
        send(there.base, other | {"identifier": [{"system": "urn:s", "value": "17"}]})
    assert there.of("POST") == []


def test_a_rehearsal_asks_and_writes_nothing(double, send):
    there = double({"/fhir": [Says(200, {"resourceType": "Bundle"})]})
    entry = {"resource": {"resourceType": "Patient"}, "fullUrl": "urn:uuid:53fefa32-fcbb-4ff8-8a92-55ee120877b7"}
    asked = {"method": "POST", "url": "Patient", "ifNoneExist": "identifier=x|1"}
    tally, problems, _ = send(there.base, entry | {"request": asked}, kind="transaction", rehearsal=True)
    assert (tally.created, problems, there.of("POST")) == (1, [], [])


def test_our_own_token_endpoint_knows_us_by_our_signature_and_its_scopes_hold(sqlite_db, server_at, key):
    app = Flask("ours")
    server = make_server("127.0.0.1", 0, app, threaded=True)
    base = f"http://127.0.0.1:{server.server_port}"
    scopes = (scope_of("system/Patient.cruds"),)
    client = Client("us", "us", (read_key(key.public),), scopes=scopes)
    house = AccessHouse(sqlite_db, lambda: datetime.now(UTC), [client], {})
    endpoint = replace(house.endpoint, url=f"{base}/oauth2/token")
    app.register_blueprint(access_http.blueprint(endpoint, house.access.is_operator))
    app.register_blueprint(blueprint(house.fhir))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    numbers = itertools.count()
    identity = Identity("us", key, "system/Patient.cruds", f"{base}/oauth2/token")
    exchange = Exchange([AllowedServer(base, Network.LOOPBACK)])
    tokens = AccessTokens(
        exchange, f"{base}/fhir", identity, now=lambda: datetime.now(UTC), new_id=lambda: f"j{next(numbers)}"
    )
    remote = RemoteServer(f"{base}/fhir", exchange, tokens, Patience(tries=1))
    try:
        patient = b'{"resourceType":"Patient","identifier":[{"system":"urn:s","value":"17"}]}'
        made = remote.create("Patient", patient, "identifier=urn:s|17")
        assert remote.read(f"Patient/{made.id}")["id"] == made.id
        with pytest.raises(RemoteProblem) as refused:
            list(remote.search("Observation?code=x"))
        assert refused.value.status == 403
        assert len(house.issued) == 1
    finally:
        exchange.close()
        server.shutdown()
        thread.join()
        server.server_close()
