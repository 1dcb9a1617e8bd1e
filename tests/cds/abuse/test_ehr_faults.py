"""An EHR that hangs, lies, resets, drips, floods or refuses, under each service: 412 or 503, never `cards: []`."""

import gzip
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fhir_adapters.allow_list import AllowedServer, Network
from fhir_adapters.client import FhirClient, Limits

pytestmark = pytest.mark.slow

SERVICES = ("breast-lesion", "diabetes-risk", "heart-rate", "imaging-findings", "order-imaging")
ONLY_PATIENT = {"imaging-findings", "order-imaging"}  # they ask for nothing else
RESET = "reset"
THEM = {"reference": "Patient/zzcanary-2"}
NEEDED = "39156-5"  # the body mass index, without which there is no estimate of diabetes


def answering(make):
    """An act that sends what `make(ward, path)` returns."""
    return lambda ward: lambda path, send: send(make(ward, path))


def status(line):
    return answering(lambda ward, path: ward.http({"resourceType": "OperationOutcome", "issue": []}, line))


def body(make, **headers):
    return answering(lambda ward, path: ward.http(make(ward, path), **headers))


HONEST = body(lambda ward, path: ward.record(path))
LIMITS = Limits()


def hang(ward):
    return lambda path, send: time.sleep(3)


def reset(ward):
    return lambda path, send: RESET


def reset_half_way(ward):
    def act(path, send):
        send(ward.http(ward.record(path))[:150])
        return RESET

    return act


def closed_half_way(ward):
    return lambda path, send: send(ward.http(ward.record(path))[:-20])


def drip(ward):
    def act(path, send):
        for byte in ward.http(ward.record(path)):
            send(bytes([byte]))
            time.sleep(0.05)

    return act


def drip_of_a_head(ward):
    def act(path, send):
        send(b"HTTP/1.1 200 OK\r\n")
        for number in range(100):
            send(b"X-%d: y\r\n" % number)
            time.sleep(0.05)

    return act


def flood(ward):
    def act(path, send):
        send(b"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\n\r\n" + b'{"resourceType": "')
        while True:
            send(b"Zzcanary" * 8192)

    return act


def one_page(ward, path, url):
    found = ward.record(path.partition("&_page")[0])
    return ward.http(found | ({"link": [{"relation": "next", "url": url}]} if "entry" in found else {}))


def endless_pages(ward):
    pages = iter(range(10**6))
    return lambda path, send: send(
        one_page(ward, path, f"{ward.base}/{path.partition('&_page')[0]}&_page={next(pages)}")
    )


def pages_in_a_ring(ward):
    return lambda path, send: send(one_page(ward, path, f"{ward.base}/{path}"))


def a_page_elsewhere(ward):
    return lambda path, send: send(one_page(ward, path, "http://127.0.0.1:1/fhir/zzcanary"))


def about(them):
    """Answers that are right but for whom they are about."""

    def make(ward, path):
        found = json.loads(json.dumps(ward.record(path)))
        if found["resourceType"] == "Patient":
            return them(found)
        entries = found["entry"] or [{"resource": {"resourceType": "Observation", "id": "x"}}]
        return found | {"entry": [{"resource": them(entry["resource"])} for entry in entries]}

    return make


def other_patient(resource):
    named = {"id": "zzcanary-2"} if resource["resourceType"] == "Patient" else {"subject": THEM}
    return resource | named


def nobody(resource):
    return {name: value for name, value in resource.items() if name not in {"id", "subject"}}


# What is wrong -> the act, of the EHR as a whole. Each is 412: the Patient, which all need, cannot be had.
WHOLE = {
    "401": status("401 Unauthorized"),
    "403": status("403 Forbidden"),
    "404": status("404 Not Found"),
    "410": status("410 Gone"),
    "418": status("418 Teapot"),
    "429": status("429 Too Many Requests"),
    "500": status("500 Internal Server Error"),
    "503": status("503 Service Unavailable"),
    "204": answering(lambda ward, path: b"HTTP/1.1 204 No Content\r\n\r\n"),
    "100 for ever": answering(lambda ward, path: b"HTTP/1.1 100 Continue\r\n\r\n" * 500),
    "a redirect": answering(
        lambda ward, path: ward.http(b"", "302 Found", Location="http://127.0.0.1:1/zzcanary")
    ),
    "another protocol": answering(lambda ward, path: b"220 smtp.zzcanary ESMTP\r\n"),
    "nothing at all": answering(lambda ward, path: b""),
    "reset": reset,
    "reset half way": reset_half_way,
    "closed half way": closed_half_way,
    "HTML": body(lambda ward, path: b"<html>Zzcanary</html>", kind="text/html"),
    "JSON of no kind": body(lambda ward, path: b"{}"),
    "a list": body(lambda ward, path: b"[]"),
    "half a JSON": body(lambda ward, path: json.dumps(ward.record(path)).encode()[:-1]),
    "a name twice": body(lambda ward, path: b'{"resourceType":"Patient","id":"zzcanary-1","id":"zzcanary-2"}'),
    "NaN": body(lambda ward, path: b'{"resourceType":"Patient","id":"zzcanary-1","x":NaN}'),
    "not UTF-8": body(lambda ward, path: b'{"resourceType":"Patient","id":"zzcanary-1","x":"\xff"}'),
    "nested": body(lambda ward, path: b'{"a":' * 5000 + b"1" + b"}" * 5000),
    "packed": body(
        lambda ward, path: gzip.compress(json.dumps(ward.record(path)).encode()), Content_Encoding="gzip"
    ),
    "another type": body(lambda ward, path: {"resourceType": "Basic", "id": "zzcanary-1"}),
    "a Bundle of another type": body(
        lambda ward, path: ward.bundle({"resourceType": "Basic", "id": "zzcanary-1"})
    ),
    "words as type": body(lambda ward, path: {"resourceType": ["Patient"]}),
    "an OperationOutcome": body(lambda ward, path: {"resourceType": "OperationOutcome", "issue": []}),
    "a Bundle of words": body(lambda ward, path: {"resourceType": "Bundle", "entry": ["zzcanary"]}),
    "another patient": body(about(other_patient)),
    "nobody": body(about(nobody)),
}
TAKING_TIME = {"hang": hang, "drip": drip, "drip of a head": drip_of_a_head, "flood": flood}
# Searches go on for ever, but what is needed is on the first page: a card, which says that a part was not seen.
PAGES = {"endless pages": endless_pages, "pages in a ring": pages_in_a_ring}


@pytest.fixture
def ask_all(ward, ehr_of):
    """ask_all(fault, ..., budget_s=) -> service -> (status, body) and the EHR; all services at the same time."""
    clients = []

    def ask(fault, *, honest_about=(), services=SERVICES, budget_s=20.0, limits=LIMITS):
        def act(path, send):
            return (good if any(part in path for part in honest_about) else faulty)(path, send)

        ehr = ehr_of(act)
        ward.base = ehr.base
        faulty, good = fault(ward), HONEST(ward)
        reader = FhirClient([AllowedServer(ehr.base, Network.LOOPBACK)], limits=limits)
        clients.append(reader)
        client = ward.client(fhir=reader, budget_s=budget_s)
        granted = {
            "access_token": ward.token,
            "token_type": "Bearer",
            "expires_in": 300,
            "scope": "x",
            "subject": "c",
        }

        def one(service):
            call = ward.call(service, prefetch={}, fhirServer=ehr.base, fhirAuthorization=granted)
            return client.post(f"/cds-services/{service}", json=call)

        with ThreadPoolExecutor() as threads:
            return dict(zip(services, threads.map(one, services), strict=True)), ehr

    yield ask
    for one in clients:
        one.close()


def check_refusal(answer, *statuses):
    assert answer.status_code in statuses, answer.text
    outcome = answer.get_json()
    assert outcome["resourceType"] == "OperationOutcome"
    assert "cards" not in outcome
    assert not {word for word in ("zzcanary", "quillon", "127.0.0.1") if word in answer.text.lower()}
    if answer.status_code == 412:
        assert all(where.startswith("prefetch.") for where in outcome["issue"][0]["expression"])


def test_an_honest_ehr_gives_every_service_its_card_and_is_shown_the_token(ask_all):
    answers, ehr = ask_all(HONEST)
    for answer in answers.values():
        assert answer.status_code == 200, answer.text
        assert answer.get_json()["cards"]
    assert ehr.tokens


@pytest.mark.parametrize("fault", WHOLE)
def test_without_the_patient_every_service_is_412(ask_all, fault):
    answers, _ = ask_all(WHOLE[fault])
    for answer in answers.values():
        check_refusal(answer, 412)


@pytest.mark.parametrize("fault", WHOLE)
def test_with_the_patient_alone_a_service_that_needs_more_is_412(ask_all, fault):
    answers, _ = ask_all(WHOLE[fault], honest_about=["Patient/"])
    for service, answer in answers.items():
        if service in ONLY_PATIENT:
            assert (answer.status_code, len(answer.get_json()["cards"])) == (200, 1), answer.text
        else:
            check_refusal(answer, 412)


@pytest.mark.parametrize("honest_about", [[], ["Patient/"]], ids=["all of it", "the searches"])
@pytest.mark.parametrize("fault", TAKING_TIME)
@pytest.mark.timed
def test_an_ehr_that_takes_its_time_costs_the_time_of_the_call_and_not_more(ask_all, fault, honest_about):
    began = time.monotonic()
    services = [one for one in SERVICES if not honest_about or one not in ONLY_PATIENT]
    answers, _ = ask_all(TAKING_TIME[fault], honest_about=honest_about, services=services, budget_s=0.4)
    assert time.monotonic() - began < 2.5
    for answer in answers.values():
        check_refusal(answer, 412, 503)


@pytest.mark.parametrize("fault", PAGES)
def test_pages_without_an_end_are_left_and_the_card_says_so(ask_all, fault):
    answers, ehr = ask_all(PAGES[fault])
    assert len(ehr.asked) < 200
    for service, answer in answers.items():
        assert answer.status_code == 200, answer.text
        (card,) = answer.get_json()["cards"]
        assert service in ONLY_PATIENT or "not seen" in card["detail"] or "only a part" in card["detail"]


def test_a_next_page_at_another_server_is_not_asked_for(ask_all):
    answers, _ = ask_all(a_page_elsewhere)
    for service, answer in answers.items():
        if service in ONLY_PATIENT:
            assert answer.get_json()["cards"]
        else:
            check_refusal(answer, 412)


def test_an_answer_that_is_too_large_is_not_taken(ask_all):
    answers, _ = ask_all(
        body(lambda ward, path: ward.record(path) | {"x": "y" * 70_000}), limits=Limits(body_bytes=65_536)
    )
    for answer in answers.values():
        check_refusal(answer, 412)


@pytest.mark.parametrize("fault", ["500", "reset", "a Bundle of another type", "not UTF-8", "an OperationOutcome"])
def test_what_a_card_can_do_without_is_named_on_it_when_the_ehr_does_not_give_it(ask_all, fault):
    answers, _ = ask_all(WHOLE[fault], honest_about=["Patient/", NEEDED], services=["diabetes-risk"])
    (card,) = answers["diabetes-risk"].get_json()["cards"]
    seen = card["detail"].partition("not seen")[2]
    for key in ("waist", "blood-pressure", "glucose", "insulin", "health-and-habits", "family-history"):
        assert key in seen


@pytest.mark.timed
def test_what_comes_too_late_is_named_on_the_card(ask_all):
    answers, _ = ask_all(hang, honest_about=["Patient/", NEEDED], services=["diabetes-risk"], budget_s=1.0)
    (card,) = answers["diabetes-risk"].get_json()["cards"]
    assert "did not answer in time" in card["detail"]
