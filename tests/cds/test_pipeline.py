"""The stages of a call stand in one order, and none of them can turn a failure into an empty answer."""

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from flask import Flask
from sqlalchemy import select

from cds.actions import Action
from cds.call_audit import AuditOfCalls
from cds.guidance import Guidance
from cds.hooks import PATIENT_VIEW
from cds.http import blueprint
from cds.prefetch import PrefetchTemplate
from cds.stages import EverythingSaid
from cds.testing import FHIR_SERVER, HOOK_INSTANCE, CannedReader, hook_body, one_card_service
from clinical.errors import Busy, Fault, PreconditionMissing
from record_store.tables import audit

NOW = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)


def standing():
    return NOW


def audited(db):
    with db.read() as conn:
        rows = conn.execute(select(audit).where(audit.c.action == "hook-called").order_by(audit.c.row))
        return [row._mapping for row in rows]


@pytest.fixture
def rows(shared_db):
    before = len(audited(shared_db))
    return lambda: audited(shared_db)[before:]


def failing(error, service=None):
    def answer(call, context):
        raise error

    return replace(service or one_card_service(), answer=answer)


def test_a_call_goes_through_every_stage_in_order(make_client, post, recorder):
    client = make_client((one_card_service(),), **recorder.stages())
    assert post(client, "one-card", hook_body()).status_code == 200
    assert recorder.seen == [
        ("door", "https://cds.example/cds-services/one-card", "127.0.0.1"),
        ("bulkhead", "https://ehr.example/fhir"),
        ("budget", "patient-view", "one-card"),
        ("shadow?", "one-card"),
        ("circuit", "one-card"),
        ("reader", "epic"),
        ("results", None),
        ("guard", "one-card"),
        ("hygiene", 1),
        ("adapt", True),
        ("audit", "cards", 1, "epic"),
        ("sent", "one-card", 1),
        ("bulkhead left",),
    ]


def test_a_card_that_cannot_be_recorded_is_not_sent(make_client, post, shared_db, rows):
    class Full:
        def rows(self, db, call, guidance):
            return [(audit, {"no": "such column"})]

    client = make_client((one_card_service(),), sent=Full(), audit=AuditOfCalls(standing), db=shared_db)
    response = post(client, "one-card", hook_body())
    assert response.status_code == 503
    assert response.json["resourceType"] == "OperationOutcome"
    # One transaction: no row says that cards were sent; the row of the failure is a second one.
    assert [row["outcome"] for row in rows()] == ["busy"]


def test_a_card_that_is_recorded_too_late_is_neither_sent_nor_recorded(make_client, post, shared_db, rows):
    class Slow:
        def rows(self, db, call, guidance):
            time.sleep(0.06)
            return ()

    client = make_client(
        (one_card_service(),), sent=Slow(), audit=AuditOfCalls(standing), db=shared_db, budget_s=0.05
    )
    assert post(client, "one-card", hook_body()).status_code == 503
    assert [row["outcome"] for row in rows()] == ["busy"]
    assert '"cards":0' in rows()[0]["detail"]


def test_a_card_that_waited_too_long_for_the_database_is_not_written(make_context, post):
    class Waits:
        def write(self, rows, check=lambda: None, *, within_s):
            time.sleep(0.06)
            check()

    context = make_context(audit=AuditOfCalls(standing), budget_s=0.05)
    object.__setattr__(context, "ledger", Waits())
    app = Flask("late")
    app.register_blueprint(blueprint((one_card_service(),), context))
    assert post(app.test_client(), "one-card", hook_body()).status_code == 503


def test_nothing_is_recorded_as_sent_when_hygiene_holds_everything_back(make_client, post, recorder):
    class Quiet(EverythingSaid):
        def sift(self, call, guidance):
            return guidance.keep(())

    client = make_client((one_card_service(),), **recorder.stages() | {"hygiene": Quiet()})
    assert post(client, "one-card", hook_body()).json == {"cards": []}
    assert ("audit", "no-cards", 0, "epic") in recorder.seen
    assert not [seen for seen in recorder.seen if seen[0] == "sent"]


class InShadow:
    def __init__(self, problem=None):
        self.results = []
        self.problem = problem

    def covers(self, service_id):
        return True

    def record(self, call, result):
        self.results.append(result)
        if self.problem is not None:
            raise self.problem


ERRORS = [Busy("x"), Fault("x"), PreconditionMissing("x"), RuntimeError("Zzcanary"), None]


@pytest.mark.parametrize("error", ERRORS, ids=[type(error).__name__ for error in ERRORS])
@pytest.mark.parametrize(
    "recording", [None, Busy("the database is away"), TypeError("x")], ids=["recorded", "not recorded", "broken"]
)
def test_a_service_in_shadow_disturbs_nobody(make_client, post, recorder, error, recording):
    shadow = InShadow(recording)
    service = one_card_service() if error is None else failing(error)
    client = make_client((service,), **recorder.stages() | {"shadow": shadow})
    response = post(client, "one-card", hook_body())
    assert (response.status_code, response.json) == (200, {"cards": []})
    (result,) = shadow.results
    assert (len(result.cards) == 1) if error is None else (result is error)
    names = [seen[0] for seen in recorder.seen]
    assert not {"hygiene", "adapt", "sent"} & set(names)
    assert ("audit", "shadow", 0, "epic") in recorder.seen


def test_a_request_that_is_wrong_is_told_so_in_shadow_too(make_client, post):
    client = make_client((one_card_service(),), shadow=InShadow())
    assert post(client, "one-card", hook_body(hook="order-sign")).status_code == 400


def test_an_action_about_another_patient_is_our_failure(make_client, post):
    stray = {
        "resourceType": "Observation",
        "status": "preliminary",
        "code": {"text": "x"},
        "subject": {"reference": "Patient/p2"},
    }

    def answer(call, context):
        (card,) = one_card_service().answer(call, context)
        return Guidance((card,), (Action("create", "Note it", stray),))

    client = make_client((replace(one_card_service(), answer=answer),))
    response = post(client, "one-card", hook_body())
    assert response.status_code == 500
    assert "cards" not in response.json


def test_every_call_leaves_one_audit_row_without_a_patient(make_client, post, shared_db, rows):
    client = make_client((one_card_service(),), audit=AuditOfCalls(standing), db=shared_db)
    post(client, "one-card", hook_body("ZZCANARY-4711"))
    post(client, "one-card", b"{")
    post(client, "one-card", hook_body("ZZCANARY-4711"), content_type="text/plain")
    broken = make_client((failing(RuntimeError("Zzcanary")),), audit=AuditOfCalls(standing), db=shared_db)
    post(broken, "one-card", hook_body("ZZCANARY-4711"))
    assert [row["outcome"] for row in rows()] == ["cards", "incorrect", "incorrect", "fault"]
    first = rows()[0]
    assert (first["actor"], first["subject"]) == ("client:anonymous", "service:one-card")
    assert HOOK_INSTANCE in first["detail"]
    assert '"hook":"patient-view"' in first["detail"]
    assert "zzcanary" not in repr(rows()).lower()


def test_today_is_the_day_of_our_clock(make_client, post):
    reader = CannedReader({"Observation": {"resourceType": "Bundle", "entry": []}})
    recent = PrefetchTemplate("recent", "Observation?patient={{context.patientId}}&date=ge{{today() - 1 days}}")
    service = replace(one_card_service(), prefetch=(recent,))
    now = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
    client = make_client((service,), fhir=reader, now=lambda: now)
    assert post(client, "one-card", hook_body(fhirServer=FHIR_SERVER)).status_code == 200
    assert reader.asked == ["Observation?patient=p1&date=ge2024-02-29"]


def test_prefetch_is_counted_by_issuer_service_and_key(make_client, post, adult):
    seen = []
    client = make_client(observe_prefetch=lambda *labels: seen.append(labels))
    del adult["glucose"]
    assert post(client, "diabetes-risk", hook_body(prefetch=adult)).status_code == 200
    assert ("anonymous", "diabetes-risk", "patient", "complete", "sent") in seen
    assert [labels[3] for labels in seen if labels[2] == "glucose"] == ["absent"]
    assert PATIENT_VIEW.name not in repr(seen)
