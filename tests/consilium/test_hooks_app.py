"""Every stage of a hook call as the settings wire it: through the whole web application."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient
from markupsafe import escape
from prometheus_client import REGISTRY
from sqlalchemy import select

from cds.client.keys import new_key, public_set
from cds.client.tokens import Client, mint
from cds.hooks import HOOKS
from cds.testing import HOOK_INSTANCE, hook_body
from cds.wire_schema.testing import problems
from clinical.clock import utc_now
from consilium.app import create_app
from consilium.pages.hooks import STATUSES
from consilium.settings import SettingsError, load_settings
from consilium.web_parts import build_parts
from consilium.wiring import House, prepare_storage
from fhir_adapters import outcome
from record_store.tables import audit

pytestmark = pytest.mark.usefixtures("no_settings")
Make = Callable[..., FlaskClient]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data_dir = tmp_path_factory.mktemp("hooks")
    prepare_storage(load_settings(data_dir=data_dir))
    return data_dir


@pytest.fixture
def house_of(folder: Path) -> Callable[..., House]:
    # A minute, for the first call loads its model.
    return lambda **settings: House(
        load_settings(data_dir=folder, low_water_mb=0, hook_budget_ms=60_000, **settings)
    )


@pytest.fixture
def client_of(house_of: Callable[..., House]) -> Make:
    return lambda **settings: create_app(build_parts(house_of(**settings))).test_client()


PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "gender": "male",
    "birthDate": "1969-05-01",
    "name": [{"family": "Zzcanary"}],
}
KEYS = ("bmi", "waist", "blood-pressure", "glucose", "insulin", "health-and-habits", "family-history")


def risk_body(**more: Any) -> dict[str, Any]:
    def measured(code: str, value: float, unit: str) -> dict[str, Any]:
        observation = {
            "resourceType": "Observation",
            "id": f"o-{code}",
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
            "subject": {"reference": "Patient/p1"},
            "effectiveDateTime": "2026-11-01T10:00:00Z",
            "valueQuantity": {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit},
        }
        return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": observation}]}

    empty = {"resourceType": "Bundle", "type": "searchset"}
    prefetch: dict[str, Any] = {"patient": PATIENT} | dict.fromkeys(KEYS, empty)
    prefetch |= {"bmi": measured("39156-5", 38.0, "kg/m2"), "waist": measured("8280-0", 125.0, "cm")}
    return hook_body(prefetch=prefetch | {"glucose": measured("14771-0", 8.9, "mmol/L")}, **more)


def rows_of(house: House, action: str) -> list[Mapping[Any, Any]]:
    with house.db.read() as conn:
        return [row._mapping for row in conn.execute(select(audit).where(audit.c.action == action))]


def ask(client: FlaskClient, body: object = None, service: str = "diabetes-risk", **more: Any) -> Any:
    return client.post(f"/cds-services/{service}", json=risk_body() if body is None else body, **more)


def test_a_card_is_audited_remembered_and_takes_feedback_once(
    client_of: Make, house_of: Callable[..., House]
) -> None:
    client = client_of()
    cards = ask(client).get_json()["cards"]
    assert len(cards) == 1
    last = rows_of(house_of(), "hook-called")[-1]
    assert (last["outcome"], last["actor"], last["subject"]) == (
        "cards",
        "client:anonymous",
        "service:diabetes-risk",
    )
    assert json.loads(last["detail"])["hook_instance"] == HOOK_INSTANCE
    report = {
        "card": cards[0]["uuid"],
        "outcome": "overridden",
        "overrideReason": {"userComment": "seen"},
        "outcomeTimestamp": "2026-11-26T10:00:00Z",
    }
    address = "/cds-services/diabetes-risk/feedback"
    answer = client.post(address, json={"feedback": [report]})
    assert (answer.status_code, answer.get_json()) == (200, {})
    before = len(rows_of(house_of(), "feedback-received"))
    assert client.post(address, json={"feedback": [report]}).status_code == 200
    assert rows_of(house_of(), "feedback-received")[before:][0]["outcome"] == "known"


def test_feedback_on_a_card_that_was_never_sent_is_refused(client_of: Make) -> None:
    report = {"card": HOOK_INSTANCE, "outcome": "accepted", "outcomeTimestamp": "2026-11-26T10:00:00Z"}
    report["acceptedSuggestions"] = [{"id": HOOK_INSTANCE}]  # type: ignore[assignment]
    answer = client_of().post("/cds-services/diabetes-risk/feedback", json={"feedback": [report]})
    assert answer.status_code == 400
    assert answer.get_json()["issue"][0]["expression"] == ["feedback[0].card"]


def test_a_service_in_shadow_mode_says_nothing_and_is_recorded(
    client_of: Make, house_of: Callable[..., House]
) -> None:
    assert ask(client_of(shadow_services=("diabetes-risk",))).get_json() == {"cards": []}
    assert rows_of(house_of(), "hook-called")[-1]["outcome"] == "shadow"


def test_a_misspelt_service_in_shadow_mode_stops_the_start(house_of: Callable[..., House]) -> None:
    with pytest.raises(SettingsError, match="CONSILIUM_SHADOW_SERVICES"):
        house_of(shadow_services=("diabetes-rsik",))


def test_a_finding_that_was_just_shown_is_held_back_where_a_site_asks_for_it(
    client_of: Make, house_of: Callable[..., House]
) -> None:
    client = client_of(alert_hygiene={"repeat_window_s": 3600})
    body = risk_body(context={"userId": "Practitioner/hygiene", "patientId": "p1"})
    first = ask(client, body | {"hookInstance": "11111111-1111-4111-8111-111111111111"}).get_json()["cards"]
    second = ask(client, body | {"hookInstance": "22222222-2222-4222-8222-222222222222"}).get_json()["cards"]
    assert (len(first), len(second)) == (1, 0)
    assert rows_of(house_of(), "card-suppressed")[-1]["actor"] == "service:diabetes-risk"


def test_a_hook_has_the_time_that_a_site_gives_it(house_of: Callable[..., House]) -> None:
    cds = build_parts(house_of(hook_budgets={"order-sign": 2000, "order-sign/order-imaging": 800})).cds
    assert cds.budget_of("order-sign", "order-imaging") == 0.8
    assert cds.budget_of("patient-view", "diabetes-risk") == 60


ISS = "https://ehr.example/fhir"


@pytest.fixture
def hospital(tmp_path: Path) -> tuple[Client, Path]:
    """A client with a key, and the issuers file that knows it."""
    key = new_key("ES384", "k1")
    (tmp_path / "keys.json").write_text(json.dumps(public_set([key])))
    file = tmp_path / "issuers.toml"
    file.write_text(
        f'[[issuer]]\nname = "hospital"\niss = "{ISS}"\nkeys_file = "keys.json"\n'
        "[issuer.capabilities]\noverride_reasons = false\n"
    )
    return Client(ISS, key, utc_now), file


def test_a_token_of_a_listed_issuer_opens_one_address_once(
    client_of: Make, house_of: Callable[..., House], hospital: tuple[Client, Path]
) -> None:
    signer, file = hospital
    client = client_of(cds_issuers_file=file, public_base_url="https://cds.example", bearer_token="x" * 32)
    url = "https://cds.example/cds-services/diabetes-risk"
    shown = {"Authorization": f"Bearer {mint(signer, url)}"}
    card = ask(client, headers=shown).get_json()["cards"][0]
    # What this client understands is what its issuer's profile says.
    assert "overrideReasons" not in card
    assert rows_of(house_of(), "hook-called")[-1]["actor"] == "client:hospital"
    for headers in (shown, {"Authorization": f"Bearer {mint(signer, url + 'x')}"}, {}, SHARED):
        answer = ask(client, headers=headers)
        assert (answer.status_code, answer.data) == (401, b"")
    feedback = {"Authorization": f"Bearer {mint(signer, url + '/feedback')}"}
    assert (
        client.post("/cds-services/diabetes-risk/feedback", json={"feedback": []}, headers=feedback).status_code
        == 200
    )


SHARED = {"Authorization": "Bearer " + "x" * 32}


def test_a_listed_origin_may_call_from_a_browser(client_of: Make) -> None:
    page = "https://ehr.example"
    client = client_of(cors_origins=(page,))
    preflight = {"Origin": page, "Access-Control-Request-Method": "POST"}
    assert client.options("/cds-services/diabetes-risk", headers=preflight).status_code == 204
    assert ask(client, {}, headers={"Origin": page}).headers["Access-Control-Allow-Origin"] == page
    other = client.get("/fhir/metadata", headers={"Origin": page})
    assert "Access-Control-Allow-Origin" not in other.headers


def test_each_prefetch_key_is_counted(client_of: Make) -> None:
    labels = {
        "issuer": "anonymous",
        "service": "diabetes-risk",
        "key": "bmi",
        "source": "sent",
        "state": "complete",
    }
    before = REGISTRY.get_sample_value("consilium_prefetch_total", labels) or 0
    ask(client_of())
    assert REGISTRY.get_sample_value("consilium_prefetch_total", labels) == before + 1


def test_no_patient_and_no_card_is_in_the_audit(client_of: Make, house_of: Callable[..., House]) -> None:
    ask(client_of())
    house = house_of()
    with house.db.read() as conn:
        everything = repr(conn.execute(select(audit)).all())
    assert "hook-called" in everything
    assert "Zzcanary" not in everything
    assert "Patient/p1" not in everything


def test_the_page_for_people_tells_what_discovery_tells(client_of: Make) -> None:
    client = client_of(shadow_services=("heart-rate",), hook_budgets={"order-sign": 2345})
    address = client.get("/cds-services").headers["Link"].split(">")[0].removeprefix("<")
    answer = client.get(urlsplit(address).path)
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    for service in client.get("/cds-services").get_json()["services"]:
        assert f"cds-services/{service['id']}" in answer.text
        assert all(escape(query) in answer.text for query in service.get("prefetch", {}).values())
    assert "answers no cards yet" in answer.text
    assert "2345 ms" in answer.text
    assert all(name in answer.text for name in HOOKS)
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_the_page_names_every_status_that_an_error_has() -> None:
    answered = {status for _, status in outcome.ISSUE_CODE.values()} | {outcome.UNAUTHENTICATED[1]}
    assert answered <= set(STATUSES)
    assert {405, 408, 413, 415} <= set(STATUSES)


def test_what_is_answered_is_legal_by_the_published_schemas(client_of: Make) -> None:
    client = client_of()
    assert problems("request", risk_body()) == []
    assert problems("response", ask(client).get_json()) == []
    assert problems("discovery", client.get("/cds-services").get_json()) == []
    refused = [
        ask(client, {}),
        ask(client, hook_body()),
        ask(client, hook_body(), service="none"),
        ask(client, hook_body(), service="order-imaging"),
        client.get("/cds-services/diabetes-risk"),
        client.post("/cds-services/diabetes-risk", data="x"),
        client.post("/cds-services/diabetes-risk/feedback", json={}),
    ]
    assert [answer.status_code for answer in refused] == [400, 412, 404, 400, 405, 415, 400]
    assert [problems("outcome", answer.get_json()) for answer in refused] == [[]] * len(refused)
    # What can be named by its place in the request is named.
    named = [bool(answer.get_json()["issue"][0].get("expression")) for answer in refused]
    assert named == [True, True, False, True, False, False, True]
