"""batch and transaction: all or nothing, links resolved, every entry's bytes kept. On both databases."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from fhir.resources.R4B.bundle import Bundle

from fhir_adapters.rest import transaction, versions
from record_store.database import Database

FHIR_JSON = "application/fhir+json"
UUID = "urn:uuid:53fefa32-fcbb-4ff8-8a92-55ee120877b7"
OTHER = "urn:uuid:1ebd3174-c0ff-4ad5-94e6-4ff6e8ccf4d6"
PATIENT = {"resourceType": "Patient", "identifier": [{"system": "urn:oid:1.2.3", "value": "17"}]}
MINE = "identifier=urn:oid:1.2.3|17"


def observation(subject, **more):
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "subject": {"reference": subject},
    } | more


def entry(method, url, resource=None, full_url=None, **request):
    made = {"request": {"method": method, "url": url, **request}}
    if resource is not None:
        made["resource"] = resource
    if full_url:
        made["fullUrl"] = full_url
    return made


def post(client, kind, *entries, raw=None, **headers):
    data = raw or json.dumps({"resourceType": "Bundle", "type": kind, "entry": list(entries)}).encode()
    return client.post("/fhir", data=data, content_type=FHIR_JSON, headers=headers)


def total(client, kind):
    return client.get(f"/fhir/{kind}?_summary=count").get_json(force=True)["total"]


def issue_of(reply):
    return reply.get_json(force=True)["issue"][0]


@pytest.fixture
def door(db, make_client):
    return make_client(db)


def test_entries_of_a_batch_that_takes_too_long_are_refused_each_by_itself(client, monkeypatch):
    ticks = iter((0.0, 1.0, 59.0, 60.0, 61.0))
    monkeypatch.setattr("fhir_adapters.rest.batch.monotonic", lambda: next(ticks))
    reply = post(client, "batch", *[entry("POST", "Patient", PATIENT)] * 4)
    answers = [one["response"] for one in reply.get_json(force=True)["entry"]]
    assert [one["status"] for one in answers] == ["201", "201", "503", "503"]
    assert answers[3]["outcome"]["issue"][0]["code"] == "throttled"
    assert total(client, "Patient") == 2


def test_a_transaction_resolves_links_whatever_the_order(door):
    reply = post(
        door,
        "transaction",
        entry("POST", "Observation", observation(UUID, note=[{"text": UUID}], hasMember=[{"reference": OTHER}])),
        entry("POST", "Observation", observation(UUID), OTHER),
        entry("POST", "Patient", PATIENT, UUID),
    )
    assert reply.status_code == 200
    bundle = Bundle.model_validate(reply.get_json(force=True))
    assert [one.response.status for one in bundle.entry] == ["201"] * 3
    at = [one.response.location.split("/fhir/")[1].split("/_history")[0] for one in bundle.entry]
    read = door.get(f"/fhir/{at[0]}").get_json(force=True)
    assert read["subject"]["reference"] == at[2]
    assert read["hasMember"][0]["reference"] == at[1]
    assert read["note"][0]["text"] == UUID  # words are not links
    assert len(door.get(f"/fhir/Observation?patient={at[2]}").get_json(force=True)["entry"]) == 2


def test_every_byte_of_an_entry_but_its_links_is_kept(client):
    value = b'"code":{"text":"a\\u00e9"},\n "valueQuantity":{"value":1.10}}'
    resource = b'{ "resourceType":"Observation", "status":"final",' + value
    asked = b'"request":{"method":"POST","url":"Observation"}'
    raw = b'{"resourceType":"Bundle","type":"transaction","entry":[{%s,"resource":%s}]}' % (asked, resource)
    reply = post(client, "transaction", raw=raw, Prefer="return=representation")
    at = reply.get_json(force=True)["entry"][0]["response"]["location"].split("/fhir/")[1]
    stored = client.get(f"/fhir/{at}").data
    assert value in stored
    assert stored in reply.data


@pytest.mark.parametrize(
    ("wrong", "status", "place"),
    [
        (entry("POST", "Observation", observation("Group/1", status="x")), 400, "Bundle.entry[1].resource.status"),
        (entry("PUT", "Patient/p2", PATIENT | {"id": "p3"}), 400, "Bundle.entry[1].resource.id"),
        (entry("POST", "Patient", observation("Patient/1")), 400, "Bundle.entry[1].resource.resourceType"),
        (entry("POST", "Nonsense", PATIENT), 400, "Bundle.entry[1].request.url"),
        (entry("PUT", "Patient/p1", PATIENT | {"id": "p1"}), 400, "Bundle.entry[1].resource"),  # it stands twice
        (entry("PUT", "Patient/p9", PATIENT | {"id": "p9"}, ifMatch='W/"4"'), 412, "Bundle.entry[1]"),
        (entry("POST", "Observation", observation("Patient?identifier=nobody")), 412, "Bundle.entry[1].resource"),
        (entry("DELETE", "Patient?_count=1"), 400, "Bundle.entry[1]"),
        (entry("PATCH", "Patient/p1", PATIENT), 400, "Bundle.entry[1].resource"),
    ],
)  # fmt: skip
def test_one_wrong_entry_undoes_all_and_is_named(door, wrong, status, place):
    reply = post(door, "transaction", entry("PUT", "Patient/p1", PATIENT | {"id": "p1"}), wrong)
    assert reply.status_code == status, reply.data
    assert issue_of(reply)["expression"] == [place]
    assert (total(door, "Patient"), total(door, "Observation")) == (0, 0)


def test_conditions_are_settled_before_anything_is_written(door):
    door.put("/fhir/Patient/p1", data=json.dumps(PATIENT | {"id": "p1"}), content_type=FHIR_JSON)
    reply = post(
        door,
        "transaction",
        entry("POST", "Patient", PATIENT, UUID, ifNoneExist=MINE),
        entry("POST", "Observation", observation(UUID)),
        entry("POST", "Observation", observation(f"Patient?{MINE}")),
    ).get_json(force=True)
    assert [one["response"]["status"] for one in reply["entry"]] == ["200", "201", "201"]
    assert total(door, "Patient") == 1
    assert len(door.get("/fhir/Observation?patient=p1").get_json(force=True)["entry"]) == 2


def test_updates_deletes_and_reads_in_one_transaction(door):
    door.put("/fhir/Patient/p1", data=json.dumps(PATIENT | {"id": "p1"}), content_type=FHIR_JSON)
    reply = post(
        door,
        "transaction",
        entry("GET", "Patient/p2"),
        entry("GET", f"Patient?{MINE}"),
        entry("PUT", f"Patient?{MINE}", PATIENT | {"gender": "male"}),
        entry("PUT", "Patient/p2", {"resourceType": "Patient", "id": "p2"}),
        entry("DELETE", "Patient/p3"),
    ).get_json(force=True)
    assert [one["response"]["status"] for one in reply["entry"]] == ["200", "200", "200", "201", "204"]
    assert reply["entry"][0]["resource"]["id"] == "p2"  # reads see what was written
    assert reply["entry"][1]["resource"]["entry"][0]["resource"]["gender"] == "male"


def test_transactions_that_meet_make_no_duplicate_and_never_wait_for_each_other(door):
    barrier = threading.Barrier(8, timeout=30)

    def send(number):
        barrier.wait()
        entries = [
            entry("POST", "Patient", PATIENT, UUID, ifNoneExist=MINE),
            entry("PUT", "Patient/a", {"resourceType": "Patient", "id": "a"}),
            entry("PUT", "Patient/b", {"resourceType": "Patient", "id": "b"}),
            entry("POST", "Observation", observation(UUID)),
        ]
        return post(door, "transaction", *(entries if number % 2 else reversed(entries))).status_code

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(send, range(8))) == [200] * 8
    assert total(door, "Patient") == 3
    assert total(door, "Observation") == 8


def test_a_batch_does_each_entry_by_itself(door):
    reply = post(
        door,
        "batch",
        entry("POST", "Patient", PATIENT),
        entry("POST", "Patient", PATIENT, ifNoneExist=MINE),
        entry("GET", f"Patient?{MINE}"),
        entry("GET", "Patient/nobody"),
        entry("DELETE", "Patient/nobody"),
        entry("GET", "metadata"),
        entry("POST", "Patient", PATIENT | {"gender": "f"}),
        entry("POST", "Patient", "no resource"),
    )
    assert reply.status_code == 200
    entries = reply.get_json(force=True)["entry"]
    assert [one["response"]["status"] for one in entries] == [
        *("201", "200", "200", "404", "204", "200"),
        *("400", "400"),  # an entry that is not valid fails alone
    ]
    assert entries[3]["response"]["outcome"]["issue"][0]["code"] == "not-found"
    assert len(entries[2]["resource"]["entry"]) == 1
    Bundle.model_validate(reply.get_json(force=True))


@pytest.mark.parametrize("kind", ["searchset", "collection", "document"])
def test_other_bundles_are_not_posted_here(client, kind):
    assert post(client, kind, raw=json.dumps({"resourceType": "Bundle", "type": kind}).encode()).status_code == 400


def test_an_empty_transaction_has_an_empty_answer(client):
    reply = post(client, "transaction", raw=b'{"resourceType":"Bundle","type":"transaction"}')
    assert reply.get_json(force=True) == {"resourceType": "Bundle", "type": "transaction-response"}


def test_a_bundle_of_too_many_entries_is_refused(client):
    reply = post(client, "transaction", *[entry("DELETE", "Patient/x")] * 5001)
    assert reply.status_code == 400
    assert issue_of(reply)["expression"] == ["Bundle.entry"]


def test_what_a_transaction_makes_costs_no_lock_and_is_indexed_before_others_have_to_wait(door, db, monkeypatch):
    """PostgreSQL has room for some thousand locks in all; SQLite lets nobody else write meanwhile."""
    happened = []
    write, index_of, lock_key = Database.write, versions.index_of, transaction.lock_key
    monkeypatch.setattr(
        Database, "write", lambda *known, **more: happened.append("begun") or write(*known, **more)
    )
    monkeypatch.setattr(versions, "index_of", lambda *known: happened.append("indexed") or index_of(*known))
    monkeypatch.setattr(transaction, "lock_key", lambda *known: happened.append("locked") or lock_key(*known))
    entries = [entry("POST", "Observation", observation(UUID)) for _ in range(20)]
    reply = post(door, "transaction", entry("POST", "Patient", PATIENT, UUID), *entries)
    assert reply.status_code == 200
    assert happened == ["indexed"] * 21 + ["begun"]
