"""What a search may ask and how it is answered (R4 3.1.1); searches at random are in test_search_oracle."""

import json
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from fhir_adapters.rest import searchset
from fhir_adapters.search import page
from record_store.testing import database

FHIR_JSON = "application/fhir+json"
LOINC, SNOMED, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
ICD = "http://hl7.org/fhir/sid/icd-10-cm"
SETS = "http://hl7.org/fhir/ValueSet"
MRN = {
    "coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}],
    "text": "Medical record",
}
RESOURCES = {
    "Organization/org": {"name": "Hôpital Général", "partOf": {"reference": "Organization/parent"}},
    "Organization/parent": {"name": "Group of hospitals"},
    "Practitioner/doc": {"name": [{"family": "Strange"}]},
    "Patient/p1": {
        "name": [{"family": "Zzcanàry", "given": ["Quillon", "Ann"]}],
        "identifier": [{"type": MRN, "system": "urn:mrn", "value": "17"}, {"system": "urn:x", "value": "a,b|c$d"}],
        "gender": "female",
        "birthDate": "1970-03-04",
        "managingOrganization": {"reference": "Organization/org"},
        "generalPractitioner": [{"reference": "Practitioner/doc"}],
    },
    "Patient/p2": {"name": [{"family": "zzcanary"}], "identifier": [{"system": "urn:mrn", "value": "18"}]},
    "Observation/bp": {
        "status": "final",
        "category": [{"coding": [{"system": "urn:cat", "code": "vital-signs"}]}],
        "code": {
            "coding": [{"system": LOINC, "code": "85354-9", "display": "Blood pressure panel"}],
            "text": "BP sitting",
        },
        "subject": {"reference": "Patient/p1"},
        "performer": [{"reference": "Practitioner/doc"}],
        "effectiveDateTime": "2024-05-17T10:00:00Z",
        "component": [
            {"code": {"coding": [{"system": LOINC, "code": code}]},
             "valueQuantity": {"value": value, "unit": "mmHg", "system": UCUM, "code": "mm[Hg]"}}
            for code, value in (("8480-6", 140), ("8462-4", 85))
        ],
    },
    "Observation/glucose": {
        "status": "preliminary",
        "code": {"coding": [{"system": LOINC, "code": "2339-0"}]},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2024-06-01",
        "derivedFrom": [{"reference": "Observation/bp"}],
        "valueQuantity": {"value": 6.5, "unit": "%", "system": UCUM, "code": "%"},
    },
    "Observation/weight": {
        "status": "amended",
        "code": {"text": "weighed at home"},
        "subject": {"reference": "Patient/p2"},
        "valueQuantity": {"value": 72500, "unit": "gram", "system": UCUM, "code": "g"},
    },
    "Observation/odd": {
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": "2339-0"}]},
        "subject": {"identifier": {"system": "urn:mrn", "value": "99"}, "display": "somebody"},
        "valueQuantity": {"value": 5, "comparator": "<", "unit": "tablets"},
    },
    "Provenance/pr": {
        "target": [{"reference": "Observation/bp"}],
        "recorded": "2024-05-18T10:00:00Z",
        "agent": [{"who": {"reference": "Practitioner/doc"}}],
    },
    "RiskAssessment/risk": {
        "status": "final",
        "subject": {"reference": "Patient/p1"},
        "prediction": [{"probabilityDecimal": 37.0}],
    },
    "Condition/diabetes": {
        "subject": {"reference": "Patient/p2"},
        "clinicalStatus": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]
        },
        "code": {"coding": [{"system": ICD, "code": "E11.65"}]},
    },
    "ValueSet/vs": {"status": "draft", "url": "http://acme.example/fhir/ValueSet/vs|2", "version": "2"},
}  # fmt: skip
RESOURCES["ValueSet/vs"]["url"] = "http://acme.example/fhir/ValueSet/vs"


@pytest.fixture(scope="module")
def searched(tmp_path_factory, make_client_for):
    """A client over RESOURCES; shared, so these tests only read."""
    db = database(tmp_path_factory.mktemp("search"))
    client = make_client_for(db)
    for name, resource in RESOURCES.items():
        kind, resource_id = name.split("/")
        body = json.dumps({"resourceType": kind, "id": resource_id, **resource})
        reply = client.put(f"/fhir/{name}", data=body, content_type=FHIR_JSON)
        assert reply.status_code == 201, reply.data
    yield client
    db.dispose()


def bundle_of(client, query, **headers):
    path, _, asked = query.partition("?")
    url = f"/fhir/{path}?{urlencode(parse_qsl(asked, keep_blank_values=True))}"
    bundle = client.get(url, headers=headers).get_json(force=True)
    assert bundle["resourceType"] == "Bundle", bundle
    return bundle


def entries(bundle, mode="match"):
    return [one["resource"] for one in bundle.get("entry", []) if one["search"]["mode"] == mode]


def found(client, query):
    return [one["id"] for one in entries(bundle_of(client, query))]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        # :missing
        ("Observation?category:missing=true", ["glucose", "odd", "weight"]),
        ("Observation?category:missing=false", ["bp"]),
        ("Observation?patient:missing=true", ["odd"]),
        ("Observation?subject:missing=true", []),
        ("Observation?date:missing=true&value-quantity:missing=false", ["odd", "weight"]),
        ("Observation?_id:missing=true", []),
        # token
        ("Observation?status:not=final", ["glucose", "weight"]),
        ("Observation?category:not=urn:cat|vital-signs", ["glucose", "odd", "weight"]),
        ("Observation?code:text=blood", ["bp"]),
        ("Observation?code:text=bp,WEIGHED", ["bp", "weight"]),
        ("DiagnosticReport?status:in=http://hl7.org/fhir/ValueSet/diagnostic-report-status", []),
        (f"Observation?status:in={SETS}/observation-status", ["bp", "glucose", "odd", "weight"]),
        ("Patient?gender:not-in=http://hl7.org/fhir/ValueSet/administrative-gender", ["p2"]),
        ("Patient?identifier:of-type=http://terminology.hl7.org/CodeSystem/v2-0203|MR|17", ["p1"]),
        ("Patient?identifier:of-type=http://terminology.hl7.org/CodeSystem/v2-0203|MR|18", []),
        (r"Patient?identifier=a\,b\|c\$d", ["p1"]),
        (r"Patient?identifier=urn:x|a\,b\|c\$d,18", ["p1", "p2"]),
        (f"Condition?code:below={ICD}|E11", ["diabetes"]),
        (f"Condition?code:below={ICD}|E11.65", ["diabetes"]),
        (f"Condition?code:below={ICD}|E11.9,{ICD}|E10", []),
        (f"Condition?code:above={ICD}|E11.65", ["diabetes"]),
        (f"Condition?code:above={ICD}|E11", []),
        # string
        ("Patient?family=ZZCANARY", ["p1", "p2"]),
        ("Patient?family:exact=zzcanary", ["p2"]),
        ("Patient?family:exact=Zzcanàry", ["p1"]),
        ("Patient?name:contains=ILLO", ["p1"]),
        ("Patient?name=illo", []),
        # reference
        ("Observation?subject:identifier=urn:mrn|99", ["odd"]),
        ("Observation?patient:identifier=99", ["odd"]),
        ("Observation?subject:Patient=p1", ["bp", "glucose"]),
        ("Observation?patient=Patient/p1", ["bp", "glucose"]),
        ("Observation?patient=http://127.0.0.1:8080/fhir/Patient/p1", ["bp", "glucose"]),
        ("Observation?patient=Group/p1", []),
        # quantity, number
        ("Observation?value-quantity=6.5||%", ["glucose"]),
        ("Observation?value-quantity=6.50|http://unitsofmeasure.org|%", ["glucose"]),
        ("Observation?value-quantity=0.065|http://unitsofmeasure.org|1", ["glucose"]),
        ("Observation?value-quantity=72.5||kg", ["weight"]),
        ("Observation?value-quantity=72.5|http://unitsofmeasure.org|g", []),
        ("Observation?value-quantity=7e1|http://unitsofmeasure.org|kg", ["weight"]),
        ("Observation?value-quantity=72500||gram", ["weight"]),
        ("Observation?value-quantity=lt3||tablets", ["odd"]),
        ("Observation?value-quantity=eb5||tablets", []),
        ("Observation?value-quantity=gt6.5||%", []),
        ("Observation?value-quantity=ge6.5||%", ["glucose"]),
        ("Observation?value-quantity=ap6||%", ["glucose"]),
        ("Observation?value-quantity=ap5.5||%", []),
        ("Observation?value-quantity=gt6", ["glucose", "weight"]),
        ("RiskAssessment?probability=gt36.9", ["risk"]),
        ("RiskAssessment?probability=37", ["risk"]),
        ("RiskAssessment?probability=ne37.00", []),
        ("RiskAssessment?probability=lt37", []),
        # uri
        ("ValueSet?url=http://acme.example/fhir/ValueSet/vs", ["vs"]),
        ("ValueSet?url:below=http://acme.example/fhir", ["vs"]),
        ("ValueSet?url:below=http://acme.example/fh", []),
        ("ValueSet?url:above=http://acme.example/fhir/ValueSet/vs/more", ["vs"]),
        ("ValueSet?url:above=http://acme.example/fhir", []),
        # composite: both halves in one component
        (f"Observation?component-code-value-quantity={LOINC}|8480-6$gt120", ["bp"]),
        (f"Observation?component-code-value-quantity={LOINC}|8462-4$gt120", []),
        ("Observation?combo-code-value-quantity=8462-4$85||mm[Hg]", ["bp"]),
        ("Observation?combo-code-value-quantity=2339-0$6.5,8480-6$1", ["glucose"]),
        ("Observation?code-value-quantity=2339-0$gt6", ["glucose"]),
        ("Observation?code-value-quantity=85354-9$gt6", []),
        # chains and _has
        ("Observation?patient.identifier=urn:mrn|17", ["bp", "glucose"]),
        ("Observation?subject:Patient.name=quillon&status=final", ["bp"]),
        ("Observation?subject:Patient.organization.name=hopital", ["bp", "glucose"]),
        ("Observation?derived-from:Observation.patient.family=zzcanary", ["glucose"]),
        ("Observation?patient._id=p2", ["weight"]),
        ("Observation?patient.gender:missing=true", ["weight"]),
        ("Patient?_has:Observation:patient:code=2339-0", ["p1"]),
        ("Patient?_has:Observation:patient:_has:Provenance:target:agent=Practitioner/doc", ["p1"]),
        ("Organization?_has:Patient:organization:_has:Observation:patient:status=final", ["org"]),
        ("Practitioner?_has:Observation:performer:patient.family=zz", ["doc"]),
        ("Patient?_has:RiskAssessment:subject:probability=gt30", ["p1"]),
        # every type
        ("Observation?_id=bp,weight&status:not=final", ["weight"]),
        ("Observation?_id:not=bp,weight", ["glucose", "odd"]),
        ("Observation?_lastUpdated=gt2000&_id=bp", ["bp"]),
        ("Observation?_lastUpdated=ap2000", []),
        ("Observation?date=ap2024-05-16", ["bp", "glucose"]),
    ],
)  # fmt: skip
def test_a_search_finds_what_r4_says(searched, query, expected):
    assert sorted(found(searched, query)) == expected
    path, _, asked = query.partition("?")
    form = {"data": urlencode(parse_qsl(asked)), "content_type": "application/x-www-form-urlencoded"}
    by_form = searched.post(f"/fhir/{path}/_search", **form).get_json(force=True)
    assert sorted(one["id"] for one in entries(by_form)) == expected


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("value-quantity", ["bp", "odd", "glucose", "weight"]),
        ("-value-quantity", ["weight", "glucose", "odd", "bp"]),
        ("subject,-status", ["odd", "glucose", "bp", "weight"]),
        ("-date,_id", ["glucose", "bp", "odd", "weight"]),
        ("combo-code,-_id", ["weight", "odd", "glucose", "bp"]),
    ],
)
def test_any_indexed_parameter_orders(searched, sort, expected):
    assert found(searched, f"Observation?_sort={sort}") == expected
    paged, url = [], f"/fhir/Observation?_sort={sort}&_count=1"
    while url:
        bundle = searched.get(url).get_json(force=True)
        paged += [one["id"] for one in entries(bundle)]
        url = next((link["url"].split(":8080")[1] for link in bundle["link"] if link["relation"] == "next"), None)
    assert paged == expected


def test_what_is_new_comes_in_the_order_of_time(searched):
    assert found(searched, "Observation?_lastUpdated=gt2000") == ["bp", "glucose", "weight", "odd"]
    assert everywhere(searched, "Observation?_lastUpdated=gt2000&_count=3")[-1] == "Observation/odd"


@pytest.mark.parametrize(("query", "place"), [("_sort=date", ["2024", "bp"]), ("_count=1", ["bp"])])
def test_a_page_link_of_an_earlier_release_is_told_so(searched, query, place):
    token = page.sign(b"k" * 32, "Observation", parse_qsl(query), place)
    reply = searched.get(f"/fhir/Observation?{query}&{urlencode({'_page': token})}")
    assert reply.status_code == 400
    assert "search again" in reply.get_json(force=True)["issue"][0]["details"]["text"]


# ---------------------------------------------------------------- what goes with the matches


FIRST = "Observation?_id=bp&_include=Observation:subject&_include:iterate=Patient:organization"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Observation?_id=bp&_include=Observation:subject", ["p1"]),
        ("Observation?_id=bp&_include=Observation:patient&_include=Observation:performer", ["p1", "doc"]),
        ("Observation?_id=bp&_include=Observation:subject:Group", []),
        (FIRST, ["p1", "org"]),
        (f"{FIRST}&_include:iterate=Organization:partof", ["p1", "org", "parent"]),
        ("Observation?_id=glucose&_include=*", ["bp", "p1"]),
        ("Observation?_id=glucose&_include=Observation:*", ["bp", "p1"]),
        ("Observation?_include=Observation:derived-from", []),  # bp is a match itself
        ("Observation?_id=bp&_revinclude=Provenance:target", ["pr"]),
        ("Patient?_id=p1&_revinclude=Observation:patient&_revinclude:iterate=Provenance:target",
         ["bp", "glucose", "pr"]),
        ("Patient?_id=p1&_revinclude=*", ["bp", "glucose", "risk"]),
        ("Observation?_id=odd&_include=Observation:subject", []),
    ],
)  # fmt: skip
def test_includes_go_with_the_matches_once(searched, query, expected):
    bundle = bundle_of(searched, query)
    assert sorted(one["id"] for one in entries(bundle, "include")) == sorted(expected)
    urls = [one["fullUrl"] for one in bundle["entry"]]
    assert len(urls) == len(set(urls))


def test_more_includes_than_a_page_takes_are_told_of(searched, monkeypatch):
    monkeypatch.setattr("fhir_adapters.rest.searchset.MAX_INCLUDED", 1)
    bundle = bundle_of(searched, "Patient?_id=p1&_revinclude=Observation:patient")
    assert len(entries(bundle, "include")) == 1
    (said,) = entries(bundle, "outcome")
    assert "more resources would be included" in said["issue"][0]["details"]["text"]


def test_no_more_is_read_than_a_page_takes(searched, monkeypatch):
    read = []
    read_all = searchset.read_all
    monkeypatch.setattr(searchset, "MAX_INCLUDED", 1)
    monkeypatch.setattr(searchset, "_CHUNK", 1)
    monkeypatch.setattr(
        searchset, "read_all", lambda conn, keys, own: read.append(keys) or read_all(conn, keys, own)
    )
    bundle_of(searched, "Patient?_id=p1&_revinclude=*")
    assert len(read) == 2  # one more than is shown: it tells that there is more


# ---------------------------------------------------------------- parts of resources

SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}
WRITTEN = (
    b'{ "resourceType":"Observation", "text":{"status":"generated",'
    b'"div":"<div xmlns=\\"http://www.w3.org/1999/xhtml\\">x</div>"},'
    b'"meta":{"tag":[ {"code":"mine"} ]},\n "code" : {"text":"x"}, "status":"final", "note":[{"text":"n"}],'
    b'"_issued":{"extension":[{"url":"urn:e","valueCode":"y"}]},"referenceRange":[{"text":"low"}],'
    b'"valueQuantity":{ "value":1.10 },"effectiveDateTime":"2024-05-17T10:00:00.120+02:00"}'
)


@pytest.mark.parametrize(
    ("asked", "gone"),
    [
        ("_summary=true", ["text", "note", "referenceRange"]),
        ("_summary=text", ["note", "referenceRange", "valueQuantity", "effectiveDateTime", "_issued"]),
        ("_summary=data", ["text"]),
        ("_elements=value", ["text", "note", "referenceRange", "effectiveDateTime", "_issued"]),
        ("_elements=note,Observation.issued,Patient.name",
         ["text", "referenceRange", "valueQuantity", "effectiveDateTime"]),
        ("_summary=false", None),
    ],
)  # fmt: skip
def test_a_part_of_a_resource_is_cut_from_its_bytes_and_says_so(client, asked, gone):
    stored = client.post("/fhir/Observation", data=WRITTEN, content_type=FHIR_JSON).data.decode()
    served = client.get(f"/fhir/Observation?{asked}").data.decode()
    if gone is None:
        assert stored in served
        return
    (part,) = entries(json.loads(served))
    whole = json.loads(stored)
    assert set(part) == set(whole) - set(gone)
    assert part["meta"].pop("tag") == [{"code": "mine"}, SUBSETTED]
    assert all(part[name] == whole[name] for name in set(part) - {"meta"})
    assert ('{ "value":1.10 }' in served) is ("valueQuantity" not in gone)


def test_a_summary_keeps_what_a_part_needs(searched):
    (patient,) = entries(bundle_of(searched, "Patient?_id=p1&_summary=true"))
    assert "generalPractitioner" not in patient
    assert patient["meta"]["tag"] == [SUBSETTED]
    (observation,) = entries(bundle_of(searched, "Observation?_id=bp&_summary=true"))
    assert [set(one) for one in observation["component"]] == [{"code", "valueQuantity"}] * 2
    included = bundle_of(
        searched, "Observation?_id=bp&_elements=status,Patient.gender&_include=Observation:subject"
    )
    (patient,) = entries(included, "include")
    assert set(patient) == {"resourceType", "id", "meta", "gender"}


def test_a_lenient_search_names_what_it_did_not_use(searched):
    bundle = bundle_of(searched, "Observation?colour=red&subject:Patient.shoe=9&status=final&Zz canary=1",
                       Prefer="handling=lenient")  # fmt: skip
    (said,) = entries(bundle, "outcome")
    text = said["issue"][0]["details"]["text"]
    assert "3 unknown" in text
    assert "colour, subject:Patient.shoe" in text
    assert "canary" not in text
    self_link = next(link["url"] for link in bundle["link"] if link["relation"] == "self")
    assert parse_qsl(urlsplit(self_link).query) == [("status", "final")]
    strict = searched.get("/fhir/Observation?colour=red", headers={"Prefer": "handling=strict"})
    assert strict.status_code == 400


def test_a_total_counts_matches_and_never_includes(searched):
    for asked in ("_summary=count", "_count=0", "_total=accurate"):
        bundle = bundle_of(searched, f"Observation?patient=p1&_include=Observation:subject&{asked}")
        assert bundle["total"] == 2


# ---------------------------------------------------------------- compartments, several types, operations


def everywhere(client, query):
    """type/id of every entry of all pages, matches and the rest."""
    url, found = f"/fhir/{query}", []
    while url:
        bundle = client.get(url).get_json(force=True)
        assert bundle["resourceType"] == "Bundle", bundle
        found += [f"{one['resource']['resourceType']}/{one['resource']['id']}" for one in bundle.get("entry", [])]
        url = next((link["url"].split(":8080")[1] for link in bundle["link"] if link["relation"] == "next"), None)
    return found


OF_P1 = ["Observation/bp", "Observation/glucose", "Patient/p1", "RiskAssessment/risk"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Patient/p1/Observation", ["Observation/bp", "Observation/glucose"]),
        ("Patient/p1/Observation?status=final", ["Observation/bp"]),
        ("Patient/p1/Observation?_count=1&_sort=-date", ["Observation/glucose", "Observation/bp"]),
        ("Patient/p1/Patient", ["Patient/p1"]),
        ("Patient/p9/Observation", []),
        ("Patient/p1/*", OF_P1),
        ("Patient/p1/*?_count=1", OF_P1),
        ("Patient/p1/*?_type=Observation,RiskAssessment&_lastUpdated=gt2000", [*OF_P1[:2], OF_P1[3]]),
        ("?_type=Patient,Practitioner&_count=2", ["Patient/p1", "Patient/p2", "Practitioner/doc"]),
        ("?_type=Patient&_id=p2", ["Patient/p2"]),
    ],
)  # fmt: skip
def test_a_compartment_and_several_types_are_searched(searched, query, expected):
    assert everywhere(searched, query) == expected


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("Practitioner/doc/Observation", 404),
        ("Patient/p1/Nonsense", 404),
        ("Patient/p1/Organization", 404),
        ("Patient/p1/*?status=final", 400),
        ("Patient/p1/*?_sort=_id", 400),
        ("Patient/p1/*?_type=Organization", 400),
        ("?_id=p1", 400),
        ("?_type=Nonsense", 400),
        ("Patient/absent/$everything", 404),
        ("Patient/p1/$everything?start=soon", 400),
        ("Patient/p1/$everything?code=x", 400),
        ("Patient/p1/$everything?_type=Nonsense", 400),
        ("Observation/$lastn?max=1", 412),
        ("Observation/$lastn?patient=p1,p2", 412),
        ("Observation/$lastn?patient=p1&max=0", 400),
        ("Observation/$lastn?patient=p1&_sort=date", 400),
    ],
)
def test_what_has_no_compartment_or_no_patient_is_refused(searched, query, status):
    reply = searched.get(f"/fhir/{query}")
    assert reply.status_code == status, reply.data
    assert reply.get_json(force=True)["resourceType"] == "OperationOutcome"


BESIDE = ["Organization/org", "Practitioner/doc"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [*OF_P1, *BESIDE]),
        ("?_type=Observation", OF_P1[:2]),
        ("?_type=Observation,Practitioner", [*OF_P1[:2], "Practitioner/doc"]),
        ("?start=2024-06-01", [*OF_P1[1:], *BESIDE]),
        ("?end=2024-05-31", [OF_P1[0], *OF_P1[2:], *BESIDE]),
        ("?_since=2999-01-01", []),
    ],
)
def test_everything_of_a_patient_comes_with_what_it_refers_to(searched, query, expected):
    assert sorted(everywhere(searched, f"Patient/p1/$everything{query}")) == sorted(expected)
    paged = everywhere(searched, f"Patient/p1/$everything{query}{'&' if query else '?'}_count=1")
    assert [one for one in paged if one in OF_P1] == [one for one in expected if one in OF_P1]


def test_an_operation_may_be_asked_with_parameters(searched):
    asked = {"resourceType": "Parameters", "parameter": [{"name": "_type", "valueString": "RiskAssessment"}]}
    reply = searched.post("/fhir/Patient/p1/$everything", json=asked)
    assert [one["id"] for one in entries(reply.get_json(force=True))] == ["risk"]
    refused = searched.post("/fhir/Patient/p1/$everything", json=asked | {"resourceType": "Patient"})
    assert refused.status_code == 400


def observed(day, *codings, text=None, patient="p1"):
    code = {"coding": [{"system": LOINC, "code": one} for one in codings]} if codings else {}
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": code | ({"text": text} if text else {}),
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": f"2024-05-{day:02}",
    }


def test_lastn_is_the_newest_of_each_code(db, make_client):
    client = make_client(db)
    for resource in (
        *(observed(day, "a") for day in (1, 2, 3)),
        observed(9, "b", "c"),
        observed(8, "c", text="C"),
        observed(7, "b"),
        observed(6, text="At Home"),
        observed(5, text="at home"),
        observed(4, "a", text="at home"),
        observed(30, "a", patient="p2"),
    ):
        client.post("/fhir/Observation", json=resource)

    def days(query):
        return [
            int(one["effectiveDateTime"][-2:]) for one in entries(bundle_of(client, f"Observation/$lastn?{query}"))
        ]

    assert days("patient=p1") == [9, 6, 4]
    assert days("patient=Patient/p1&max=2") == [9, 8, 6, 5, 4, 3]
    assert days("subject=Patient/p1&max=3&code=a,b") == [9, 7, 4, 3, 2]
    assert days("patient=p1&date=lt2024-05-04") == [3]
    assert days("patient=p3") == []
