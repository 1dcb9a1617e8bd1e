"""What passed between peers is read as FHIR AuditEvents with DICOM's names, under a seal."""

from datetime import UTC, datetime

import orjson
import pytest
from sqlalchemy import select, update

from clinical.identity import PatientKey
from consilium.auditing import Auditing, NotedSend, exported
from dicom_node.destinations import Destination
from dicom_node.scu import SendOutcome
from fhir_adapters.publish import find_or_add_patient
from fhir_adapters.resources.patient import Demographics
from fhir_adapters.validation import problems_of
from record_store.audit_chain import verify
from record_store.criteria import TokenIn
from record_store.exchanges import Exchange, Kind, Outcome, Party, Trail
from record_store.instances import ReceivedInstance, record_instance
from record_store.resource_search import SearchQuery, search
from record_store.tables import audit
from record_store.testing import database

NOW = datetime(2026, 11, 27, 1, 2, 3, tzinfo=UTC)
KEY, STUDY, PATIENT = b"k" * 32, "1.2.3", PatientKey("urn:hospital", "ZZCANARY-4711")
CT1, NODE = Party("CT1", "10.1.2.3", "ab" * 32), Party("CONSILIUM")
ALL = (
    Exchange(kind=Kind.ACTIVITY, source=NODE, destination=NODE),
    Exchange(kind=Kind.ASSOCIATION, source=CT1, destination=NODE, note="released"),
    Exchange(
        kind=Kind.REFUSED, source=Party("", "192.0.2.9"), destination=NODE, outcome=Outcome.SERIOUS, note="no"
    ),
    Exchange(kind=Kind.QUERY, source=CT1, destination=NODE, what="C-FIND", note="PatientID StudyDate"),
    Exchange(kind=Kind.TRANSFER_BEGUN, source=NODE, destination=CT1, what="C-MOVE", asked_by_destination=True),
    Exchange(kind=Kind.TRANSFERRED, source=CT1, destination=NODE, studies={STUDY: 200}, what="C-STORE"),
    Exchange(kind=Kind.ACCESSED, source=NODE, destination=Party("reader", application=False), studies={STUDY: 3}),
)


@pytest.fixture
def db(tmp_path):
    db = database(tmp_path)
    yield db
    db.dispose()


@pytest.fixture
def auditing(db):
    return Auditing(db, KEY, lambda: NOW, "CONSILIUM")


@pytest.fixture
def known_study(db):
    """A study whose patient is in the FHIR store; return the Patient's id."""
    received = ReceivedInstance(
        sop_instance_uid="1.2.3.4",
        sop_class_uid="1.2",
        transfer_syntax_uid="1.2",
        study_uid=STUDY,
        series_uid="1.2.3.9",
        modality="CT",
        patient=PATIENT,
        sha256="0" * 64,
        size=1,
        calling_ae="CT1",
        called_ae="CONSILIUM",
    )
    with db.write() as conn:
        record_instance(conn, received, NOW)
        return find_or_add_patient(conn, PATIENT, "patient-1", NOW, Demographics())


def events(db):
    with db.read() as conn:
        return [orjson.loads(body) for body in exported(conn, "")]


def noted(db, *exchanges):
    trail = Trail(db, lambda: NOW)
    for one in exchanges:
        trail.note(one)
    trail.close(60)


def test_every_kind_of_exchange_is_a_valid_audit_event_with_dicoms_code(db, auditing, known_study):
    noted(db, *ALL)
    assert auditing.once() >= len(ALL)
    found = events(db)
    assert [problem for one in found for problem in problems_of(one, expected="AuditEvent")] == []
    assert {one["type"]["code"] for one in found} == {
        "110100", "110108", "110113", "110112", "110102", "110104", "110103",
    }  # fmt: skip


def test_a_transfer_names_both_sides_the_study_and_the_patient_and_nothing_else_of_them(db, auditing, known_study):
    noted(db, ALL[5])
    auditing.once()
    (event,) = events(db)
    source, destination = event["agent"]
    assert (source["altId"], source["network"]["address"], source["requestor"]) == ("CT1", "10.1.2.3", True)
    assert (destination["altId"], destination["requestor"]) == ("CONSILIUM", False)
    patient, study = event["entity"]
    assert patient["what"] == {"reference": f"Patient/{known_study}"}
    assert study["what"]["identifier"]["value"] == f"urn:oid:{STUDY}"
    assert {"type": "NumberOfInstances", "valueString": "200"} in study["detail"]
    assert "anary" not in orjson.dumps(event).decode().lower()


def test_a_retrieval_was_asked_for_by_who_takes_the_objects(db, auditing):
    noted(db, ALL[4])
    auditing.once()
    (event,) = events(db)
    assert [agent["requestor"] for agent in event["agent"]] == [False, True]


def test_a_refusal_is_an_alert_with_its_reason(db, auditing):
    noted(db, ALL[2])
    auditing.once()
    (event,) = events(db)
    assert (event["outcome"], event["outcomeDesc"], event["subtype"][0]["code"]) == ("8", "no", "110126")


def test_audit_events_are_found_by_their_kind(db, auditing, known_study):
    noted(db, *ALL)
    auditing.once()
    with db.read() as conn:
        kind = TokenIn("type", (("http://dicom.nema.org/resources/ontology/DCM", "110104"),))
        found = search(conn, SearchQuery("AuditEvent", (kind,), limit=10))
    assert [orjson.loads(match.resource.body)["action"] for match in found] == ["C"]


def test_each_row_is_published_once(db, auditing):
    noted(db, ALL[2])
    assert auditing.once() == 1
    assert auditing.once() == 0
    assert len(events(db)) == 1


def test_the_audit_is_under_a_seal(db, auditing):
    noted(db, *ALL)
    auditing.once()
    assert verify(db, KEY).broken_at is None
    with db.write() as conn:
        first = conn.execute(select(audit.c.row).order_by(audit.c.row).limit(1)).scalar_one()
        conn.execute(update(audit).where(audit.c.row == first).values(outcome="serious"))
    assert verify(db, KEY).broken_at == first


def test_what_is_sent_is_noted_with_what_was_taken_of_each_study(db, known_study):
    told = []

    def send(_objects, _destination, _calling):
        yield SendOutcome("1.2.3.4", 0, None)
        yield SendOutcome("1.2.3.5", 0xA700, "full")

    pacs = Destination("pacs", "10.0.0.9", 104, "PACS")
    assert len(list(NotedSend(send, db, told.append)([], pacs, "CONSILIUM"))) == 2
    begun, done = told
    assert (begun.kind, done.kind) == (Kind.TRANSFER_BEGUN, Kind.TRANSFERRED)
    assert (done.studies, done.outcome, done.destination.name) == ({STUDY: 1}, Outcome.MINOR, "PACS")
