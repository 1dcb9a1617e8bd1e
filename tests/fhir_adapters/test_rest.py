"""The FHIR door: what a client may rely on, interaction by interaction."""

import importlib
import json
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson
import pytest
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clinical.errors import Busy
from fhir_adapters.definitions.structure import structure_of
from fhir_adapters.rest import INTERACTIONS, blueprint
from fhir_adapters.search.parameters import RESULTS, TYPES
from fhir_adapters.search.parse import parse
from fhir_adapters.splice import with_identity

FHIR_JSON = "application/fhir+json"
OBSERVATION = {
    "resourceType": "Observation",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
    "subject": {"reference": "Patient/p1"},
    "effectiveDateTime": "2026-11-22T08:00:00Z",
}
MINIMAL = {
    "Device": {},
    "DiagnosticReport": {"status": "final", "code": {"text": "x"}},
    "DocumentReference": {"status": "current", "content": [{"attachment": {"title": "x"}}]},
    "ImagingStudy": {"status": "available", "subject": {"reference": "Patient/p1"}},
    "Observation": {"status": "final", "code": {"text": "x"}},
    "Patient": {"name": [{"family": "Zzcanary", "given": ["Quillon"]}]},
    "Provenance": {
        "target": [{"reference": "Patient/p1"}],
        "recorded": "2026-11-22T08:00:00Z",
        "agent": [{"who": {"reference": "Device/d1"}}],
    },
    "RiskAssessment": {"status": "final", "subject": {"reference": "Patient/p1"}},
    "ServiceRequest": {"status": "active", "intent": "order", "subject": {"reference": "Patient/p1"}},
    "Task": {"status": "requested", "intent": "order"},
}


def post(client, resource, resource_type=None, **headers):
    data = resource if isinstance(resource, bytes) else json.dumps(resource).encode()
    path = f"/fhir/{resource_type or resource['resourceType']}"
    return client.post(path, data=data, content_type=FHIR_JSON, headers=headers)


def issue_of(reply):
    body = reply.get_json(force=True)
    assert body["resourceType"] == "OperationOutcome", body
    assert reply.mimetype == FHIR_JSON
    return body["issue"][0]


def path_of(url):
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


# ---------------------------------------------------------------- create and read


def test_a_created_resource_is_read_back_as_the_same_bytes(client):
    value = b'"valueQuantity":{"value":19.00}'
    sent = b'{ "resourceType":"Observation",\n "code":{"text":"x"}, "status":"final",\t' + value + b"}"
    reply = post(client, sent, "Observation")
    assert reply.status_code == 201
    assert reply.headers["ETag"] == 'W/"1"'
    assert reply.headers["Location"].startswith("http://127.0.0.1:8080/fhir/Observation/made-")
    at = path_of(reply.headers["Location"])
    read = client.get(at.removesuffix("/_history/1"))
    assert read.data == reply.data == client.get(at).data
    assert b'"value":19.00' in read.data
    body = read.get_json(force=True)
    assert body["id"] in reply.headers["Location"]
    assert body["meta"]["versionId"] == "1"
    assert body["meta"]["lastUpdated"].endswith("Z")
    assert read.headers["Last-Modified"]
    found = client.get("/fhir/Observation").data
    assert read.data in found


numbers = st.sampled_from(["1.10", "19.00", "1e-3", "-0.50", "0", "100", "1.0E+2", "0.000", "3.14159265358979323"])
names = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), min_size=1, max_size=8
).filter(lambda name: name not in {"id", "meta", "resourceType"})
blanks = st.text(" \n\t\r", max_size=3)


@st.composite
def objects(draw, depth=2):
    """JSON texts with the freedoms that writers have: blanks, key order, number forms, escapes."""
    members = {}
    for name in draw(st.lists(names, max_size=4, unique=True)):
        inner = [numbers, names.map(json.dumps), names.map(lambda text: json.dumps(text, ensure_ascii=False))]
        if depth:
            inner += [
                objects(depth=depth - 1),
                st.lists(numbers, max_size=3).map(lambda each: f"[{' , '.join(each)}]"),
            ]
        members[name] = draw(st.one_of(inner))
    return _written(draw, members)


def _written(draw, members):
    texts = [
        f"{draw(blanks)}{json.dumps(name)}{draw(blanks)}:{draw(blanks)}{value}" for name, value in members.items()
    ]
    return "{" + f"{draw(blanks)},".join(texts) + draw(blanks) + "}"


@st.composite
def resources_with_identity(draw):
    """(text with everything, the same text without what the server sets)"""
    rest = {"valueX": draw(numbers), "resourceType": '"Observation"', "extension": draw(objects())}
    own = {}
    if draw(st.booleans()):
        own["id"] = '"@id@"'
    if draw(st.booleans()):
        meta = {"profile": '["http://x"]', "zz": draw(objects())}
        meta = {name: meta[name] for name in draw(st.sets(st.sampled_from(sorted(meta))))}
        given = draw(st.sets(st.sampled_from(["versionId", "lastUpdated"])))
        own["meta"] = _written(draw, meta | dict.fromkeys(given, '"@old@"'))
    order = draw(st.permutations([*rest, *own]))
    return _written(draw, {name: (rest | own)[name] for name in order})


@given(resources_with_identity())
@settings(max_examples=2 * settings.default.max_examples)  # of the profile: 200, in `make unit` 40
def test_only_id_and_meta_are_set_and_every_other_byte_stays(text):
    made = with_identity(text.encode(), resource_id="new-id", version=3, updated="2026").decode()
    before, after = json.loads(text, parse_float=str), json.loads(made, parse_float=str)
    assert after.pop("id") == "new-id"
    meta = after.pop("meta")
    assert (meta.pop("versionId"), meta.pop("lastUpdated")) == ("3", "2026")
    old_meta = before.pop("meta", {})
    assert meta == {name: value for name, value in old_meta.items() if name not in {"versionId", "lastUpdated"}}
    before.pop("id", None)
    assert after == before
    # What is new is what the standard sets and not a byte more; what was there stands in its order.
    kept = text.replace('"@id@"', "").replace('"@old@"', "")
    assert is_subsequence(kept, made)
    assert len(made) - len(kept) == size_of_identity(text, old_meta if '"meta"' in text else None)


def is_subsequence(short, long):
    letters = iter(long)
    return all(letter in letters for letter in short)


def size_of_identity(text, old_meta):
    size = len('"new-id"') if '"@id@"' in text else len(',"id":"new-id"')
    if old_meta is None:
        return size + len(',"meta":{"versionId":"3","lastUpdated":"2026"}')
    added = [pair for name, pair in PAIRS.items() if name not in old_meta]
    replaced = [pair.partition(":")[2] for name, pair in PAIRS.items() if name in old_meta]
    comma = 1 if added and old_meta else 0
    return size + len(",".join(added)) + comma + sum(map(len, replaced))


PAIRS = {"versionId": '"versionId":"3"', "lastUpdated": '"lastUpdated":"2026"'}


@given(numbers, st.sampled_from(["2024", "2024-05-17T10:00:00.120+02:00", "2024-05-17T10:00:00Z"]), blanks, names)
@settings(
    max_examples=settings.default.max_examples // 2, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_decimals_dates_and_unknown_extensions_are_served_as_written(client, number, at, blank, text):
    value = f'"valueQuantity":{blank}{{"value":{blank}{number}}}'
    extension = f'"extension":[{{"url":"http://x","valueString":{json.dumps("x" + text)}}}]'
    when = f'"effectiveDateTime":{blank}"{at}"'
    sent = f'{{{value},{extension},"resourceType":"Observation",{when},"status":"final","code":{{"text":"x"}}}}'
    reply = post(client, sent.encode(), "Observation")
    if reply.status_code == 400:  # a name of blanks only, or a control character
        return
    read = client.get(path_of(reply.headers["Location"]).removesuffix("/_history/1")).data.decode()
    for part in (value, extension, when):
        assert part in read


WRITABLE = sorted(name for name, each in TYPES.items() if not each.read_only)


@pytest.mark.parametrize("resource_type", sorted(MINIMAL))
def test_each_type_can_be_created_read_and_searched(client, resource_type):
    reply = post(client, {"resourceType": resource_type, **MINIMAL[resource_type]})
    assert reply.status_code == 201, reply.data
    resource_id = reply.get_json(force=True)["id"]
    assert client.get(f"/fhir/{resource_type}/{resource_id}").data == reply.data
    bundle = client.get(f"/fhir/{resource_type}?_id={resource_id}").get_json(force=True)
    assert [entry["resource"]["id"] for entry in bundle["entry"]] == [resource_id]


AUDIT = {
    "resourceType": "AuditEvent",
    "type": {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "110104"},
    "recorded": "2026-11-22T08:00:00Z",
    "agent": [{"requestor": True}],
    "source": {"observer": {"display": "somebody"}},
}


def test_nobody_writes_into_the_audit_from_outside(client):
    url = "/fhir/AuditEvent/audit-1"
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [{"resource": AUDIT, "request": {"method": "POST", "url": "AuditEvent"}}],
    }
    for reply in (
        post(client, AUDIT),
        client.put(url, data=json.dumps({**AUDIT, "id": "audit-1"}), content_type=FHIR_JSON),
        client.delete(url),
        client.patch(url, data=b'{"outcome":"0"}', content_type="application/merge-patch+json"),
        client.patch("/fhir/AuditEvent?type=x", data=b"{}", content_type="application/merge-patch+json"),
        client.post("/fhir", data=json.dumps(bundle), content_type=FHIR_JSON),
    ):
        assert reply.status_code == 403, reply.data
        assert issue_of(reply)["code"] == "forbidden"
    assert client.get("/fhir/AuditEvent").get_json(force=True).get("entry", []) == []


def test_a_client_says_what_it_wants_back(client):
    assert post(client, OBSERVATION, Prefer="return=minimal").data == b""
    assert post(client, OBSERVATION, Prefer="return=representation").get_json(force=True)["status"] == "final"
    said = post(client, OBSERVATION, Prefer="return=OperationOutcome").get_json(force=True)
    assert said["issue"][0]["severity"] == "information"


def test_a_current_copy_is_not_sent_again(client):
    at = path_of(post(client, OBSERVATION).headers["Location"]).removesuffix("/_history/1")
    reply = client.get(at, headers={"If-None-Match": 'W/"1"'})
    assert (reply.status_code, reply.data) == (304, b"")
    assert client.get(at, headers={"If-None-Match": 'W/"2"'}).status_code == 200
    modified = client.get(at).headers["Last-Modified"]
    assert client.get(at, headers={"If-Modified-Since": modified}).status_code == 304


def test_head_answers_as_get_without_the_body(client):
    at = path_of(post(client, OBSERVATION).headers["Location"]).removesuffix("/_history/1")
    head, get = client.head(at), client.get(at)
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["ETag"] == get.headers["ETag"]
    assert head.headers["Content-Length"] == get.headers["Content-Length"]


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/fhir/Observation", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),
        ("/fhir/Observation/x", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("/fhir/Observation/_search", "OPTIONS, POST"),
        ("/fhir/metadata", "GET, HEAD, OPTIONS"),
        ("/fhir", "GET, HEAD, OPTIONS, POST"),
        ("/fhir/", "GET, HEAD, OPTIONS, POST"),
    ],
)
def test_options_and_405_name_the_methods_that_work(client, path, allow):
    assert client.options(path).headers["Allow"] == allow
    refused = client.open(path, method="TRACE")
    assert refused.status_code == 405
    assert refused.headers["Allow"] == client.options(path).headers["Allow"]
    assert issue_of(refused)["code"] == "not-supported"


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"status": "done"}, "Observation.status"),
        ({"status": None}, "Observation.status"),
        ({"status": ["final"]}, "Observation.status"),
        ({"code": "8867-4"}, "Observation.code"),
        ({"code": {}}, "Observation.code"),
        ({"note": []}, "Observation.note"),
        ({"note": None}, "Observation.note"),
        ({"note": [None]}, "Observation.note[0]"),
        ({"effectiveDateTime": "2024-02-30"}, "Observation.effectiveDateTime"),
        ({"effectiveDateTime": "2024-05-17T10:00:00"}, "Observation.effectiveDateTime"),
        ({"effectivePeriod": {"start": "2024"}}, "Observation.effective[x]"),
        ({"valueString": "a", "valueBoolean": True}, "Observation.value[x]"),
        ({"valueBoolean": "true"}, "Observation.valueBoolean"),
        ({"valueInteger": True}, "Observation.valueInteger"),
        ({"valueString": " "}, "Observation.valueString"),
        ({"colour": "red"}, "Observation.colour"),
        ({"valueString": "a", "dataAbsentReason": {"text": "x"}}, "Observation.dataAbsentReason"),
        ({"valueString": "a", "component": [{"code": OBSERVATION["code"]}]}, "Observation.component"),
        ({"resourceType": "Patient"}, "resourceType"),
        ({"meta": "x"}, "Observation.meta"),
    ],
)
def test_a_resource_that_is_not_sane_is_refused_with_its_place(client, change, place):
    reply = post(client, OBSERVATION | change, "Observation")
    assert reply.status_code == 400
    assert issue_of(reply)["expression"] == [place]
    assert client.get("/fhir/Observation?_summary=count").get_json(force=True)["total"] == 0


def test_a_probability_over_100_percent_is_refused(client):
    base = {"resourceType": "RiskAssessment", **MINIMAL["RiskAssessment"]}
    assert post(client, base | {"prediction": [{"probabilityDecimal": 101}]}).status_code == 400
    assert post(client, base | {"prediction": [{"probabilityDecimal": 100}]}).status_code == 201


@pytest.mark.parametrize("missing", ["status", "code", "resourceType"])
def test_a_required_element_that_is_missing_is_named(client, missing):
    reply = post(client, {name: value for name, value in OBSERVATION.items() if name != missing}, "Observation")
    assert missing in issue_of(reply)["expression"][0]


@pytest.mark.parametrize("body", [b"null", b"[]", b"", b"{", b"\xff", b'{"a":1,"a":1}', b"[" * 100, b"1" * 9999])
def test_a_body_that_is_no_object_is_refused(client, body):
    reply = post(client, body, "Observation")
    assert reply.status_code == 400
    assert issue_of(reply)["code"] == "invalid"


def test_a_body_over_five_megabytes_is_refused(client):
    body = b'{"resourceType":"Observation","x":"' + b"a" * 5 * 1024 * 1024 + b'"}'
    reply = post(client, body, "Observation")
    assert reply.status_code == 413
    assert issue_of(reply)["code"] == "too-long"


@pytest.mark.parametrize(
    "media_type", ["application/fhir+xml", "text/plain", "", "application/json; charset=latin-1"]
)
def test_only_json_is_read(client, media_type):
    reply = client.post("/fhir/Observation", data=json.dumps(OBSERVATION), content_type=media_type)
    assert reply.status_code == 415
    assert issue_of(reply)["code"] == "not-supported"
    assert "application/fhir+json" in issue_of(reply)["details"]["text"]


def test_a_search_by_post_says_which_form_it_reads(client):
    reply = client.post("/fhir/Patient/_search", data="{}", content_type="application/json")
    assert reply.status_code == 415
    assert "application/x-www-form-urlencoded" in issue_of(reply)["details"]["text"]


def test_an_empty_element_is_named(client):
    body = {"resourceType": "Patient", "name": [{"family": ""}]}
    reply = client.post("/fhir/Patient", data=json.dumps(body), content_type="application/fhir+json")
    assert reply.status_code == 400
    assert issue_of(reply)["expression"] == ["Patient.name[0].family"]


@pytest.mark.parametrize(
    ("accept", "query", "status"),
    [
        ("application/fhir+xml", "", 406),
        ("text/html", "", 406),
        ("application/fhir+json; fhirVersion=5.0", "", 406),
        ("application/fhir+json;q=0", "", 406),
        ("application/fhir+json; fhirVersion=4.0", "", 200),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "", 200),
        ("application/json", "", 200),
        ("application/fhir+xml", "?_format=json", 200),
        ("", "?_format=application/fhir+json", 200),
        ("", "?_format=xml", 406),
    ],
)
def test_only_json_is_answered(client, accept, query, status):
    headers = {"Accept": accept} if accept else {}
    for path in ("/fhir/metadata", "/fhir/Observation"):
        reply = client.get(path + query, headers=headers)
        assert reply.status_code == status
        if status == 406:
            issue_of(reply)


@pytest.mark.parametrize(
    "path",
    ["/fhir/Nonsense", "/fhir/Nonsense/1", "/fhir/Patient/absent", "/fhir/Patient/a_b",
     "/fhir/Patient/x/y", "/fhir/Patient/x/_history/1", "/fhir/Patient/x/_history/-1", "/fhir/patient/x"],
)  # fmt: skip
def test_what_is_not_here_is_an_outcome(client, path):
    reply = client.get(path)
    assert reply.status_code == 404
    assert issue_of(reply)["code"] == "not-found"


def test_a_store_that_is_away_is_503_with_the_time_to_come_back(fhir):
    class Away:
        def read(self):
            raise Busy("the database is away, locked or full", retry_after_s=3)

        def rows_of(self, *_):
            self.read()

    app = Flask("away")
    app.register_blueprint(blueprint(type(fhir)(Away(), fhir.now, fhir.new_id, fhir.page_key, fhir.base_url)))
    reply = app.test_client().get("/fhir/Patient/x")
    assert reply.status_code == 503
    assert reply.headers["Retry-After"] == "3"
    assert issue_of(reply)["code"] == "throttled"


# ---------------------------------------------------------------- search


@pytest.mark.parametrize(
    "query",
    ["nonsense=1", "code:exact=x", "code:below=x", "code:in=http://x", "patient.nonsense=x", "status.identifier=x",
     "subject.name=x", "subject:Practitioner.name=x", "_has:Observation:x=1", "_has:Nonsense:patient:code=1",
     "_has:Patient:link:name=x", "_include=Patient:link", "_include=Observation:code",
     "_include:x=Observation:subject", "_revinclude=Provenance", "_revinclude=Observation:subject:Practitioner",
     "_include=Observation:subject&_summary=text", "date=yesterday", "date=2024-13", "date:missing=x", "_count=-1",
     "_count=x", "_sort=combo-code-value-quantity",
     "_sort=-nonsense", "_sort=date,date", "_sort=_id,date,code,status,subject,category", "_summary=x", "_total=x",
     "_count=1&_count=2", "_count:x=1", "code=", "code=a,,b", "code=%7C", "status=%00", "subject:Patient=Group/1",
     "subject:identifier=%7C", "_page=x", "_page=%C3%A9.x", "_elements=nonsense", "_elements=code.text",
     "value-quantity=much", "value-quantity=5%7Cmg", "value-quantity=5e999", "value-quantity=1e400%7C%7Cmg",
     "code-value-quantity=x", "code-value-quantity=x$", "_lastUpdated:not=2024", "identifier:of-type=x%7Cy",
     "_has:Observation:patient:" + "_has:Patient:link:_has:Observation:patient:" * 3 + "code=x",
     "_id=" + ",".join("x" * 600), "date=" + ",".join(["2024"] * 200)],
)  # fmt: skip
def test_a_search_that_is_not_understood_is_refused(client, query):
    reply = client.get(f"/fhir/Observation?{query}")
    assert reply.status_code == 400, reply.data
    issue_of(reply)


def test_an_unknown_parameter_is_refused_with_the_ones_that_exist(client):
    issue = issue_of(client.get("/fhir/Observation?colour=Zzcanary"))
    assert issue["expression"] == ["colour"]
    assert "derived-from" in issue["diagnostics"]
    assert "canary" not in json.dumps(issue)


def test_a_lenient_client_is_told_what_was_not_used(client):
    post(client, OBSERVATION)
    reply = client.get("/fhir/Observation?colour=red&status=final", headers={"Prefer": "handling=lenient"})
    bundle = reply.get_json(force=True)
    assert [entry["search"]["mode"] for entry in bundle["entry"]] == ["match", "outcome"]
    self_link = next(link["url"] for link in bundle["link"] if link["relation"] == "self")
    assert dict(parse_qsl(urlsplit(self_link).query)) == {"status": "final"}
    strict = client.get("/fhir/Observation?code:exact=x", headers={"Prefer": "handling=lenient"})
    assert strict.status_code == 400


def test_a_total_is_counted_when_asked_for(client):
    for _ in range(3):
        post(client, OBSERVATION)
    for query in ("_count=0", "_summary=count", "_count=0&_totalMethod=count"):
        bundle = client.get(f"/fhir/Observation?status=final&{query}").get_json(force=True)
        assert (bundle["total"], "entry" in bundle) == (3, False)
    assert client.get("/fhir/Observation?_total=accurate&_count=1").get_json(force=True)["total"] == 3
    assert "total" not in client.get("/fhir/Observation?_count=1").get_json(force=True)


def test_harmless_parameters_of_clients_are_tolerated(client):
    assert client.get("/fhir/Observation?_format=json&_pretty=true&_totalMethod=count").status_code == 200


def test_a_page_link_with_anything_changed_is_refused(client):
    for _ in range(3):
        post(client, OBSERVATION)
    bundle = client.get("/fhir/Observation?status=final&_count=1").get_json(force=True)
    url = next(link["url"] for link in bundle["link"] if link["relation"] == "next")
    assert client.get(path_of(url)).status_code == 200
    parts = dict(parse_qsl(urlsplit(url).query))
    place, _, signature = parts["_page"].partition(".")
    for change in (
        {"status": "amended"},
        {"_count": "2"},
        {"_sort": "date"},
        {"_page": "WyJhIl0=." + signature},
        {"_page": place + "." + signature[:-4] + "AA=="},
        {"_page": place},
    ):
        reply = client.get("/fhir/Observation?" + urlencode(parts | change))
        assert reply.status_code == 400, change
        assert issue_of(reply)["expression"] == ["_page"]


def test_a_page_link_of_one_type_is_not_one_of_another(client):
    for _ in range(2):
        post(client, OBSERVATION)
    bundle = client.get("/fhir/Observation?_count=1").get_json(force=True)
    url = next(link["url"] for link in bundle["link"] if link["relation"] == "next")
    assert client.get(path_of(url)).status_code == 200
    assert client.get(path_of(url).replace("Observation", "DiagnosticReport")).status_code == 400


def test_a_long_value_still_equals_itself(client):
    long = "é" * 600
    body = OBSERVATION | {"identifier": [{"system": f"urn:{long}", "value": long}]}
    assert post(client, body).status_code == 201
    bundle = client.get("/fhir/Observation?" + urlencode({"identifier": f"urn:{long}|{long}"})).get_json(
        force=True
    )
    assert len(bundle["entry"]) == 1
    assert "entry" not in client.get("/fhir/Observation?" + urlencode({"identifier": long[:-1]})).get_json(
        force=True
    )


def test_a_name_is_found_without_case_and_accents_by_its_start(client):
    post(client, {"resourceType": "Patient", "name": [{"family": "Zzcanàry-Łoś", "given": ["Quillon"]}]})
    for query in ("family=zzcanary", "name=QUILL", "given=quillon", "name=zzcanà"):
        assert len(client.get(f"/fhir/Patient?{query}").get_json(force=True)["entry"]) == 1, query
    assert client.get("/fhir/Patient?family=%CC%81").status_code == 400  # an accent alone starts every name
    for query in ("family=canary", "family=quillon"):
        assert "entry" not in client.get(f"/fhir/Patient?{query}").get_json(force=True)


def test_any_coding_of_a_patient_s_observation_finds_it(client):
    codings = [{"system": "http://loinc.org", "code": "a"}, {"system": "http://snomed.info/sct", "code": "b"}]
    post(client, OBSERVATION | {"code": {"coding": codings}})
    for code in ("http://loinc.org|a", "http://snomed.info/sct|b", "a", "b"):
        asked = urlencode({"patient": "p1", "code": code})
        assert "entry" in client.get(f"/fhir/Observation?{asked}").get_json(force=True), code


def test_an_absolute_reference_to_this_server_is_its_own(client):
    post(client, OBSERVATION | {"subject": {"reference": "http://127.0.0.1:8080/fhir/Patient/p9"}})
    for value in ("p9", "Patient/p9", "http://127.0.0.1:8080/fhir/Patient/p9"):
        assert "entry" in client.get("/fhir/Observation?" + urlencode({"patient": value})).get_json(force=True)
    other = urlencode({"patient": "http://elsewhere.example/fhir/Patient/p9"})
    assert "entry" not in client.get(f"/fhir/Observation?{other}").get_json(force=True)


# ---------------------------------------------------------------- what the server says of itself


OF_NO_TYPE = {
    "$ai-recall",
    "$ai-replay-status",
    "transaction",
    "search-system",
    "search-compartment",
    "$export-status",
    "$export-file",
}


def test_the_capability_statement_is_r4_and_names_what_is_registered(client):
    said = client.get("/fhir/metadata").get_json(force=True)
    CapabilityStatement.model_validate_json(orjson.dumps(said))
    assert said["fhirVersion"] == "4.0.1"
    rest = said["rest"][0]["resource"]
    assert {each["type"] for each in rest} == set(TYPES)
    assert [each["code"] for each in said["rest"][0]["interaction"]] == ["transaction", "batch", "search-system"]
    assert said["rest"][0]["compartment"] == ["http://hl7.org/fhir/CompartmentDefinition/patient"]
    writes = {"create", "update", "patch", "delete"}
    for each in rest:
        codes = {one.code for one in INTERACTIONS} - OF_NO_TYPE
        codes -= set() if each["type"] == "Patient" else {"$everything"}
        codes -= set() if each["type"] == "Observation" else {"$lastn", "$stats"}
        codes -= set() if each["type"] == "ConceptMap" else {"$translate"}
        codes -= set() if each["type"] in {"Patient", "Group"} else {"$export"}
        codes -= set() if each["type"] == "Subscription" else {"$status", "$events"}
        codes -= set() if each["type"] in WRITABLE else writes
        codes -= set() if each["type"] in RESULTS else {"$ai-replay", "$ai-confirm"}
        named = {interaction["code"] for interaction in each["interaction"]}
        assert named | {f"${operation['name']}" for operation in each["operation"]} == codes
        for parameter in each["searchParam"]:
            parse(each["type"], [(parameter["name"], a_value(each["type"], parameter["name"]))], base_url="")


def a_value(resource_type, name):
    parameters = TYPES[resource_type].parameters
    if name in ("_id", "_lastUpdated"):
        return "2024"
    if parameters[name].components:
        return "$".join(a_value(resource_type, each) for each in parameters[name].components)
    values = {"date": "2024", "reference": "X/x", "number": "5", "quantity": "5"}
    return values.get(parameters[name].kind.value, "x")


@pytest.mark.parametrize("resource_type", sorted({*MINIMAL, "Claim", "Encounter", "Subscription", "Task"}))
def test_the_element_table_is_that_of_r4(resource_type):
    module = importlib.import_module(f"fhir.resources.R4B.{resource_type.lower()}")
    fields = getattr(module, resource_type).model_fields
    expected = {
        field.alias or name: "List" in str(field.annotation)
        for name, field in fields.items()
        if not name.endswith("__ext") and (field.alias or name) not in {"resourceType", "fhir_comments"}
    }
    assert {name: element.many for name, element in structure_of(resource_type).elements.items()} == expected
