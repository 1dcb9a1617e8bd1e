"""What a token does not reach is not there (goal 23): asked on every path, in words that hit it and others.

Each probe is sent twice: naming what is hidden, and naming what nobody has. Both answers must be the same, letter
by letter, and hold nothing of what is hidden.
"""

import json
import re
from urllib.parse import unquote

import pytest

from fhir_adapters.access.clients import Client
from fhir_adapters.bulk.making import Exporter
from fhir_adapters.trust.jwk import read_key
from record_store.testing import MemoryBlobs, database
from tests.fhir_adapters.access.conftest import OPERATOR, House, StandingClock, scopes_of

LOINC = "http://loinc.org"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
JSON_PATCH = "application/json-patch+json"
SECRET = "zzhidden"

# Hidden from the token for laboratory results (L), the one for patient p1 (P), and the one that may write (W).
HIDDEN = {"oid": "o-vital-2", "pid": "p2", "word": SECRET, "code": "zzhidden-code", "value": "urn:zz|zzhidden"}
ABSENT = {
    "oid": "o-absent-9",
    "pid": "p9",
    "word": "zzabsent",
    "code": "zzabsent-code",
    "value": "urn:zz|zzabsent",
}

L, P, W = "L", "P", "W"
SCOPES = {
    L: ("system/Observation.rs?category=laboratory system/Device.rs system/Provenance.rs", ""),
    P: ("patient/*.rs", "p1"),
    W: ("patient/Observation.cruds?category=laboratory patient/Condition.cruds", "p1"),
}


def batch(*entries, kind="batch"):
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def get(url):
    return {"request": {"method": "GET", "url": url}}


def lab(**changes):
    return observation("{oid}", "p1", "laboratory", "ok") | changes


def post(resource, **request):
    return {"resource": resource, "request": {"method": "POST", "url": resource["resourceType"], **request}}


def put(resource, url):
    return {"resource": resource, "request": {"method": "PUT", "url": url}}


def fhirpath_patch(url):
    """A PATCH of a bundle that takes a value out: whether it can be done would tell that it is there."""
    parts = [
        {"name": "type", "valueCode": "delete"},
        {"name": "path", "valueString": "Observation.value"},
    ]
    patch = {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": parts}]}
    return {"resource": patch, "request": {"method": "PATCH", "url": url}}


def concept(code, system=LOINC):
    return {"coding": [{"system": system, "code": code}]}


def observation(own, patient, category, code, **more):
    return {
        "resourceType": "Observation",
        "id": own,
        "status": "final",
        "identifier": [{"system": "urn:zz", "value": f"{code}"}],
        "category": [concept(category, CATEGORY)],
        "code": concept(code),
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": "2026-01-02",
        "valueString": SECRET if "hidden" in code else "shown",
        **more,
    }


def without_id(resource):
    return {name: value for name, value in resource.items() if name != "id"}


# (token, method, address, body, headers); braces are filled in.
PROBES = [
    # by id
    *[(token, "GET", f"Observation/{{oid}}{rest}", None, {}) for token in (L, P, W) for rest in ("", "/_history")],
    *[(token, "GET", "Observation/{oid}/_history/1", None, {}) for token in (L, P, W)],
    (P, "GET", "Patient/{pid}", None, {}),
    (P, "GET", "Patient/{pid}/_history/1", None, {}),
    (P, "HEAD", "Patient/{pid}", None, {}),
    (P, "GET", "Patient/{pid}", None, {"If-None-Match": 'W/"1"'}),
    (P, "GET", "Condition/{oid}", None, {}),
    # search
    *[(token, "GET", "Observation?_id={oid}", None, {}) for token in (L, P, W)],
    *[(token, "GET", "Observation?code={code}&_summary=count", None, {}) for token in (L, P, W)],
    *[(token, "GET", "Observation?identifier={value}&_total=accurate", None, {}) for token in (L, P, W)],
    (P, "GET", "Observation?patient={pid}", None, {}),
    (P, "GET", "Observation?subject=Patient/{pid}&_count=0", None, {}),
    (P, "GET", "Patient?name={word}", None, {}),
    (P, "GET", "Patient?family:exact={word}", None, {}),
    (P, "GET", "Patient?name:contains={word}", None, {}),
    (L, "GET", "Observation?code:not={code}&_total=accurate", None, {}),
    (L, "GET", "Observation?value-string={word}", None, {}),
    (L, "GET", "Observation?value-string=shown,{word}&_sort=-date", None, {}),
    (P, "GET", "Observation?combo-code={code}", None, {}),
    (P, "GET", "Observation?code-value-string={code}${word}", None, {}),
    (P, "POST", "Observation/_search", "code={code}&_total=accurate", {}),
    (L, "POST", "Observation/_search", "_id={oid}", {}),
    (L, "POST", "Observation/_search?code={code}", "", {}),
    # what is joined
    (P, "GET", "Observation?subject:Patient.name={word}", None, {}),
    (P, "GET", "Observation?patient.identifier={value}", None, {}),
    (P, "GET", "Provenance?target:Observation.code={code}", None, {}),
    (L, "GET", "Provenance?target:Observation.code={code}", None, {}),
    (L, "GET", "Observation?derived-from:Observation.code={code}", None, {}),
    (L, "GET", "Observation?subject:Patient.name={word}", None, {}),
    (L, "GET", "Observation?has-member:Observation.value-string={word}", None, {}),
    (P, "GET", "Patient?_has:Observation:patient:code={code}", None, {}),
    (L, "GET", "Device?_has:Observation:device:code={code}", None, {}),
    (P, "GET", "Device?_has:Observation:device:code={code}", None, {}),
    (L, "GET", "Observation?_has:Observation:derived-from:code={code}", None, {}),
    # what comes along
    (L, "GET", "Observation?_id=o-lab-1&_include=Observation:derived-from&code:not={code}", None, {}),
    (L, "GET", "Observation?_id=o-lab-1&_include=*&code:not={code}", None, {}),
    (P, "GET", "Observation?_id=o-lab-1&_include=Observation:subject&code:not={code}", None, {}),
    (L, "GET", "Observation?_id=o-lab-1&_revinclude=Observation:derived-from&code:not={code}", None, {}),
    (L, "GET", "Observation?_id=o-lab-1&_revinclude=Condition:evidence-detail&code:not={code}", None, {}),
    (P, "GET", "Device?_id=d1&_revinclude=Observation:device&device-name:not={word}", None, {}),
    (L, "GET", "Device?_id=d1&_revinclude=Observation:device&type:not={code}", None, {}),
    # compartments and operations
    (P, "GET", "Patient/{pid}/Observation", None, {}),
    (P, "GET", "Patient/{pid}/$everything", None, {}),
    (L, "GET", "Patient/{pid}/Observation", None, {}),
    (P, "GET", "Observation/$lastn?patient={pid}", None, {}),
    (L, "GET", "Observation/$lastn?code={code}", None, {}),
    # history of a type
    (L, "GET", "Observation/_history?_count=1", None, {}),
    (P, "GET", "Observation/_history", None, {}),
    (P, "GET", "Patient/_history", None, {}),
    # bundles
    (L, "POST", "", batch(get("Observation/{oid}"), get("Observation?code={code}")), {}),
    (P, "POST", "", batch(get("Patient/{pid}"), get("Patient/{pid}/_history")), {}),
    (L, "POST", "", batch(get("Observation/{oid}"), kind="transaction"), {}),
    (P, "POST", "", batch(get("Patient?name={word}"), kind="transaction"), {}),
    (W, "POST", "", batch(post(lab(), ifNoneExist="identifier={value}"), kind="transaction"), {}),
    (
        W,
        "POST",
        "",
        batch(post(lab(derivedFrom=[{"reference": "Observation?identifier={value}"}])), kind="transaction"),
        {},
    ),
    (W, "POST", "", batch({"request": {"method": "DELETE", "url": "Observation/{oid}"}}, kind="transaction"), {}),
    (W, "POST", "", batch({"request": {"method": "DELETE", "url": "Observation?code={code}"}}), {}),
    (W, "POST", "", batch(fhirpath_patch("Observation/{oid}"), kind="transaction"), {}),
    (W, "POST", "", batch(fhirpath_patch("Observation/{oid}")), {}),
    (W, "POST", "", batch(fhirpath_patch("Observation?identifier={value}"), kind="transaction"), {}),
    # several types, operations, the audit
    (P, "GET", "?_type=Patient,Observation&_id={oid},{pid}", None, {}),
    (P, "GET", "Patient/{pid}/*?_summary=count", None, {}),
    (P, "POST", "_search?_type=Observation&code={code}", "", {}),
    (P, "GET", "Observation/$stats?subject=Patient/{pid}&code={code}&system=urn:x&statistic=count", None, {}),
    (W, "POST", "Observation/{oid}/$ai-replay", {"resourceType": "Parameters"}, {}),
    (P, "GET", "AuditEvent?patient={pid}&_summary=count", None, {}),
    # writes that look first
    (W, "POST", "Observation?identifier={value}", without_id(lab()), {}),
    (W, "POST", "Observation", without_id(lab()), {"If-None-Exist": "identifier={value}"}),
    (W, "PUT", "Observation?identifier={value}", without_id(lab()), {}),
    (W, "DELETE", "Observation/{oid}", None, {}),
    (W, "DELETE", "Observation/{oid}", None, {"If-Match": 'W/"1"'}),
    (W, "DELETE", "Observation?identifier={value}", None, {}),
    (W, "PATCH", "Observation/{oid}", [{"op": "test", "path": "/status", "value": "final"}], {}),
    (W, "PATCH", "Observation/{oid}", [{"op": "test", "path": "/status", "value": "amended"}], {}),
    (W, "PATCH", "Observation/{oid}", [{"op": "remove", "path": "/valueString"}], {"If-Match": 'W/"2"'}),
    (W, "PATCH", "Observation?identifier={value}", [{"op": "remove", "path": "/valueString"}], {}),
]


@pytest.fixture(scope="module")
def probed(signers, tmp_path_factory):
    """probe(token, method, address, body, headers, words) -> the answer, on a store of its own."""
    folder = tmp_path_factory.mktemp("leaks")
    db = database(folder)
    key = (read_key(signers["ES384"].jwk),)
    client = Client("client", "client", key, scopes=scopes_of("patient/*.cruds", "system/*.cruds"))
    house = House(db, StandingClock(), (client,), signers, blobs=MemoryBlobs(folder))
    operator = {"Authorization": f"Bearer {OPERATOR}"}
    for resource in stored():
        path = f"/fhir/{resource['resourceType']}/{resource['id']}"
        assert house.client.put(path, json=resource, headers=operator).status_code == 201, resource
    gone = observation("o-gone", "p2", "vital-signs", "zzhidden-gone")
    house.client.put("/fhir/Observation/o-gone", json=gone, headers=operator)
    house.client.delete("/fhir/Observation/o-gone", headers=operator)
    moved = observation("o-moved", "p1", "vital-signs", "was-vital")
    house.client.put("/fhir/Observation/o-moved", json=moved, headers=operator)
    now = observation("o-moved", "p1", "laboratory", "moved")
    house.client.put("/fhir/Observation/o-moved", json=now, headers=operator)
    tokens = {
        name: house.token(client, scope, **({"patient": patient} if patient else {}))
        for name, (scope, patient) in SCOPES.items()
    }

    def send(token, method, address, body, headers, words=HIDDEN):
        sent = {"Authorization": f"Bearer {tokens[token]}", "Prefer": "handling=strict"}
        sent |= {name: fill(value, words) for name, value in headers.items()}
        data = fill(body if isinstance(body, str) else json.dumps(body), words) if body is not None else None
        kind = "application/x-www-form-urlencoded" if isinstance(body, str) else "application/fhir+json"
        kind = JSON_PATCH if method == "PATCH" else kind
        url = f"/fhir/{fill(address, words)}".rstrip("/") if address == "" else f"/fhir/{fill(address, words)}"
        return house.client.open(url, method=method, data=data, headers=sent, content_type=kind if data else None)

    send.house = house
    yield send
    db.dispose()


def stored():
    """What is in the store: o-vital-2, o-vital-3 and what has to do with p2 alone is hidden from every token."""
    yield {"resourceType": "Patient", "id": "p1", "name": [{"family": "shown"}]}
    yield {
        "resourceType": "Patient",
        "id": "p2",
        "name": [{"family": SECRET}],
        "identifier": [{"system": "urn:zz", "value": SECRET}],
    }
    yield {"resourceType": "Device", "id": "d1"}
    yield {
        "resourceType": "Device",
        "id": "d2",
        "patient": {"reference": "Patient/p2"},
        "note": [{"text": SECRET}],
    }
    hidden = observation(
        "o-vital-2", "p2", "vital-signs", "zzhidden-code", device={"reference": "Device/d1"}, valueString=SECRET
    ) | {"identifier": [{"system": "urn:zz", "value": SECRET}]}
    yield hidden
    yield observation("o-lab-2", "p3", "laboratory", "lab-of-p3")
    yield observation(
        "o-lab-1", "p1", "laboratory", "lab-of-p1", derivedFrom=[{"reference": "Observation/o-vital-3"}]
    )
    yield observation("o-vital-1", "p1", "vital-signs", "vital-of-p1")
    yield observation(
        "o-vital-3", "p2", "vital-signs", "zzhidden-3", derivedFrom=[{"reference": "Observation/o-lab-1"}]
    )
    yield {
        "resourceType": "Condition",
        "id": "o-vital-2",
        "subject": {"reference": "Patient/p2"},
        "code": {"text": SECRET},
        "evidence": [{"detail": [{"reference": "Observation/o-lab-1"}]}],
    }
    yield {
        "resourceType": "Group",
        "id": "g1",
        "type": "person",
        "actual": True,
        "member": [{"entity": {"reference": f"Patient/{one}"}} for one in ("p1", "p2")],
    }
    yield {
        "resourceType": "Provenance",
        "id": "v1",
        "target": [{"reference": "Observation/o-vital-2"}],
        "recorded": "2026-01-02T00:00:00Z",
        "agent": [{"who": {"display": "somebody"}}],
    }


def fill(text, words):
    return re.sub(r"\{(oid|pid|word|code|value)\}", lambda found: words[found[1]], text)


def plain(answer, words):
    """The answer without what differs between any two requests, and without the words that it was asked in."""
    text = unquote(answer.get_data(as_text=True))
    for name in ("value", "code", "word", "oid", "pid"):
        text = re.sub(rf"(?<![\w-]){re.escape(words[name])}(?![\w-])", f"<{name}>", text)
    text = re.sub(r"made-\d+|_page=[\w.%=-]+|\d{4}-\d\d-\d\dT[\d:.]+Z|W/\\?\"\d+\\?\"", "<>", text)
    headers = {name: answer.headers.get(name) is not None for name in ("ETag", "Last-Modified", "Location")}
    return answer.status_code, headers, text


def test_there_are_sixty_probes_and_more():
    assert len(PROBES) >= 60


@pytest.mark.parametrize("number", range(len(PROBES)))
def test_what_a_token_does_not_reach_is_answered_as_what_is_not_there(number, probed):
    probe = PROBES[number]
    absent = probed(*probe, words=ABSENT)
    hidden = probed(*probe, words=HIDDEN)
    assert plain(hidden, HIDDEN) == plain(absent, ABSENT)
    assert hidden.status_code < 500
    # Nothing but the words that it was asked in.
    said = plain(hidden, HIDDEN)[2]
    assert SECRET not in said
    assert "o-vital-2" not in said
    assert not re.search(r"\bp2\b", said)


@pytest.mark.parametrize("token", [L, P, W])
def test_after_all_probes_what_is_hidden_is_as_it_was(token, probed):
    operator = {"Authorization": f"Bearer {OPERATOR}"}
    for path in ("Observation/o-vital-2", "Patient/p2", "Condition/o-vital-2"):
        answer = probed.house.client.get(f"/fhir/{path}", headers=operator)
        assert (answer.status_code, answer.headers["ETag"]) == (200, 'W/"1"')
    assert probed(token, "GET", "Observation/o-lab-1", None, {}).status_code == 200


def test_a_version_from_before_it_came_into_reach_is_not_there(probed):
    assert probed(L, "GET", "Observation/o-moved", None, {}).status_code == 200
    assert probed(L, "GET", "Observation/o-moved/_history/2", None, {}).status_code == 200
    assert probed(L, "GET", "Observation/o-moved/_history/1", None, {}).status_code == 404
    history = probed(L, "GET", "Observation/o-moved/_history", None, {}).json
    assert [entry["resource"]["meta"]["versionId"] for entry in history["entry"]] == ["2"]


def test_that_something_was_deleted_is_told_to_who_may_read_the_whole_type_alone(probed):
    assert probed(L, "GET", "Observation/o-gone", None, {}).status_code == 404
    assert probed(L, "GET", "Observation/o-gone/_history", None, {}).status_code == 404
    assert probed(L, "GET", "Observation/o-gone/_history/1", None, {}).status_code == 404
    assert SECRET not in probed(L, "GET", "Observation/_history", None, {}).get_data(as_text=True)


def test_a_token_for_one_patient_reaches_what_is_about_that_patient(probed):
    found = {
        kind: [e["resource"]["id"] for e in probed(P, "GET", kind, None, {}).json.get("entry", [])]
        for kind in ("Observation", "Patient", "Device", "Group", "Provenance", "Condition", "Practitioner")
    }
    assert set(found.pop("Observation")) >= {"o-lab-1", "o-vital-1", "o-moved"}
    assert found == {
        "Patient": ["p1"],
        "Device": ["d1"],
        "Group": [],
        "Provenance": [],
        "Condition": [],
        "Practitioner": [],
    }


@pytest.mark.parametrize(
    ("token", "path", "found"),
    [
        (L, "$export?_since=2020-01-01T00:00:00Z", {"o-lab-1", "o-lab-2", "o-moved", "d1", "d2", "v1"}),
        (P, "$export?_since=2020-01-01T00:00:00Z", {"o-lab-1", "o-vital-1", "o-moved", "p1", "d1"}),
        (P, "Patient/$export?_typeFilter=Observation?code:not=x", {"o-lab-1", "o-vital-1", "o-moved", "p1"}),
    ],
)
def test_an_export_holds_what_its_token_reaches(token, path, found, probed):
    house = probed.house
    begun = probed(token, "GET", path, None, {"Prefer": "respond-async"})
    assert begun.status_code == 202, begun.data
    stopping = {"executor": "w", "stopping": lambda: False, "settle_s": 0}
    Exporter(house.db, house.fhir.bulk.blobs(), house.now, house.fhir.base_url, **stopping).once()
    place = begun.headers["Content-Location"].removeprefix("https://cds.example/fhir/")
    manifest = probed(token, "GET", place, None, {}).json
    assert manifest["deleted"] == []
    files = [one["url"].removeprefix("https://cds.example/fhir/") for one in manifest["output"]]
    lines = [json.loads(line) for file in files for line in probed(token, "GET", file, None, {}).data.splitlines()]
    assert {line["id"] for line in lines if not line["id"].startswith("made-")} == found
    # Another client cannot have it, were it to know where it is.
    assert house.client.get(f"/fhir/{place}", headers={"Authorization": f"Bearer {OPERATOR}"}).status_code == 404


def test_the_history_of_a_type_ends_in_time_for_who_may_see_little_of_it(signers, make_house, monkeypatch):
    key = (read_key(signers["ES384"].jwk),)
    client = Client("c", "c", key, scopes=scopes_of("system/Observation.rs?category=laboratory"))
    house = make_house(client)
    for category in ("vital-signs", "laboratory"):
        moved = observation("v", "p1", category, "a")
        house.client.put("/fhir/Observation/v", json=moved, headers={"Authorization": f"Bearer {OPERATOR}"})
    token = house.token(client, "system/Observation.rs?category=laboratory")

    def asked():
        headers = {"Authorization": f"Bearer {token}"}
        return house.client.get("/fhir/Observation/_history?_count=1", headers=headers)

    assert len(asked().json["entry"]) == 1
    monkeypatch.setattr("fhir_adapters.rest.history.SEARCH_LIMIT_S", 0.0)
    answer = asked()
    assert answer.status_code == 400
    assert "narrow it" in answer.json["issue"][0]["details"]["text"]


def test_an_export_is_for_tokens_that_could_have_asked_for_it(make_house, warehouse, tmp_path):
    house = make_house(warehouse, blobs=MemoryBlobs(tmp_path))

    def asks(scope, **more):
        return {"Authorization": f"Bearer {house.token(warehouse, scope, **more)}"}

    of_p1, of_p2 = asks("patient/*.rs", patient="p1"), asks("patient/*.rs", patient="p2")
    everything, less = asks("system/*.rs"), asks("system/Observation.rs")
    begun = house.client.get("/fhir/$export", headers=of_p1 | {"Prefer": "respond-async"})
    place = begun.headers["Content-Location"].removeprefix("https://cds.example")
    assert [house.client.get(place, headers=one).status_code for one in (of_p1, of_p2)] == [202, 404]
    assert house.client.delete(place, headers=of_p2).status_code == 404
    begun = house.client.get("/fhir/$export", headers=everything | {"Prefer": "respond-async"})
    place = begun.headers["Content-Location"].removeprefix("https://cds.example")
    for headers, status in ((everything, 202), (asks("system/*.rs"), 202), (less, 404), (of_p1, 404)):
        assert house.client.get(place, headers=headers).status_code == status
    begun = house.client.get("/fhir/$export", headers=less | {"Prefer": "respond-async"})
    place = begun.headers["Content-Location"].removeprefix("https://cds.example")
    assert house.client.get(place, headers=everything).status_code == 202


def write(probed, method, address, resource, **headers):
    return probed(W, method, address, resource, headers).status_code


def test_a_write_lies_within_before_and_after(probed):
    own = without_id(observation("x", "p1", "laboratory", "own"))
    made = probed(W, "POST", "Observation", own, {})
    assert made.status_code == 201
    place = f"Observation/{made.json['id']}"
    mine = own | {"id": made.json["id"]}
    assert write(probed, "PUT", place, mine | {"valueString": "b"}) == 200
    # What is sent must match too: another patient, another category, none.
    for change in (
        {"subject": {"reference": "Patient/p2"}},
        {"category": [concept("vital-signs", CATEGORY)]},
        {"category": []},
        {"subject": None},
    ):
        outside = {name: value for name, value in (mine | change).items() if value}
        assert write(probed, "PUT", place, outside) == 403
        assert write(probed, "POST", "Observation", without_id(outside)) == 403
        assert probed(W, "POST", "", batch(put(outside, place), kind="transaction"), {}).status_code == 403
        answer = probed(W, "POST", "", batch(put(outside, place)), {}).json
        assert answer["entry"][0]["response"]["status"] == "403"
    move = [{"op": "replace", "path": "/subject/reference", "value": "Patient/p2"}]
    assert write(probed, "PATCH", place, move) == 403
    assert write(probed, "DELETE", place, None) == 204
    # What is there must be reached: what may not be known of is not there, and what is hidden stays.
    assert write(probed, "PUT", "Observation/o-vital-2", mine | {"id": "o-vital-2"}) == 404
    assert write(probed, "PUT", "Observation/o-gone", mine | {"id": "o-gone"}) == 404
    assert (
        probed(
            W, "POST", "", batch(put(mine | {"id": "o-lab-2"}, "Observation/o-lab-2"), kind="transaction"), {}
        ).status_code
        == 404
    )


def test_who_may_not_create_learns_nothing_of_ids_by_updating(signers, make_house):
    key = (read_key(signers["ES384"].jwk),)
    client = Client("c", "c", key, scopes=scopes_of("system/Observation.rus?category=laboratory"))
    house = make_house(client)
    operator = {"Authorization": f"Bearer {OPERATOR}"}
    house.client.put("/fhir/Observation/v", json=observation("v", "p1", "vital-signs", "a"), headers=operator)
    asks = {"Authorization": f"Bearer {house.token(client, 'system/Observation.rus?category=laboratory')}"}

    def answer(own, **headers):
        mine = observation(own, "p1", "laboratory", "b")
        said = house.client.put(f"/fhir/Observation/{own}", json=mine, headers=asks | headers)
        bundle = batch(put(mine, f"Observation/{own}"), kind="transaction")
        whole = house.client.post("/fhir", json=bundle, headers=asks)
        return said.status_code, said.json["issue"], whole.status_code, whole.json["issue"]

    assert answer("v") == answer("x")
    assert answer("v", **{"If-Match": 'W/"1"'}) == answer("x", **{"If-Match": 'W/"1"'})
    assert answer("v")[::2] == (404, 404)


def test_what_may_be_read_but_not_written_is_said_to_be_so(probed, signers, sqlite_db, now, make_house):
    key = (read_key(signers["ES384"].jwk),)
    client = Client("c", "c", key, scopes=scopes_of("system/*.rs", "system/Observation.u?category=laboratory"))
    house = make_house(client)
    operator = {"Authorization": f"Bearer {OPERATOR}"}
    vital = observation("v", "p1", "vital-signs", "a")
    house.client.put("/fhir/Observation/v", json=vital, headers=operator)
    shown = {"Authorization": f"Bearer {house.token(client, 'system/*.rs system/Observation.u')}"}
    assert house.client.get("/fhir/Observation/v", headers=shown).status_code == 200
    assert house.client.put("/fhir/Observation/v", json=vital, headers=shown).status_code == 403
