"""Every access to the FHIR API is in the audit, a write in its transaction, and becomes an AuditEvent of BALP."""

import base64
import json
from collections import Counter

import pytest
from sqlalchemy import delete, insert, select, update

from consilium.auditing import Auditing
from fhir_adapters.validation import problems_of
from record_store.audit_chain import verify
from record_store.tables import audit, resource

BALP = "https://profiles.ihe.net/ITI/BALP"
KEY = b"k" * 32
OBSERVATION = {
    "resourceType": "Observation",
    "id": "o1",
    "status": "final",
    "code": {"text": "x"},
    "subject": {"reference": "Patient/p1"},
}


class Reader:
    """A client that may do everything, and what is found of it."""

    def __init__(self, house, client):
        self.house = house
        self.token = house.token(client, "system/*.cruds")
        self.headers = {"Authorization": f"Bearer {self.token}", "X-Request-Id": "req-1"}

    def open(self, method, path, body=None, **headers):
        return self.house.client.open(f"/fhir/{path}", method=method, json=body, headers=self.headers | headers)

    def rows(self):
        with self.house.db.read() as conn:
            found = conn.execute(select(audit).where(audit.c.action.startswith("access:")).order_by(audit.c.row))
            return [dict(row) for row in found.mappings()]

    def events(self):
        """The AuditEvents of everything so far."""
        Auditing(self.house.db, KEY, self.house.now, "CONSILIUM", "https://cds.example/fhir").once()
        with self.house.db.read() as conn:
            found = conn.execute(select(resource.c.body).where(resource.c.type == "AuditEvent")).scalars()
            return [json.loads(body) for body in found]


@pytest.fixture
def reader(make_house, warehouse, with_scopes):
    client = with_scopes(warehouse, "system/*.cruds")
    reader = Reader(make_house(client), client)
    assert reader.open("PUT", "Patient/p1", {"resourceType": "Patient", "id": "p1"}).status_code == 201
    assert reader.open("PUT", "Observation/o1", OBSERVATION).status_code == 201
    return reader


PATCH = [{"op": "replace", "path": "/status", "value": "amended"}]
BUNDLE = {
    "resourceType": "Bundle",
    "type": "batch",
    "entry": [{"request": {"method": "GET", "url": "Patient/p1"}}],
}
# (method, address, body, headers) -> (interaction, outcome) of each row that it leaves
ACCESSES = [
    ("GET", "Observation/o1", None, {}, [("read", "success")]),
    ("HEAD", "Observation/o1", None, {}, [("read", "success")]),
    ("GET", "Observation/o1", None, {"If-None-Match": 'W/"1"'}, [("read", "success")]),
    ("GET", "Observation/o1/_history/1", None, {}, [("vread", "success")]),
    ("GET", "Observation/o1/_history", None, {}, [("history-instance", "success")]),
    ("GET", "Observation/_history", None, {}, [("history-type", "success")]),
    ("GET", "Observation?patient=p1", None, {}, [("search-type", "success")]),
    ("POST", "Observation/_search?patient=p1", None, {}, [("search-type", "success")]),
    ("GET", "Patient/p1/Observation", None, {}, [("search-compartment", "success")]),
    ("GET", "Patient/p1/$everything", None, {}, [("$everything", "success")]),
    ("GET", "Observation/$lastn?patient=p1", None, {}, [("$lastn", "success")]),
    ("POST", "Observation", OBSERVATION, {}, [("create", "success")]),
    ("POST", "Observation", OBSERVATION, {"If-None-Exist": "_id=o1"}, [("search-type", "success")]),
    ("PUT", "Observation/o1", OBSERVATION, {}, [("update", "success")]),
    ("PUT", "Observation/o9", OBSERVATION | {"id": "o9"}, {}, [("create", "success")]),
    ("PUT", "Observation?_id=o1", OBSERVATION, {}, [("update", "success")]),
    ("PATCH", "Observation/o1", PATCH, {"Content-Type": "application/json-patch+json"}, [("patch", "success")]),
    ("DELETE", "Observation/o1", None, {}, [("delete", "success")]),
    ("DELETE", "Observation/none", None, {}, [("search-type", "success")]),
    ("DELETE", "Observation?_id=o1", None, {}, [("delete", "success")]),
    ("POST", "", BUNDLE, {}, [("read", "success")]),
    ("GET", "Observation/none", None, {}, [("read", "minor")]),
    ("GET", "Observation?colour=red", None, {}, [("search-type", "minor")]),
    ("PUT", "Observation/o1", OBSERVATION, {"If-Match": 'W/"7"'}, [("update", "minor")]),
    ("POST", "Observation", {"resourceType": "Observation"}, {}, [("create", "minor")]),
    ("POST", "AuditEvent", {"resourceType": "AuditEvent"}, {}, [("create", "serious")]),
    ("GET", "metadata", None, {}, []),
]


def test_each_access_leaves_its_row(reader):
    for method, path, body, headers, left in ACCESSES:
        reader.open("PUT", "Observation/o1", OBSERVATION)
        before = len(reader.rows())
        answer = reader.open(method, path, body, **headers)
        assert answer.status_code < 500
        rows = reader.rows()[before:]
        found = [(row["action"].removeprefix("access:"), row["outcome"]) for row in rows]
        assert found == left, (method, path)
        for row in rows:
            detail = json.loads(row["detail"])
            assert row["actor"] == "client:warehouse"
            assert (detail["client_id"], detail["request_id"]) == ("https://warehouse.example/id", "req-1")
            assert (detail["address"], detail["purpose"]) == ("127.0.0.1", "TREAT")
            assert detail["token_id"] == reader.house.issued[-1].token_id
            assert reader.token not in str(row)


def test_a_transaction_leaves_a_row_for_each_resource_or_none_with_a_refusal(reader):
    def entry(resource, url):
        return {"resource": resource, "request": {"method": "PUT", "url": url}}

    good = [entry(OBSERVATION | {"id": f"t{n}"}, f"Observation/t{n}") for n in range(3)]
    read = {"request": {"method": "GET", "url": "Observation/t0"}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [*good, read]}
    before = len(reader.rows())
    assert reader.open("POST", "", bundle).status_code == 200
    rows = reader.rows()[before:]
    assert [(row["action"], row["subject"]) for row in rows] == [
        *(("access:create", f"Observation/t{n}") for n in range(3)),
        ("access:read", "Observation/t0"),
    ]
    assert json.loads(rows[0]["detail"])["patient"] == "p1"
    # What is rolled back is not noted as done.
    bad = bundle | {"entry": [*good, entry({"resourceType": "Observation", "id": "x"}, "Observation/x")]}
    assert reader.open("POST", "", bad).status_code == 400
    (row,) = reader.rows()[before + 4 :]
    assert (row["action"], row["outcome"]) == ("access:transaction", "minor")


def test_a_write_and_its_row_are_there_both_or_neither(reader, monkeypatch):
    before = len(reader.rows())

    def fails(*_):
        raise OSError("between the write and its row")

    monkeypatch.setattr("fhir_adapters.rest.accessed.add_all", fails)
    assert reader.open("PUT", "Observation/o1", OBSERVATION | {"status": "amended"}).status_code == 500
    monkeypatch.undo()
    assert reader.open("GET", "Observation/o1").json["status"] == "final"
    assert [row["action"] for row in reader.rows()[before:]] == ["access:read"]


def test_a_read_is_answered_while_another_writer_holds_the_database_and_noted_behind(reader):
    before = len(reader.rows())
    with reader.house.db.write() as conn:
        conn.execute(update(audit).where(audit.c.row == 0).values(outcome="x"))
        assert reader.open("GET", "Observation/o1").status_code == 200
    (row,) = reader.house.later
    assert row["action"] == "access:read"
    assert len(reader.rows()) == before


def test_who_shows_no_token_is_in_the_audit_as_refused(reader):
    assert reader.house.client.get("/fhir/Patient/p1").status_code == 401
    event = next(one for one in reader.events() if one["outcome"] == "8")
    assert (event["outcomeDesc"], event["type"]["code"]) == ("no-token", "rest")
    assert "meta" not in event or "profile" not in event["meta"]


def test_every_access_becomes_one_valid_audit_event_of_its_pattern(reader):
    for method, path, body, headers, _ in ACCESSES:
        reader.open(method, path, body, **headers)
    rows, events = reader.rows(), reader.events()
    assert len(events) == len(rows)
    assert [problem for one in events for problem in problems_of(one, expected="AuditEvent")] == []
    profiles = Counter(
        one["meta"]["profile"][0].rpartition(".")[2] if one["outcome"] == "0" else "refused" for one in events
    )
    assert {"PatientRead", "PatientQuery", "Query", "PatientCreate", "PatientUpdate", "PatientDelete"} <= set(
        profiles
    )
    assert profiles["refused"] == sum(row["outcome"] != "success" for row in rows)
    # Once: nothing new makes nothing new.
    assert len(reader.events()) == len(events)


def event_of(reader, method, path, body=None, **headers):
    """The AuditEvent of one access."""
    known = {one["id"] for one in reader.events()}
    reader.open(method, path, body, **headers)
    (event,) = [one for one in reader.events() if one["id"] not in known]
    return event


def agents(event):
    return {one["type"]["coding"][0]["code"]: one for one in event["agent"]}


def entities(event):
    return {one["type"]["code"]: one for one in event["entity"]}


def test_a_read_has_the_shape_of_the_pattern_read_with_a_patient(reader):
    event = event_of(reader, "GET", "Observation/o1")
    assert event["meta"]["profile"] == [f"{BALP}/StructureDefinition/IHE.BasicAudit.PatientRead"]
    assert (event["type"]["code"], event["subtype"][0]["code"], event["action"]) == ("rest", "read", "R")
    found = agents(event)
    # The data goes from the server to the client (BALP Read).
    assert found["110152"]["network"] == {"address": "127.0.0.1", "type": "2"}
    assert found["110153"]["who"]["identifier"]["value"] == "https://cds.example/fhir"
    holder = found["UserOauthAgent"]
    assert holder["who"]["identifier"]["value"] == "https://warehouse.example/id"
    assert (holder["requestor"], holder["policy"]) == (True, [reader.house.issued[-1].token_id])
    assert holder["purposeOfUse"][0]["coding"][0]["code"] == "TREAT"
    what = entities(event)
    assert what["1"]["what"] == {"reference": "Patient/p1"}
    assert (what["2"]["what"], what["2"]["role"]["code"]) == ({"reference": "Observation/o1"}, "4")
    assert what["XrequestId"]["what"]["identifier"]["value"] == "req-1"


def test_a_query_is_kept_as_it_was_asked_in_base64(reader):
    event = event_of(reader, "GET", "Observation?patient=Patient/p1&code=a%7Cb")
    assert event["meta"]["profile"] == [f"{BALP}/StructureDefinition/IHE.BasicAudit.PatientQuery"]
    query = entities(event)["2"]
    assert base64.b64decode(query["query"]).decode() == "GET Observation?patient=Patient/p1&code=a%7Cb"
    assert query["role"]["code"] == "24"
    assert entities(event)["1"]["what"] == {"reference": "Patient/p1"}
    of_none = event_of(reader, "GET", "Observation?code=a")
    assert of_none["meta"]["profile"] == [f"{BALP}/StructureDefinition/IHE.BasicAudit.Query"]


def test_a_write_names_the_version_and_a_delete_whom_it_was_about(reader):
    updated = event_of(reader, "PUT", "Observation/o1", OBSERVATION | {"status": "amended"})
    assert entities(updated)["2"]["what"] == {"reference": "Observation/o1/_history/2"}
    deleted = event_of(reader, "DELETE", "Observation/o1")
    assert deleted["meta"]["profile"] == [f"{BALP}/StructureDefinition/IHE.BasicAudit.PatientDelete"]
    assert set(agents(deleted)) == {"110150", "custodian", "UserOauthAgent"}
    assert entities(deleted)["1"]["what"] == {"reference": "Patient/p1"}


def test_a_refusal_has_its_reason_and_claims_no_pattern(reader, with_scopes, warehouse):
    narrow = reader.house.token(with_scopes(warehouse, "system/*.cruds"), "system/Patient.r")
    event = event_of(reader, "GET", "Observation/o1", Authorization=f"Bearer {narrow}")
    assert (event["outcome"], event["outcomeDesc"]) == ("8", "forbidden")
    assert "profile" not in event.get("meta", {})


@pytest.mark.parametrize("what", ["changed", "removed", "slipped in"])
def test_whoever_changes_rows_of_accesses_is_found_out(what, reader):
    for _ in range(5):
        reader.open("GET", "Observation/o1")
    reader.events()
    assert verify(reader.house.db, KEY).broken_at is None
    rows = reader.rows()
    with reader.house.db.write() as conn:
        if what == "changed":
            detail = json.loads(rows[3]["detail"]) | {"client_id": "somebody"}
            conn.execute(update(audit).where(audit.c.row == rows[3]["row"]).values(detail=json.dumps(detail)))
        elif what == "removed":
            conn.execute(delete(audit).where(audit.c.row == rows[3]["row"]))
        else:
            conn.execute(delete(audit).where(audit.c.row == rows[3]["row"]))
            conn.execute(insert(audit).values(**rows[4] | {"row": rows[3]["row"]}))
    assert verify(reader.house.db, KEY).broken_at is not None
