"""Consents are kept on every path of reading: deny wins, exceptions stay, and a change counts within a second."""

import json
from base64 import b64encode

import pytest

from fhir_adapters.access.consents import LOOK_EVERY_S, Consents
from fhir_adapters.bulk.making import Exporter
from record_store.testing import MemoryBlobs

LABELS = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
LOINC = "http://loinc.org"
TYPES = "http://hl7.org/fhir/resource-types"
ALL = {"p1", "p2", "o-lab", "o-hiv", "o-secret", "o-old", "c1", "o-p2", "d1"}
OF_P1 = {"p1", "o-lab", "o-hiv", "o-secret", "o-old", "c1"}


def observation(own, patient, code, date="2026-03-01", **more):
    return {
        "resourceType": "Observation",
        "id": own,
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": code}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": date,
        **more,
    }


STORED = [
    {"resourceType": "Patient", "id": "p1"},
    {"resourceType": "Patient", "id": "p2"},
    {"resourceType": "Device", "id": "d1"},
    observation("o-lab", "p1", "a"),
    observation("o-hiv", "p1", "hiv"),
    observation("o-secret", "p1", "a", meta={"security": [{"system": LABELS, "code": "V"}]}),
    observation("o-old", "p1", "a", "2001-01-01"),
    observation("o-p2", "p2", "a"),
    {"resourceType": "Condition", "id": "c1", "subject": {"reference": "Patient/p1"}, "code": {"text": "x"}},
]


def consent(provision, own="k1", patient="p1", status="active", scope="patient-privacy"):
    """A Consent of a patient with this root provision."""
    scopes = "http://terminology.hl7.org/CodeSystem/consentscope"
    return {
        "resourceType": "Consent",
        "id": own,
        "status": status,
        "scope": {"coding": [{"system": scopes, "code": scope}]},
        "category": [{"coding": [{"system": LOINC, "code": "59284-0"}]}],
        "patient": {"reference": f"Patient/{patient}"},
        "policyRule": {"text": "the site's policy"},
        "provision": provision,
    }


def deny(**more):
    return {"type": "deny", **more}


def permit(**more):
    return {"type": "permit", **more}


def of(kind):
    return [{"system": TYPES, "code": kind}]


def coded(code):
    return [{"coding": [{"system": LOINC, "code": code}]}]


def actor(reference):
    return [{"role": {"coding": [{"code": "PRCP"}]}, "reference": reference}]


OPERATOR = {"Authorization": "Bearer an-operator-s-token-of-more-than-32-characters"}
SECRET = [{"system": LABELS, "code": "V"}]
NOW = {"start": "2026-01-01", "end": "2026-12-31"}
PAST = {"start": "2020-01-01", "end": "2020-12-31"}
LAB = {"reference": "Organization/lab"}

# name -> (consents; what the laboratory's client no longer sees). Nothing else changes.
DENIALS = {
    "nothing said": ([], set()),
    "all denied": ([consent(deny())], OF_P1),
    "a type": ([consent(deny(**{"class": of("Observation")}))], {"o-lab", "o-hiv", "o-secret", "o-old"}),
    "a code": ([consent(deny(code=coded("hiv")))], {"o-hiv"}),
    "a label": ([consent(deny(securityLabel=SECRET))], {"o-secret"}),
    "old data": ([consent(deny(dataPeriod={"end": "2010"}))], {"o-old"}),
    "one resource": (
        [consent(deny(data=[{"meaning": "instance", "reference": {"reference": "Observation/o-lab"}}]))],
        {"o-lab"},
    ),
    "a code of one type": ([consent(deny(code=coded("hiv"), **{"class": of("Condition")}))], set()),
    "for this client": ([consent(deny(actor=actor(LAB)))], OF_P1),
    "for another": ([consent(deny(actor=actor({"reference": "Organization/other"})))], set()),
    "for somebody described": ([consent(deny(actor=actor({"display": "the neighbour"})))], OF_P1),
    "for treatment": ([consent(deny(purpose=[{"code": "TREAT"}]))], OF_P1),
    "for marketing": ([consent(deny(purpose=[{"code": "HMARKT"}]))], set()),
    "for a purpose in words": ([consent(deny(purpose=[{"display": "care"}]))], OF_P1),
    "an action in words": ([consent(deny(action=[{"text": "looking"}]))], OF_P1),
    "an exception in words": ([consent(deny(provision=[permit(action=[{"text": "correcting"}])]))], OF_P1),
    "while it lasts": ([consent(deny(period=NOW))], OF_P1),
    "when it has ended": ([consent(deny(period=PAST))], set()),
    "correcting alone": ([consent(deny(action=[{"coding": [{"code": "correct"}]}]))], set()),
    "access by its code": ([consent(deny(action=[{"coding": [{"code": "access"}]}]))], OF_P1),
    "what cannot be judged": ([consent(deny(**{"class": [{"system": "urn:x", "code": "y"}]}))], OF_P1),
    "not active": ([consent(deny(), status="inactive")], set()),
    "about research": ([consent(deny(), scope="research")], set()),
    "all but one type": (
        [consent(deny(provision=[permit(**{"class": of("Observation")})]))],
        {"p1", "c1"},
    ),
    "all but for this client": ([consent(deny(provision=[permit(actor=actor(LAB))]))], set()),
    "an exception for another": (
        [consent(deny(provision=[permit(actor=actor({"reference": "Organization/other"}))]))],
        OF_P1,
    ),
    "permitted but one code": ([consent(permit(provision=[deny(code=coded("hiv"))]))], {"o-hiv"}),
    "a root without a type": ([consent({"provision": [deny(code=coded("hiv"))]})], {"o-hiv"}),
    "an exception of a rule below the root": (
        [consent({"provision": [permit(provision=[deny(code=coded("hiv"))])]})],
        {"o-hiv"},
    ),
    "an exception of an exception": (
        [consent(deny(provision=[permit(**{"class": of("Observation")}, provision=[deny(code=coded("hiv"))])]))],
        {"p1", "c1", "o-hiv"},
    ),
    "deny wins over another's permit": (
        [consent(permit(), "k1"), consent(deny(code=coded("hiv")), "k2")],
        {"o-hiv"},
    ),
    "two patients": ([consent(deny(), "k1"), consent(deny(), "k2", "p2")], OF_P1 | {"p2", "o-p2"}),
}


class Ward:
    """The store, a client with an actor, and what it sees."""

    def __init__(self, house, client):
        self.house, self.client = house, client
        for resource in STORED:
            self.put(resource)
        self.shown = self.bearer(client)

    def bearer(self, client, **more):
        return {"Authorization": f"Bearer {self.house.token(client, 'system/*.rs', **more)}"}

    def put(self, resource):
        headers = {"Authorization": "Bearer an-operator-s-token-of-more-than-32-characters"}
        path = f"/fhir/{resource['resourceType']}/{resource['id']}"
        answer = self.house.client.put(path, json=resource, headers=headers)
        assert answer.status_code in {200, 201}, answer.data
        self.house.fhir.consents._looked_at = float("-inf")  # a second later

    def seen(self, shown=None):
        """The ids that searches, reads and an export find, which must be the same."""
        headers = shown or self.shown
        url = "/fhir?_type=Patient,Observation,Condition,Device"
        found = self.house.client.get(url, headers=headers).json
        searched = {entry["resource"]["id"] for entry in found.get("entry", ())}
        read = {
            one["id"]
            for one in STORED
            if self.house.client.get(f"/fhir/{one['resourceType']}/{one['id']}", headers=headers).status_code
            == 200
        }
        assert searched == read
        return searched


@pytest.fixture
def make_ward(make_house, warehouse, with_scopes, now, tmp_path):
    def make(*, opt_in=False):
        client = with_scopes(
            warehouse, "system/*.rs", actor="Organization/lab", purposes=("TREAT", "ETREAT", "HPAYMT")
        )
        house = make_house(client, consents={"opt_in": opt_in}, blobs=MemoryBlobs(tmp_path))
        return Ward(house, client)

    return make


def test_what_a_consent_denies_is_not_there(make_ward):
    ward = make_ward()
    for name, (consents, hidden) in DENIALS.items():
        for own in ("k1", "k2"):
            ward.put(consent(deny(), own, status="inactive"))
        for one in consents:
            ward.put(one)
        assert ward.seen() == ALL - hidden, name


def test_where_patients_opt_in_only_what_is_permitted_is_there(make_ward):
    ward = make_ward(opt_in=True)
    assert ward.seen() == {"d1"}
    ward.put(consent(permit()))
    assert ward.seen() == OF_P1 | {"d1"}
    ward.put(consent(permit(**{"class": of("Observation")}, provision=[deny(code=coded("hiv"))])))
    assert ward.seen() == {"o-lab", "o-secret", "o-old", "d1"}
    ward.put(consent(deny(), "k2"))
    assert ward.seen() == {"d1"}
    ward.put(consent(deny(provision=[permit(code=coded("hiv"))]), "k1"))
    ward.put(consent(deny(), "k2", status="inactive"))
    assert ward.seen() == {"o-hiv", "d1"}


def test_in_an_emergency_a_client_that_may_say_so_sees_it_all_and_the_audit_says_why(make_ward):
    ward = make_ward()
    ward.put(consent(deny()))
    assert ward.seen(ward.bearer(ward.client, purpose="ETREAT")) == ALL
    assert ward.seen(ward.bearer(ward.client, purpose="HPAYMT")) == ALL - OF_P1
    assert ward.house.issued[-2].purpose == "ETREAT"


def test_an_emergency_ends_with_its_token(make_ward):
    ward = make_ward()
    ward.bearer(ward.client, purpose="ETREAT")
    ward.bearer(ward.client, purpose="HPAYMT")
    kept = [ward.house.access.grant_of(one.as_json()) for one in ward.house.issued[-2:]]
    assert [one.purpose for one in kept] == ["TREAT", "HPAYMT"]  # as a subscription keeps them


def test_what_is_denied_is_not_shown_to_who_changes_a_part_of_it(make_house, warehouse, with_scopes):
    client = with_scopes(warehouse, "system/*.rs", "system/Observation.u")
    ward = Ward(make_house(client, consents={}), client)
    headers = {"Authorization": f"Bearer {ward.house.token(client, 'system/*.rs system/Observation.u')}"}
    ward.put(consent(deny(code=coded("hiv"))))
    binary = {
        "resourceType": "Binary",
        "contentType": "application/json-patch+json",
        "data": b64encode(b"[]").decode(),
    }

    def patched(own):
        entry = {"resource": binary, "request": {"method": "PATCH", "url": f"Observation/{own}"}}
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
        send, kind = ward.house.client, "application/json-patch+json"
        alone = send.patch(f"/fhir/Observation/{own}", data="[]", content_type=kind, headers=headers)
        return alone.status_code, send.post("/fhir", json=bundle, headers=headers).status_code

    assert patched("o-lab") == (200, 200)
    assert patched("o-hiv") == patched("absent") == (404, 404)


def test_the_operator_is_not_asked_for_consent(make_ward):
    ward = make_ward()
    ward.put(consent(deny()))
    operator = {"Authorization": "Bearer an-operator-s-token-of-more-than-32-characters"}
    assert ward.seen(operator) == ALL


def test_what_is_denied_comes_along_with_nothing(make_ward):
    ward = make_ward()
    ward.put(consent(deny(**{"class": of("Patient")})))
    for path in (
        "Observation?_id=o-lab&_include=Observation:subject",
        "Patient/p1/$everything",
        "Observation?subject:Patient._id=p1",
        "Patient?_has:Observation:patient:code=hiv",
        "Patient/p1/_history/1",
        "Patient/_history",
    ):
        found = ward.house.client.get(f"/fhir/{path}", headers=ward.shown)
        kinds = [entry["resource"]["resourceType"] for entry in found.json.get("entry", ())]
        ids = [entry["resource"]["id"] for entry in found.json.get("entry", ())]
        assert ("Patient", "p1") not in list(zip(kinds, ids, strict=True)), path


def test_an_export_leaves_out_what_is_denied(make_ward):
    ward = make_ward()
    ward.put(consent(deny(code=coded("hiv"))))
    house = ward.house
    begun = house.client.get("/fhir/$export?_type=Observation", headers=ward.shown | {"Prefer": "respond-async"})
    blobs, base = house.fhir.bulk.blobs(), house.fhir.base_url
    given = {"executor": "w", "stopping": lambda: False, "settle_s": 0, "consents": house.fhir.consents}
    Exporter(house.db, blobs, house.now, base, **given).once()
    place = begun.headers["Content-Location"].removeprefix("https://cds.example")
    (file,) = house.client.get(place, headers=ward.shown).json["output"]
    lines = house.client.get(file["url"].removeprefix("https://cds.example"), headers=ward.shown).data.splitlines()
    assert {json.loads(line)["id"] for line in lines} == {"o-lab", "o-secret", "o-old", "o-p2"}


def test_what_was_deleted_is_told_of_those_whose_data_is_seen(make_ward):
    ward = make_ward()
    ward.put(consent(deny(code=coded("hiv"))))
    house = ward.house
    for gone in ("o-hiv", "o-lab", "o-p2"):
        assert house.client.delete(f"/fhir/Observation/{gone}", headers=OPERATOR).status_code in {200, 204}
    headers = ward.shown | {"Prefer": "respond-async"}
    begun = house.client.get("/fhir/$export?_type=Observation&_since=2020-01-01T00:00:00Z", headers=headers)
    given = {"executor": "w", "stopping": lambda: False, "settle_s": 0, "consents": house.fhir.consents}
    Exporter(house.db, house.fhir.bulk.blobs(), house.now, house.fhir.base_url, **given).once()
    place = begun.headers["Content-Location"].removeprefix("https://cds.example")
    (file,) = house.client.get(place, headers=ward.shown).json["deleted"]
    path = file["url"].removeprefix("https://cds.example")
    (bundle,) = map(json.loads, house.client.get(path, headers=ward.shown).data.splitlines())
    named = [entry["request"]["url"] for entry in bundle["entry"]]
    assert named == ["Observation/o-lab", "Observation/o-p2"]


def test_an_export_of_an_emergency_is_not_for_the_client_s_usual_tokens(make_ward):
    ward = make_ward()
    urgent = ward.bearer(ward.client, purpose="ETREAT")
    begun = ward.house.client.get("/fhir/$export", headers=urgent | {"Prefer": "respond-async"})
    place = begun.headers["Content-Location"].removeprefix("https://cds.example")
    asked = [ward.house.client.get(place, headers=one).status_code for one in (urgent, ward.shown)]
    assert asked == [202, 404]


def test_a_filter_of_an_export_asks_nothing_of_what_is_denied(make_ward):
    ward = make_ward()
    ward.put(consent(deny(**{"class": of("Patient")})))
    asked = {"_type": "Observation", "_typeFilter": "Observation?subject:Patient._id=p1,p2"}
    headers = ward.shown | {"Prefer": "respond-async"}
    begun = ward.house.client.get("/fhir/$export", query_string=asked, headers=headers)
    blobs, house = ward.house.fhir.bulk.blobs(), ward.house
    given = {"executor": "w", "stopping": lambda: False, "settle_s": 0, "consents": house.fhir.consents}
    Exporter(house.db, blobs, house.now, house.fhir.base_url, **given).once()
    place = begun.headers["Content-Location"].removeprefix("https://cds.example")
    (file,) = house.client.get(place, headers=ward.shown).json["output"]
    path = file["url"].removeprefix("https://cds.example")
    lines = house.client.get(path, headers=ward.shown).data.splitlines()
    assert {json.loads(line)["id"] for line in lines} == {"o-p2"}
    # In a Bundle a file has no place: it is no resource, and may be as large as the store.
    entry = {"request": {"method": "GET", "url": path.removeprefix("/fhir/")}}
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [entry]}
    (answer,) = house.client.post("/fhir", json=bundle, headers=ward.shown).json["entry"]
    assert answer["response"]["status"] == "404"


@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_an_entry_of_a_bundle_that_is_no_request_is_refused(kind, make_ward):
    ward = make_ward()

    def sent(**request):
        entry = {"request": {"method": "GET", "url": "Patient/p1", **request}}
        bundle = {"resourceType": "Bundle", "type": kind, "entry": [entry]}
        return ward.house.client.post("/fhir", json=bundle, headers=ward.shown)

    for name in ("ifMatch", "ifNoneMatch", "ifNoneExist"):
        assert sent(**{name: "a\r\nX: b"}).status_code == 400, name
    assert sent(url="//x").json["entry"][0]["response"]["status"] == "404"


def test_odd_parameters_and_patches_are_refused_and_no_failure(make_ward):
    ward = make_ward()
    for path in ("Patient/$validate", "ConceptMap/$translate"):
        for odd in (5, True, [{"name": []}], [{"name": {}}], [5]):
            sent = {"resourceType": "Parameters", "parameter": odd}
            status = ward.house.client.post(f"/fhir/{path}", json=sent, headers=OPERATOR).status_code
            assert status in {200, 400}, (path, odd)
    binaries = ({}, {"contentType": 5, "data": 5}, {"contentType": "a\r\nb"}, {"contentType": "a/b", "data": "W1"})
    entries = [
        {"resource": {"resourceType": "Binary", **one}, "request": {"method": "PATCH", "url": "Patient/p1"}}
        for one in binaries
    ]
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
    answers = ward.house.client.post("/fhir", json=bundle, headers=OPERATOR).json["entry"]
    assert {one["response"]["status"] for one in answers} <= {"400", "415"}


def test_a_change_counts_within_a_second_and_a_period_begins_by_itself(make_ward, now, sqlite_db):
    ward = make_ward()
    clock = [0.0]
    consents = Consents(sqlite_db, now, "https://cds.example/fhir", clock=lambda: clock[0])
    (grant,) = ward.house.issued
    assert consents.narrowed(grant, "Observation") is None
    ward.put(consent(deny(period={"start": "2026-11-27T10:00:00Z", "end": "2026-11-27T11:00:00Z"})))
    assert consents.narrowed(grant, "Observation") is None
    clock[0] += LOOK_EVERY_S
    assert consents.narrowed(grant, "Observation") is None  # it is nine o'clock
    now.advance(3600)
    assert consents.narrowed(grant, "Observation") is not None
    now.advance(3601)
    assert consents.narrowed(grant, "Observation") is None
