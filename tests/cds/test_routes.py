"""Routes of the hooks: whose they are, which hook is meant, which pages may call, and where feedback goes."""

from dataclasses import replace

import pytest

from cds.hooks import ORDER_SIGN, PATIENT_VIEW, fields, own_hook
from cds.testing import hook_body, one_card_service
from cds.trust.cors import Cors
from clinical.errors import Fault, IncorrectInput


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
