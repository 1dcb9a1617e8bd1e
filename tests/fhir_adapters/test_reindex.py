"""What an earlier release stored is found by the parameters of this one."""

import pytest
from sqlalchemy import text

from fhir_adapters.reindex import reindex

OBSERVATION = {
    "resourceType": "Observation",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "3141-9"}], "text": "Body weight"},
    "subject": {"reference": "http://127.0.0.1:8080/fhir/Patient/p1"},
    "valueString": "Heavy",
    "component": [
        {
            "code": {"text": "with shoes"},
            "valueQuantity": {"value": 72.5, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"},
        }
    ],
}


def index_rows(db):
    with db.read() as conn:
        tables = ("sp_token", "sp_string", "sp_date", "sp_reference", "sp_quantity", "sp_uri")
        columns = {
            "sp_token": "param, part, system, code, text",
            "sp_quantity": "param, part, lo, hi, canon_lo, canon_unit",
            "sp_reference": "param, part, target_type, target_id",
        }
        return {
            name: sorted(map(tuple, conn.execute(text(f"SELECT id, {columns.get(name, 'param')} FROM {name}"))))
            for name in tables
        } | {"hot": sorted(map(tuple, conn.execute(text("SELECT id, patient, code, indexed FROM resource"))))}


@pytest.fixture
def aged(client, fhir):
    """Two Observations and a deleted one, as an earlier release would have left them; and how they should be."""
    for _ in range(2):
        assert client.post("/fhir/Observation", json=OBSERVATION).status_code == 201
    gone = client.post("/fhir/Observation", json=OBSERVATION).get_json(force=True)["id"]
    assert client.delete(f"/fhir/Observation/{gone}").status_code in (200, 204)
    wanted = index_rows(fhir.db)
    with fhir.db.write() as conn:
        conn.execute(text("UPDATE resource SET indexed = 0, patient = NULL"))
        conn.execute(text("DELETE FROM sp_quantity"))
        conn.execute(text("UPDATE sp_token SET text = ''"))
    return wanted


def test_a_search_that_needs_new_rows_is_503_until_they_are_made(client, fhir, aged):
    asked = "/fhir/Observation?value-string=heavy"
    reply = client.get(asked)
    assert reply.status_code == 503
    assert int(reply.headers["Retry-After"]) > 0
    assert reply.get_json(force=True)["resourceType"] == "OperationOutcome"
    assert len(client.get("/fhir/Observation?code=3141-9").get_json(force=True)["entry"]) == 2
    told = []
    assert reindex(fhir.db, fhir.base_url, told=told.append) == 3
    assert told == [3]
    assert len(client.get(asked).get_json(force=True)["entry"]) == 2
    assert index_rows(fhir.db) == aged
    assert reindex(fhir.db, fhir.base_url) == 0


def test_it_can_be_stopped_and_goes_on_where_it_was(fhir, aged, monkeypatch):
    monkeypatch.setattr("fhir_adapters.reindex.BATCH", 1)
    answers = iter((False, True))
    assert reindex(fhir.db, fhir.base_url, stopping=lambda: next(answers)) == 1
    assert reindex(fhir.db, fhir.base_url) == 2
    assert index_rows(fhir.db) == aged
