"""What is kept, counted and logged of calls, good and bad: no word of the patient, and no token.

The log is watched by the whole suite (tests/conftest.py): the patient and the token here are its canaries.
"""

from pathlib import Path

import pytest
from sqlalchemy import select

from clinical.errors import Fault
from fhir_adapters.allow_list import AllowedServer, Network
from fhir_adapters.client import FhirClient
from record_store.database import open_database
from record_store.tables import audit, sent_card

SERVICES = ("breast-lesion", "diabetes-risk", "heart-rate", "imaging-findings", "order-imaging")
BAD = (
    {"hook": "Zzcanary"},
    {"hookInstance": "Zzcanary"},
    {"context": {"patientId": "zz canary"}},
    {"fhirServer": "zzcanary"},
    {"prefetch": {"patient": {"resourceType": "Patient", "id": "zzcanary-2"}}},
    {"prefetch": {"zzcanary": 1}},
    {"prefetch": {}},
)


@pytest.fixture
def db(ward, tmp_path):
    copy = open_database(f"sqlite:///{ward.copy_of_db(tmp_path)}")
    yield copy
    copy.dispose()


def test_no_patient_and_no_token_is_in_the_audit_the_counts_or_the_sent_cards(ward, db, ehr_of, tmp_path, caplog):
    counted: list[object] = []
    ehr = ehr_of(lambda path, send: send(ward.http(ward.record(path)) if "Patient" in path else b"Zzcanary"))
    reader = FhirClient([AllowedServer(ehr.base, Network.LOOPBACK)])
    with_all = {"db": db, "records": True, "fhir": reader, "budget_s": 20.0}
    with_all |= {
        "observe": lambda *said: counted.append(said),
        "observe_prefetch": lambda *said: counted.append(said),
    }
    granted = {"access_token": ward.token, "token_type": "Bearer", "expires_in": 1, "scope": "x", "subject": "c"}
    fhir = {"fhirServer": ehr.base, "fhirAuthorization": granted}
    headers = {"Authorization": f"Bearer {ward.token}"}
    broken = ward.engine(dict.fromkeys(ward.good_answers(), Fault("broken")))
    statuses = set()
    with caplog.at_level("DEBUG"):
        for client in (ward.client(**with_all), ward.client(**with_all, engine=broken)):
            for service in SERVICES:
                for change in ({}, fhir, *BAD, {"prefetch": {}, **fhir}):
                    body = ward.call(service) | change
                    statuses.add(client.post(f"/cds-services/{service}", json=body, headers=headers).status_code)
    reader.close()
    assert statuses == {200, 400, 412, 500}
    assert ehr.tokens == {ward.token}
    with db.read() as conn:
        kept = [str(dict(row._mapping)) for table in (audit, sent_card) for row in conn.execute(select(table))]
    assert len(kept) > 100
    logged = [f"{record.getMessage()} {record.__dict__}" for record in caplog.records]
    for text in (*kept, *map(str, counted), *logged):
        assert "zzcanary" not in text.lower()
        assert "quillon" not in text.lower()
    db.dispose()
    for file in Path(tmp_path).iterdir():
        assert ward.token.encode() not in file.read_bytes()
