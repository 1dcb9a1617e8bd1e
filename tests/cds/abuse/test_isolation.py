"""One caller, and one EHR, that is slow: the others are answered as if they were alone."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from cds.bulkhead import Bulkhead
from cds.caller import Caller
from cds.circuit import Circuits, GuardedReader
from fhir_adapters.allow_list import AllowedServer, Network
from fhir_adapters.client import FhirClient

PLACES = 8
BUDGET_S = 0.6
SOON_S = 0.5


@dataclass
class ByHeader:
    """A door that believes what a header says."""

    def admit(self, headers, url, peer=""):
        return Caller(f"https://{headers['X-Who']}.example", headers["X-Who"])

    def warm(self):
        pass


@pytest.fixture
def hospital(ward, ehr_of):
    """(client of an app with PLACES places for two callers, base of an EHR that hangs)."""
    ehr = ehr_of(lambda path, send: time.sleep(3))
    reader = FhirClient([AllowedServer(ehr.base, Network.LOOPBACK)])
    context = {"fhir": reader, "budget_s": BUDGET_S, "bulkhead": Bulkhead(PLACES, callers=2), "door": ByHeader()}
    yield ward.client(**context), ehr.base
    reader.close()


def ask(client, who, body):
    began = time.monotonic()
    answer = client.post("/cds-services/imaging-findings", json=body, headers={"X-Who": who})
    return answer, time.monotonic() - began


@pytest.mark.slow
@pytest.mark.timed
def test_a_caller_whose_ehr_hangs_leaves_places_for_the_others_and_hears_when_to_come_back(ward, hospital):
    client, base = hospital
    slow, good = ward.call("imaging-findings", prefetch={}, fhirServer=base), ward.call("imaging-findings")
    with ThreadPoolExecutor(40) as threads:
        list(threads.map(lambda _: ask(client, "slow", slow), range(4)))  # now he is known to be slow
        waiting = [threads.submit(ask, client, "slow", slow) for _ in range(3 * PLACES)]
        time.sleep(0.2)
        others = [ask(client, "other", good) for _ in range(6)]
        answers = [one.result() for one in waiting]
    assert [answer.status_code for answer, _ in others] == [200] * 6
    assert all(answer.get_json()["cards"] for answer, _ in others)
    assert max(took for _, took in others) < SOON_S
    statuses = [answer.status_code for answer, _ in answers]
    assert set(statuses) == {412, 503}
    assert statuses.count(412) < PLACES
    turned_away = [(answer, took) for answer, took in answers if answer.status_code == 503]
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer, _ in turned_away)
    assert max(took for _, took in answers) < BUDGET_S + 2


@pytest.mark.slow
def test_an_ehr_that_hangs_is_soon_not_waited_for_and_another_is_asked_all_the_same(ward, ehr_of):
    hanging = ehr_of(lambda path, send: time.sleep(3))
    good = ehr_of(lambda path, send: send(ward.http(ward.record(path))))
    client = FhirClient([AllowedServer(one.base, Network.LOOPBACK) for one in (hanging, good)])
    app = ward.client(fhir=GuardedReader(client, Circuits("ehr")), budget_s=BUDGET_S)

    def call(ehr):
        began = time.monotonic()
        body = ward.call("imaging-findings", prefetch={}, fhirServer=ehr.base)
        return app.post("/cds-services/imaging-findings", json=body), time.monotonic() - began

    tries = []  # a machine that stands still for a whole budget makes a 503 of one, whatever the circuit is
    while len(tries) < 12 and not (tries and tries[-1][0].status_code == 412 and tries[-1][1] < SOON_S / 2):
        tries.append(call(hanging))
    assert {answer.status_code for answer, _ in tries} <= {412, 503}
    assert 3 <= len(tries) < 12  # it was waited for at first, and soon no more
    answered = ward.client(fhir=GuardedReader(client, Circuits("ehr")), budget_s=20.0)
    assert answered.post(
        "/cds-services/imaging-findings", json=ward.call("imaging-findings", prefetch={}, fhirServer=good.base)
    ).get_json()["cards"]
    client.close()


def test_calls_of_many_patients_at_the_same_time_never_cross(ward):
    """Each call is about a patient of its own; only the canary has a reading."""
    client = ward.client()
    barrier = threading.Barrier(8)

    def call(number):
        if number < 8:
            barrier.wait(30)
        body = ward.call("imaging-findings")
        if number % 2:
            body["context"]["patientId"] = f"p{number}"
            body["prefetch"]["patient"] = ward.patient | {
                "id": f"p{number}",
                "identifier": [{"system": "urn:oid:1.2.3", "value": f"OTHER-{number}"}],
            }
        return number, client.post("/cds-services/imaging-findings", json=body)

    with ThreadPoolExecutor(8) as threads:
        for number, answer in threads.map(call, range(60)):
            assert (number % 2 == 0) == bool(answer.get_json()["cards"])
