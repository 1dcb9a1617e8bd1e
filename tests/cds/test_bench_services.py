"""The benchmark services answer what they say, through the real engine, and only where they are asked for."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cds.services import SERVICES, bench
from cds.testing import hook_body
from cds.wire_schema.testing import problems
from model_runtime.engine import LocalEngine

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


class Watched(LocalEngine):
    """The engine of the slow one. asked: released by who asks. runs: seconds of each, none ended before `go`."""

    def __init__(self):
        watched, self.asked, self.go, self.runs = self, threading.Semaphore(0), threading.Event(), []

        class Timed(bench.SlowLibrary):
            def verify(self, *args):
                session = super().verify(*args)
                run = session.run

                def timed(inputs):
                    assert watched.go.wait(20)
                    started = time.monotonic()
                    outputs = run(inputs)
                    watched.runs.append(time.monotonic() - started)
                    return outputs

                session.run = timed
                return session

        super().__init__(Timed(bench.MODELS))

    def run(self, *args, **more):
        self.asked.release()
        return super().run(*args, **more)


def test_the_slow_one_takes_fifty_milliseconds_alone_and_together(make_client, post):
    engine = Watched()
    engine.warm(bench.SLOW)
    client, body = make_client(bench.services(engine)), hook_body(hook="order-sign", context=SIGN)
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(post, client, bench.SLOW, body) for _ in range(8)]
        for _ in asking:
            assert engine.asked.acquire(timeout=20)
        engine.go.set()
        answers = {one.result().json["cards"][0]["summary"] for one in asking}
    assert answers == {"A model of 50 ms answered 0.250"}
    assert min(engine.runs) >= bench.RUN_S
    # The first alone and the others together, or nearly so: they were asked, and may not all have queued up.
    assert len(engine.runs) <= 4
