"""What models say on hook calls becomes FHIR resources: of all of them, once, in the right chart or in none."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from flask import Flask
from sqlalchemy import select

from cds.feedback.sent import SentCardLog
from cds.http import blueprint
from cds.links import LinkSigner
from cds.results import ResultLog
from cds.service import CdsContext
from cds.services import SERVICES
from cds.testing import counting_uuids, hook_body
from clinical.pseudonym import Pseudonyms
from consilium.filing import Filing
from fhir_adapters.publish import publish
from fhir_adapters.rest.ai.changes import Who
from fhir_adapters.rest.ai.recall import Recalled
from fhir_adapters.rest.ai_recall import recall
from fhir_adapters.rest.fhir import Fhir
from model_runtime.testing import CannedEngine, forecast_document, lesion_document, manifest_of, risk_document
from record_store.ai_results import said_of
from record_store.said_json import from_json, to_json
from record_store.tables import ai_result, audit, resource
from record_store.testing import database
from tests.fhir_adapters.ai_transparency import faults_of
from tests.fhir_adapters.r4 import check_r4

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
OURS, EHR = "https://cds.example/fhir", "https://ehr.example/fhir"
KEY = {"system": "urn:oid:1.2.3", "value": "ZZCANARY-4711"}
KINDS = {"diabetes-risk": 1, "heart-rate": 3, "breast-lesion": 2}  # RiskAssessments and Observations of one card


def bundle(*resources):
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": one} for one in resources]}


def measured(system, code, ident, at=NOW, **value):
    return {
        "resourceType": "Observation",
        "id": ident,
        "meta": {"versionId": "3"},
        "status": "final",
        "code": {"coding": [{"system": system, "code": code}]},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": at.isoformat(),
    } | value


def quantity(value, unit):
    return {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}


def loinc(code, value, unit, ident, at=NOW):
    return measured("http://loinc.org", code, ident, at, valueQuantity=quantity(value, unit))


def patient(**more):
    return {
        "resourceType": "Patient", "id": "p1", "identifier": [KEY], "gender": "male", "birthDate": "1969-05-01",
    } | more  # fmt: skip


def prefetch_of(service):
    if service == "heart-rate":
        rates = [
            loinc("8867-4", 80 if ago < 5 else 60 + ago % 25, "/min", f"h{ago}", NOW - timedelta(minutes=ago))
            for ago in range(180)
        ]
        return {"patient": patient(), "heart-rate": bundle(*rates), "steps": bundle()}
    if service == "breast-lesion":
        lexicon = "urn:consilium:breast-lexicon"
        said = {"valueCodeableConcept": {"coding": [{"system": lexicon, "code": "birads-5"}]}}
        return {"patient": patient(), "descriptors": bundle(measured(lexicon, "birads", "d1", **said))}
    empty = ("waist", "blood-pressure", "insulin", "health-and-habits", "family-history")
    return {
        "patient": patient(),
        "bmi": bundle(loinc("39156-5", 31.24, "kg/m2", "b1")),
        "glucose": bundle(loinc("14771-0", 7.1, "mmol/L", "g1")),
    } | dict.fromkeys(empty, bundle())


def forecast(inputs):
    rows = len(inputs["recent"])
    change = np.repeat(np.array([[[-0.05, 0.0, 0.05]] * 3], np.float32), rows, axis=0)
    return {"change": change, "trend": np.repeat(np.array([[[0.1, 0.3, 0.6]] * 3], np.float32), rows, axis=0)}


def alarming(inputs):
    return forecast(inputs) | {"change": np.repeat([[[0.3, 0.5, 0.7]] * 3], len(inputs["recent"]), axis=0)}


def probability(name, value):
    return lambda inputs: {"probability": np.full((len(inputs[name]), 1), value)}


@pytest.fixture
def engine():
    documents = (risk_document(), forecast_document(), lesion_document())
    lesion = lambda inputs: {"probability": np.full((len(next(iter(inputs.values()))), 1), 0.95)}  # noqa: E731
    return CannedEngine(
        {
            "diabetes-risk": probability("features", 0.25),
            "heart-rate-trend": forecast,
            ("breast-lesion", "diagnosis"): lesion,
        },
        {one["name"]: manifest_of(one) for one in documents},
    )


@pytest.fixture
def house(tmp_path, engine):
    db = database(tmp_path)
    yield House(db, engine)
    db.dispose()


@pytest.fixture
def on_both(store, engine):
    return House(store, engine)


class House:
    """Hooks that keep their results, the worker's filing of them, and what stands in the store afterwards."""

    def __init__(self, db, engine):
        self.db, self.engine, self.now = db, engine, NOW
        self.speaks_for_us = True
        clock = lambda: self.now  # noqa: E731
        context = CdsContext(
            engine=engine,
            db=db,
            now=clock,
            links=LinkSigner(b"k" * 32, "https://cds.example", clock),
            new_uuid=counting_uuids(),
            sent=SentCardLog(clock, Pseudonyms(b"k" * 32)),
            result_rows=ResultLog(clock, OURS, lambda _caller: self.speaks_for_us),
            budget_s=60.0,
        )
        app = Flask("filing")
        app.register_blueprint(blueprint(SERVICES, context))
        self.client = app.test_client()
        self.filing = Filing(db, engine, clock)

    def has_chart(self, *charts):
        with self.db.write() as conn:
            publish(conn, charts or [patient(id="chart")], NOW)

    def asks(self, service, prefetch=None, **more):
        body = hook_body(prefetch=prefetch or prefetch_of(service), **more)
        reply = self.client.post(f"/cds-services/{service}", json=body)
        assert reply.status_code == 200, reply.text
        assert len(reply.json["cards"]) == 1
        while self.filing.once():
            pass

    def stored(self, *kinds):
        with self.db.read() as conn:
            query = select(resource.c.body).order_by(resource.c.type, resource.c.id)
            bodies = [json.loads(body) for body in conn.execute(query).scalars()]
        return [one for one in bodies if not kinds or one["resourceType"] in kinds]

    def outcomes(self):
        with self.db.read() as conn:
            query = select(audit.c.outcome).where(audit.c.action == "result-filed").order_by(audit.c.row)
            return list(conn.execute(query).scalars())

    def rows(self):
        with self.db.read() as conn:
            return list(conn.execute(select(ai_result)))


@pytest.mark.parametrize("service", KINDS)
def test_every_result_is_r4_and_what_the_guide_of_ai_transparency_wants(on_both, service):
    on_both.has_chart()
    on_both.asks(service, fhirServer=EHR)
    assert on_both.outcomes() == ["filed"]
    results = on_both.stored("RiskAssessment", "Observation")
    assert len(results) == KINDS[service]
    everything = [one for one in on_both.stored() if one["resourceType"] != "Patient"]
    for one in everything:
        check_r4(one)
    assert faults_of(everything) == []
    assert {one["subject"]["reference"] for one in results} == {"Patient/chart"}
    (provenance,) = on_both.stored("Provenance")
    sources = [one["what"]["reference"] for one in provenance["entity"] if "reference" in one["what"]]
    assert any(one.startswith(f"{EHR}/Observation/") and one.endswith("/_history/3") for one in sources)


def test_a_risk_says_percent_likelihood_basis_and_what_settles_it(house):
    house.has_chart()
    house.asks("diabetes-risk", fhirServer=EHR)
    (risk,) = house.stored("RiskAssessment")
    (prediction,) = risk["prediction"]
    assert prediction["probabilityDecimal"] == 25.0
    assert prediction["qualitativeRisk"]["coding"][0]["code"] == "moderate"
    assert prediction["whenPeriod"]["start"] == risk["occurrenceDateTime"] == "2026-11-22T09:00:00.000Z"
    assert {"reference": f"{EHR}/Observation/b1/_history/3"} in risk["basis"]
    assert risk["mitigation"].startswith("Hemoglobin A1c")
    assert risk["method"]["coding"][0]["code"] == "diabetes-risk"


def test_a_forecast_is_no_measurement_and_its_summary_is_a_vital_sign(house):
    house.has_chart()
    house.asks("heart-rate")
    coded = {one["code"]["coding"][0]["code"]: one for one in house.stored("Observation")}
    summary, ahead = coded["8867-4"], coded["heart-rate"]
    assert summary["category"][0]["coding"][0]["code"] == "vital-signs"
    parts = {part["code"]["coding"][0]["code"]: part.get("valueQuantity") for part in summary["component"]}
    assert (parts["minimum"]["value"], parts["maximum"]["value"]) == (60.0, 84.0)
    assert ahead["effectivePeriod"] == {"start": "2026-11-22T09:00:00.000Z", "end": "2026-11-22T10:00:00.000Z"}
    first = ahead["component"][0]
    assert first["valueQuantity"]["value"] == 80.0
    assert first["extension"][0]["valueRange"]["low"]["value"] == 76.0
    (risk,) = house.stored("RiskAssessment")
    assert risk["basis"] == [{"reference": f"Observation/{summary['id']}"}]
    rising = [one for one in risk["prediction"] if "rising in 60" in one["outcome"]["text"]]
    assert [one["probabilityDecimal"] for one in rising] == [60.0]


def test_a_forecast_proposes_a_plan_with_its_goal_and_an_alarm_raises_a_flag(house):
    house.has_chart()
    house.asks("heart-rate")
    (goal,), (plan,) = house.stored("Goal"), house.stored("CarePlan")
    assert (goal["lifecycleStatus"], plan["status"], plan["intent"]) == ("proposed", "draft", "proposal")
    assert plan["goal"] == [{"reference": f"Goal/{goal['id']}"}]
    assert house.stored("Flag") == []
    house.engine._answers["heart-rate-trend"] = alarming
    house.asks("heart-rate", prefetch_of("heart-rate") | {"steps": bundle(loinc("55423-8", 90, "/min", "s1"))})
    (flag,) = house.stored("Flag")
    check_r4(flag)
    assert "may rise above the personal range" in flag["code"]["text"]
    assert {one["meta"]["security"][0]["code"] for one in (goal, plan, flag)} == {"AIAST"}


def test_a_recall_takes_back_what_was_proposed_with_the_result(house):
    house.has_chart()
    house.asks("heart-rate")
    fhir = Fhir(db=house.db, now=lambda: NOW, new_id=lambda: "x", page_key=b"", base_url=OURS)
    what = Recalled("heart-rate-trend", "0.1.0", "", "wrong")
    total = recall(fhir, what, Who("operator"), after="", most=100, dry_run=False)
    assert total.retracted == 5
    made = house.stored("Observation", "RiskAssessment", "CarePlan", "Goal")
    assert {one.get("status", one.get("lifecycleStatus")) for one in made} == {"entered-in-error"}
    for one in made:
        check_r4(one)
    assert recall(fhir, what, Who("operator"), after="", most=100, dry_run=False).retracted == 0


def test_a_recall_takes_back_proposals_however_many_have_decided_on_the_result(house, monkeypatch):
    monkeypatch.setattr("fhir_adapters.rest.ai.origin._PAGE", 1)
    house.has_chart()
    house.asks("heart-rate")
    (risk,) = house.stored("RiskAssessment")
    said = {
        "resourceType": "Provenance",
        "target": [{"reference": f"RiskAssessment/{risk['id']}"}],
        "recorded": "2026-11-22T09:00:00Z",
        "agent": [{"who": {"display": "somebody"}}],
    }
    with house.db.write() as conn:
        publish(conn, [said | {"id": f"0000{number}"} for number in range(2)], NOW)
    fhir = Fhir(db=house.db, now=lambda: NOW, new_id=lambda: "x", page_key=b"", base_url=OURS)
    what = Recalled("heart-rate-trend", "0.1.0", "", "wrong")
    assert recall(fhir, what, Who("operator"), after="", most=100, dry_run=False).retracted == 5


def test_the_same_question_again_is_the_same_result(on_both):
    on_both.has_chart()
    on_both.asks("diabetes-risk")
    before = on_both.stored()
    on_both.now += timedelta(minutes=5)
    on_both.asks("diabetes-risk")
    assert on_both.stored() == before
    assert on_both.outcomes() == ["filed", "known"]
    assert len(on_both.rows()) == 1


def test_other_inputs_are_another_result(house):
    house.has_chart()
    house.asks("diabetes-risk")
    house.asks("diabetes-risk", prefetch_of("diabetes-risk") | {"glucose": bundle()})
    assert len(house.stored("RiskAssessment")) == 2


@pytest.mark.parametrize(
    "charts",
    [
        [],
        [patient(id="other", identifier=[KEY | {"value": "1"}])],
        [patient(id="other", identifier=[KEY | {"system": "urn:oid:9"}])],  # the number of another issuer
        [patient(id="one"), patient(id="two")],
    ],
)
def test_without_the_one_right_chart_nothing_is_filed_and_no_identifier_stays(house, charts):
    if charts:
        house.has_chart(*charts)
    house.asks("diabetes-risk")
    assert house.stored("RiskAssessment", "Provenance", "Device") == []
    assert (house.outcomes(), house.rows()) == (["no-chart"], [])


def test_a_caller_whose_server_is_this_one_names_the_chart_itself(house):
    house.has_chart(patient())
    house.asks("diabetes-risk", fhirServer=OURS)
    (risk,) = house.stored("RiskAssessment")
    assert risk["subject"] == {"reference": "Patient/p1"}
    assert {"reference": "Observation/b1/_history/3"} in risk["basis"]


@pytest.mark.parametrize("trusted", [True, False])
def test_a_caller_that_only_claims_to_be_of_this_server_names_no_chart(house, trusted):
    house.has_chart(patient())
    house.speaks_for_us = trusted
    sent = prefetch_of("diabetes-risk")
    sent["patient"] = {name: value for name, value in sent["patient"].items() if name != "identifier"}
    house.asks("diabetes-risk", prefetch=sent, fhirServer=OURS)
    assert len(house.stored("RiskAssessment")) == (1 if trusted else 0)


def test_a_chart_of_this_server_that_the_identifiers_contradict_gets_nothing(house):
    house.has_chart(patient(identifier=[KEY | {"value": "1"}]), patient(id="right"))
    house.asks("diabetes-risk", fhirServer=OURS)
    assert (house.stored("RiskAssessment"), house.outcomes()) == ([], ["no-chart"])


def test_a_result_of_a_model_that_was_recalled_is_not_filed(house):
    house.has_chart()
    house.asks("diabetes-risk")
    (device,) = house.stored("Device")
    with house.db.write() as conn:
        publish(conn, [device | {"status": "inactive"}], NOW)
    house.asks("diabetes-risk", prefetch_of("diabetes-risk") | {"glucose": bundle()})
    assert house.outcomes() == ["filed", "recalled"]


@pytest.mark.parametrize("digest", ["", "the model's"])
def test_a_version_that_is_recalled_before_its_first_result_says_nothing_either(house, digest):
    house.has_chart()
    manifest = house.engine.manifest("diabetes-risk")
    meant = Recalled("diabetes-risk", manifest.version, manifest.digest if digest else "", "wrong")
    fhir = Fhir(db=house.db, now=lambda: NOW, new_id=lambda: "x", page_key=b"", base_url=OURS)
    for _ in range(2):
        recall(fhir, meant, Who("operator:eva"), after="", most=100, dry_run=False)
    (device,) = house.stored("Device")
    check_r4(device)
    assert (device["status"], device["note"]) == ("inactive", [{"text": "Recalled: wrong"}])
    with house.db.read() as conn:
        rows = conn.execute(select(audit.c.outcome, audit.c.actor).where(audit.c.action == "ai-withdrawn")).all()
    assert [tuple(row) for row in rows] == [("inactive", "operator:eva")]
    house.asks("diabetes-risk")
    assert house.outcomes() == ["recalled"]


def test_what_is_filed_keeps_what_the_model_read_and_not_who_the_patient_is(house):
    house.has_chart()
    house.asks("diabetes-risk")
    (row,) = house.rows()
    assert (row.state, row.patient) == ("filed", "")
    assert "ZZCANARY" not in row.body
    with house.db.read() as conn:
        said = said_of(conn, row.provenance)
    assert said.inputs.tensors["features"].shape[0] == 1
    assert said.what.risk.probability == 0.25


@pytest.mark.parametrize("service", KINDS)
def test_what_was_said_comes_back_from_json_as_it_is(house, service):
    house.has_chart()
    house.asks(service)
    (row,) = house.rows()
    again = from_json(row.body)
    assert to_json(again) == to_json(from_json(to_json(again))) == row.body
    assert replace(again).what == from_json(row.body).what
