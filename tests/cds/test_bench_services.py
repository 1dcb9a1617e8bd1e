"""The benchmark services answer what they say, through the real engine, and only where they are asked for."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cds.services import SERVICES, bench
from cds.testing import hook_body
from cds.wire_schema.testing import problems

ORDERS = {"resourceType": "Bundle", "type": "collection", "entry": []}
SIGN = {"userId": "Practitioner/d1", "patientId": "p1", "draftOrders": ORDERS}


@pytest.fixture
def client(make_client):
    return make_client(bench.services())


def test_they_are_not_among_the_services():
    assert not {service.id for service in SERVICES} & {bench.STATIC, bench.SLOW}


def test_the_static_one_answers_a_card(client, post):
    response = post(client, bench.STATIC, hook_body())
    assert problems("response", response.json) == []
    assert [card["summary"] for card in response.json["cards"]] == ["One fixed card"]


def test_the_slow_one_takes_fifty_milliseconds_alone_and_together(client, post):
    body = hook_body(hook="order-sign", context=SIGN)
    assert post(client, bench.SLOW, body).status_code == 200  # loads the model
    gate = threading.Barrier(8)

    def ask(_):
        gate.wait(5)
        return post(client, bench.SLOW, body).json["cards"][0]["summary"]

    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    took = time.monotonic() - started
    assert set(answers) == {"A model of 50 ms answered 0.250"}
    # The first alone and the others together; one after the other would be 0.4 s.
    assert 0.05 <= took < 0.35
