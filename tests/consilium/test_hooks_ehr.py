"""The hooks beside an EHR on loopback: what is fetched for whom, and what happens when somebody fails."""

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client import REGISTRY

from cds.card import Card
from cds.circuit import FAILURES
from cds.client.fhir_mock import FhirMock, fhir_mock
from cds.client.keys import new_key, public_set
from cds.client.record import Record
from cds.client.tokens import Client, mint
from cds.hooks import ORDER_SIGN
from cds.service import CdsContext, HookCall, Service
from cds.services import diabetes_risk
from cds.testing import hook_body, one_card_service
from clinical.clock import utc_now
from clinical.errors import Fault
from consilium.app import create_app
from consilium.hook_parts import GuardedReaders
from consilium.settings import load_settings
from consilium.web_parts import build_parts
from consilium.wiring import House, prepare_storage

pytestmark = pytest.mark.usefixtures("no_settings")

BASE = "https://cds.example"
PATIENT = {"resourceType": "Patient", "id": "p1", "gender": "male", "birthDate": "1969-05-01"}


def measured(code: str, value: float, unit: str) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": f"o-{code}",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2026-11-01T10:00:00Z",
        "valueQuantity": {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit},
    }


RECORD = Record((PATIENT, measured("39156-5", 38.0, "kg/m2"), measured("8280-0", 125.0, "cm")))


@pytest.fixture
def ehr() -> Iterator[FhirMock]:
    with fhir_mock(RECORD) as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data_dir = tmp_path_factory.mktemp("ehr")
    prepare_storage(load_settings(data_dir=data_dir))
    return data_dir


class Hospital:
    """A client whose FHIR server the issuers file names, and the application that lets it in."""

    def __init__(self, folder: Path, here: Path, fhir_base: str) -> None:
        key = new_key("ES384", "k1")
        (here / "keys.json").write_text(json.dumps(public_set([key])))
        (here / "issuers.toml").write_text(
            '[[issuer]]\nname = "hospital"\niss = "https://ehr.example"\nkeys_file = "keys.json"\n'
            f'fhir_bases = ["{fhir_base}"]\nnetwork = "loopback"\n'
        )
        self._signer = Client("https://ehr.example", key, utc_now)
        settings = load_settings(
            data_dir=folder,
            low_water_mb=0,
            hook_budget_ms=60_000,
            public_base_url=BASE,
            cds_issuers_file=here / "issuers.toml",
        )
        self._parts = build_parts(House(settings))
        self.app = create_app(self._parts)

    def close(self) -> None:
        readers = self._parts.cds.reader_for
        assert isinstance(readers, GuardedReaders)
        readers.close()

    def asks(self, server: str, *, known: bool = True) -> Any:
        url = f"{BASE}/cds-services/diabetes-risk"
        grant = {
            "access_token": "one-call-only",
            "token_type": "Bearer",
            "expires_in": 60,
            "scope": "patient/*.rs",
            "subject": "consilium",
            "patient": "p1",
        }
        body = hook_body(fhirServer=server, fhirAuthorization=grant)
        headers = {"Authorization": f"Bearer {mint(self._signer, url)}"} if known else {}
        return self.app.test_client().post("/cds-services/diabetes-risk", json=body, headers=headers)


@pytest.fixture
def hospital(folder: Path, tmp_path: Path, ehr: FhirMock) -> Iterator[Hospital]:
    hospital = Hospital(folder, tmp_path, ehr.base)
    yield hospital
    hospital.close()


def test_what_was_not_sent_is_fetched_with_the_token_of_the_call(hospital: Hospital, ehr: FhirMock) -> None:
    answer = hospital.asks(ehr.base)
    assert answer.status_code == 200
    assert len(answer.get_json()["cards"]) == 1
    assert {asked.token for asked in ehr.asked()} == {"one-call-only"}
    assert "Patient/p1" in {asked.query for asked in ehr.asked()}


def test_the_server_of_one_issuer_is_not_asked_for_others(hospital: Hospital, ehr: FhirMock) -> None:
    assert hospital.asks(ehr.base, known=False).status_code == 412
    assert ehr.asked() == ()


def test_a_server_that_is_not_the_issuer_s_is_never_called(hospital: Hospital, ehr: FhirMock) -> None:
    with fhir_mock(RECORD) as other:
        answer = hospital.asks(other.base)
        assert other.asked() == ()
    assert answer.status_code == 412
    assert "prefetch.patient" in answer.get_json()["issue"][0]["expression"]


def test_fetched_keys_are_counted_by_issuer_and_key(hospital: Hospital, ehr: FhirMock) -> None:
    labels = {"issuer": "hospital", "service": "diabetes-risk", "key": "bmi", "source": "fetched"}
    name = "consilium_prefetch_total"
    before = REGISTRY.get_sample_value(name, labels | {"state": "complete"}) or 0
    hospital.asks(ehr.base)
    assert REGISTRY.get_sample_value(name, labels | {"state": "complete"}) == before + 1


def test_an_ehr_that_has_gone_is_left_alone_after_a_while(folder: Path, tmp_path: Path) -> None:
    with socket.socket() as gone:
        gone.bind(("127.0.0.1", 0))  # nobody listens there, and nobody else gets the port meanwhile
        base = f"http://127.0.0.1:{gone.getsockname()[1]}/fhir"
        hospital = Hospital(folder, tmp_path, base)
        said = [hospital.asks(base).get_json()["issue"][0]["diagnostics"] for _ in range(FAILURES + 1)]
        hospital.close()
    assert said[0] != said[FAILURES]
    assert REGISTRY.get_sample_value(
        "consilium_circuit_events_total",
        {"kind": "ehr", "name": base.split("/")[2], "event": "opened"},
    )


@pytest.fixture
def client_of(folder: Path) -> Any:
    def make(*services: Service, **settings: Any) -> FlaskClient:
        house = House(load_settings(data_dir=folder, low_water_mb=0, hook_budget_ms=60_000, **settings))
        return create_app(replace(build_parts(house), services=services)).test_client()

    return make


def test_a_service_that_keeps_failing_is_not_asked_for_a_while(client_of: Any) -> None:
    asked = []

    def broken(_call: HookCall, _context: CdsContext) -> tuple[Card, ...]:
        asked.append(1)
        raise Fault("broken")

    client = client_of(replace(one_card_service("often-broken"), answer=broken))
    answers = [client.post("/cds-services/often-broken", json=hook_body()) for _ in range(FAILURES + 3)]
    assert [answer.status_code for answer in answers] == [500] * FAILURES + [503] * 3
    assert len(asked) == FAILURES
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert all("cards" not in answer.get_json() for answer in answers)
    circuit = {"kind": "service", "name": "often-broken"}
    assert REGISTRY.get_sample_value("consilium_circuit_open", circuit) == 1


def test_the_same_question_on_another_hook_is_answered_without_the_model(client_of: Any) -> None:
    """D4: at order-sign the card of patient-view comes again, with a uuid of its own that takes feedback."""
    runs = []

    def answer(call: HookCall, context: CdsContext) -> Any:
        runs.append(call.request.hook.name)
        return diabetes_risk.SERVICE.answer(call, context)

    seeing = replace(diabetes_risk.SERVICE, answer=answer)
    client = client_of(seeing, replace(seeing, hook=ORDER_SIGN))
    address = "/cds-services/diabetes-risk"
    prefetch = {template.key: None for template in seeing.prefetch} | {"patient": PATIENT}
    prefetch |= {
        "bmi": {"resourceType": "Bundle", "entry": [{"resource": measured("39156-5", 38.0, "kg/m2")}]},
        "waist": {"resourceType": "Bundle", "entry": [{"resource": measured("8280-0", 125.0, "cm")}]},
    }
    drafts = {"userId": "Practitioner/d1", "patientId": "p1", "draftOrders": {"resourceType": "Bundle"}}
    first = client.post(address, json=hook_body(prefetch=prefetch)).get_json()["cards"]
    second = client.post(address, json=hook_body(prefetch=prefetch, hook="order-sign", context=drafts))
    cards = second.get_json()["cards"]
    assert runs == ["patient-view"]
    assert [card["summary"] for card in cards] == [card["summary"] for card in first]
    assert cards[0]["uuid"] != first[0]["uuid"]
    report = {
        "card": cards[0]["uuid"],
        "outcome": "overridden",
        "overrideReason": {"userComment": "known"},
        "outcomeTimestamp": "2026-11-26T10:00:00Z",
    }
    assert client.post(f"{address}/feedback", json={"feedback": [report]}).status_code == 200


def test_a_benchmark_runs_what_is_there_for_it_alone(folder: Path) -> None:
    house = House(load_settings(data_dir=folder, low_water_mb=0, benchmark_services=True))
    client = create_app(build_parts(house)).test_client()
    assert len(client.post("/cds-services/bench-static", json=hook_body()).get_json()["cards"]) == 1
    plain = House(load_settings(data_dir=folder, low_water_mb=0))
    assert create_app(build_parts(plain)).test_client().post("/cds-services/bench-static").status_code == 404
