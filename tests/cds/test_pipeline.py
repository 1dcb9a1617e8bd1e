"""The stages of a call stand in one order, and none of them can turn a failure into an empty answer."""

import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from flask import Flask
from sqlalchemy import select

from cds.actions import Action
from cds.call_audit import AuditOfCalls
from cds.caller import Caller, Capabilities
from cds.guidance import Guidance
from cds.hooks import ORDER_SIGN, PATIENT_VIEW, fields, own_hook
from cds.http import blueprint
from cds.prefetch import PrefetchTemplate
from cds.stages import EverythingSaid
from cds.testing import FHIR_SERVER, HOOK_INSTANCE, CannedReader, hook_body, one_card_service
from cds.trust.cors import Cors
from clinical.errors import Busy, Fault, IncorrectInput, PreconditionMissing
from record_store.tables import audit

NOW = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
EPIC = Caller("https://ehr.example/fhir", "epic", capabilities=Capabilities(system_actions=True))


def standing():
    return NOW


class Recorder:
    """Every stage at once; says what was called, and lets everything through."""

    def __init__(self):
        self.seen = []

    def admit(self, headers, url, peer):
        self.seen.append(("door", url, peer))
        return EPIC

    @contextmanager
    def enter(self, caller):
        self.seen.append(("bulkhead", caller))
        yield
        self.seen.append(("bulkhead left",))

    def budget(self, hook, service):
        self.seen.append(("budget", hook, service))
        return 5.0

    def covers(self, service):
        self.seen.append(("shadow?", service))
        return False

    def check(self, name):
        self.seen.append(("circuit", name))

    def reader_for(self, caller):
        self.seen.append(("reader", caller.name))

    def recall(self, call, model, make):
        self.seen.append(("results", model))
        return make()

    @contextmanager
    def guard(self, name, deadline):
        self.seen.append(("guard", name))
        yield

    def sift(self, call, guidance):
        self.seen.append(("hygiene", len(guidance.cards)))
        return guidance

    def adapt(self, guidance, capabilities):
        self.seen.append(("adapt", capabilities.system_actions))
        return guidance

    def row(self, call):
        self.seen.append(("audit", call.outcome, call.cards, call.caller))
        return AuditOfCalls(standing).row(call)

    def rows(self, db, call, guidance):
        self.seen.append(("sent", call.service_id, len(guidance.cards)))
        return ()

    def take(self, service_id, caller, body):
        self.seen.append(("feedback", service_id, caller.name, body))

    def stages(self):
        return {
            "door": self,
            "bulkhead": self,
            "budget": self.budget,
            "shadow": self,
            "circuits": self,
            "reader_for": self.reader_for,
            "results": self,
            "hygiene": self,
            "adapt": self.adapt,
            "audit": self,
            "sent": self,
            "feedback": self,
            "base_url": "https://cds.example",
        }


@pytest.fixture
def recorder():
    return Recorder()


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


def test_a_token_is_for_the_very_address_that_was_called(make_client, post, recorder):
    client = make_client((one_card_service(),), **recorder.stages())
    client.get("/cds-services", headers={"Host": "evil.example"})
    client.post("/cds-services/one-card/feedback", json={})
    urls = [seen[1] for seen in recorder.seen if seen[0] == "door"]
    assert urls == ["https://cds.example/cds-services", "https://cds.example/cds-services/one-card/feedback"]


@pytest.mark.parametrize("path", ["/cds-services/none", "/cds-services/none/feedback", "/cds-services/one-card/x"])
def test_a_route_that_is_none_is_404_before_anybody_is_asked_who_they_are(make_client, recorder, path):
    client = make_client((one_card_service(),), **recorder.stages())
    assert client.post(path, json={}).status_code == 404
    assert client.get("/cds-services/one-card").status_code == 405
    assert recorder.seen == []


def test_one_id_serves_several_hooks_by_the_hook_of_the_call(make_client, post):
    topic = one_card_service()
    signing = replace(one_card_service(), hook=ORDER_SIGN, answer=lambda call, context: ())
    client = make_client((topic, signing))
    assert [entry["hook"] for entry in client.get("/cds-services").json["services"]] == [
        "patient-view",
        "order-sign",
    ]
    assert len(post(client, "one-card", hook_body()).json["cards"]) == 1
    order = {"resourceType": "ServiceRequest", "id": "s1", "subject": {"reference": "Patient/p1"}}
    drafts = {"resourceType": "Bundle", "entry": [{"resource": order}]}
    context = {"userId": "Practitioner/d1", "patientId": "p1", "draftOrders": drafts}
    assert post(client, "one-card", hook_body(hook="order-sign", context=context)).json == {"cards": []}


def test_the_hook_of_an_organisation_is_known_where_a_service_declares_it(make_client, post):
    arrived = own_hook("org.example.study-arrived", "1.0", (fields.patient_id(),))
    seen = []
    service = replace(one_card_service(), hook=arrived, answer=lambda call, context: seen.append(call) or ())
    client = make_client((service, one_card_service("other")))
    body = hook_body(hook=arrived.name, context={"patientId": "p1"}, extension={"org.example": {"a": 1}})
    assert post(client, "one-card", body).json == {"cards": []}
    assert seen[0].request.extension == {"org.example": {"a": 1}}
    assert post(client, "other", body).status_code == 400


def test_a_published_hook_is_not_defined_anew():
    with pytest.raises(Fault):
        replace(one_card_service(), hook=replace(PATIENT_VIEW, version="9.9"))


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


def test_feedback_goes_to_the_desk_with_its_caller(make_client, post, recorder):
    client = make_client((one_card_service(),), **recorder.stages())
    response = client.post("/cds-services/one-card/feedback", json={"feedback": []})
    assert (response.status_code, response.json) == (200, {})
    assert recorder.seen[-2:] == [("feedback", "one-card", "epic", {"feedback": []}), ("bulkhead left",)]
    assert client.get("/cds-services/one-card/feedback").status_code == 405
    assert client.post("/cds-services/one-card/feedback", data="x").status_code == 415


def test_what_is_wrong_with_feedback_is_named(make_client):
    class Desk:
        def take(self, service_id, caller, body):
            raise IncorrectInput("feedback[0].card: x", expression=["feedback[0].card"])

    client = make_client((one_card_service(),), feedback=Desk())
    response = client.post("/cds-services/one-card/feedback", json={"feedback": [{}]})
    assert response.status_code == 400
    assert response.json["issue"][0]["expression"] == ["feedback[0].card"]


PAGE = "https://ehr.example"
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type",
}


@pytest.mark.parametrize("path", ["", "/one-card", "/one-card/feedback"])
def test_a_listed_origin_may_ask_before_it_shows_a_token(make_client, recorder, path):
    client = make_client((one_card_service(),), **recorder.stages() | {"cors": Cors((PAGE,))})
    response = client.options(f"/cds-services{path}", headers=PREFLIGHT)
    assert (response.status_code, response.data) == (204, b"")
    assert response.headers["Access-Control-Allow-Origin"] == PAGE
    other = client.options(f"/cds-services{path}", headers=PREFLIGHT | {"Origin": "https://evil.example"})
    assert other.status_code == 405
    assert "Access-Control-Allow-Origin" not in other.headers
    assert recorder.seen == []


def test_a_listed_origin_reads_errors_too(make_client, post):
    client = make_client((one_card_service(),), cors=Cors((PAGE,)))
    for response in (
        client.get("/cds-services", headers={"Origin": PAGE}),
        post(client, "one-card", b"{", headers={"Origin": PAGE}),
        post(client, "none", b"{", headers={"Origin": PAGE}),
    ):
        assert response.headers["Access-Control-Allow-Origin"] == PAGE
        assert response.headers["Vary"] == "Origin"
        assert "Access-Control-Allow-Credentials" not in response.headers


def test_discovery_says_where_people_and_tools_read_more(make_client):
    link = make_client((one_card_service(),), base_url="https://cds.example").get("/cds-services").headers["Link"]
    assert '<https://cds.example/cds-hooks>; rel="service-doc"' in link
    assert '<https://cds.example/openapi.json>; rel="service-desc"' in link


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
