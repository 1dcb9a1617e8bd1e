"""The engine with its real client, against a FHIR server on loopback that is slow, pages, and remembers."""

import threading
import time

import pytest

from cds.client.fhir_mock import FhirMock
from cds.client.record import searchset
from cds.deadline import deadline_in
from cds.prefetch import PrefetchTemplate, State, gather
from cds.request import parse_request
from cds.testing import hook_body
from fhir_adapters.allow_list import AllowedServer, Network
from fhir_adapters.client import FhirClient

GRANT = {"access_token": "granted", "token_type": "Bearer", "expires_in": 60, "scope": "user/*.rs", "subject": "x"}
ORDERS = PrefetchTemplate("orders", "ServiceRequest?patient={{context.patientId}}", required=True)
REASONS = PrefetchTemplate(
    "reasons", "Condition?_id={{%orders.entry.resource.reasonReference.resolve().ofType(Condition).id}}"
)
HOME = PrefetchTemplate(
    "home", "Location?organization={{%orders.entry.resource.requester.resolve().organization.resolve().id}}"
)


def order(number):
    return {
        "resourceType": "ServiceRequest",
        "subject": {"reference": "Patient/p1"},
        "reasonReference": [{"reference": f"Condition/c{number}"}],
        "requester": {"reference": "PractitionerRole/r1"},
    }


class WaitingRecord:
    """What the server holds: query -> answer. before: query -> what it waits for before it answers."""

    def __init__(self):
        self.answers, self.before = {}, {}

    def answer(self, query):
        self.before.get(query, lambda: None)()
        return self.answers.get(query)


@pytest.fixture
def ehr():
    server = FhirMock(WaitingRecord())
    server.start()
    client = FhirClient([AllowedServer(server.base, Network.LOOPBACK)])
    server.client = client
    yield server
    client.close()
    server.stop()


def gathered(ehr, templates, seconds=60.0):
    request = parse_request(hook_body(prefetch={}, fhirServer=ehr.base, fhirAuthorization=GRANT))
    return gather(request, templates, ehr.client, deadline_in(seconds))


def test_keys_are_fetched_side_by_side(ehr):
    names = [f"k{number}" for number in range(6)]
    together = threading.Barrier(len(names), timeout=30)  # nobody is answered before all have asked
    ehr.record.answers = {f"Basic/{name}": {"resourceType": "Basic", "id": name} for name in names}
    ehr.record.before = {f"Basic/{name}": together.wait for name in names}
    found = gathered(ehr, [PrefetchTemplate(name, f"Basic/{name}") for name in names])
    assert [found[name].value["id"] for name in names] == names


@pytest.mark.timed
def test_an_optional_key_that_hangs_is_left_out_and_the_rest_is_there_in_time(ehr):
    hangs = threading.Event()
    ehr.record.answers = {"ServiceRequest?patient=p1": searchset([order(1)])}
    ehr.record.before = {"Basic/slow": lambda: hangs.wait(20)}
    started = time.monotonic()
    try:
        found = gathered(ehr, [ORDERS, PrefetchTemplate("slow", "Basic/slow")], seconds=0.7)
        took_s = time.monotonic() - started
    finally:
        hangs.set()
    assert (found["orders"].state, found["slow"].state, found["slow"].late) == (State.COMPLETE, State.ABSENT, True)
    assert took_s < 5  # and not the 20 s that the server takes


def test_what_depends_on_a_paged_answer_reads_all_of_its_pages(ehr):
    ehr.behaviour.page_size = 2
    reasons = [
        {"resourceType": "Condition", "id": f"c{n}", "subject": {"reference": "Patient/p1"}} for n in range(5)
    ]
    ehr.record.answers = {
        "ServiceRequest?patient=p1": searchset([order(number) for number in range(5)]),
        "Condition?_id=c0%2Cc1%2Cc2%2Cc3%2Cc4": searchset(reasons),
        "PractitionerRole?_id=r1": searchset([{"resourceType": "PractitionerRole", "id": "r1"}]),
    }
    found = gathered(ehr, [REASONS, ORDERS, HOME])
    assert [len(list(found[key].resources())) for key in ("orders", "reasons")] == [5, 5]
    assert found["home"].state is State.ABSENT
    kinds = [asked.query.partition("?")[0] for asked in ehr.asked()]
    assert sorted(kinds) == ["Condition"] * 3 + ["PractitionerRole"] + ["ServiceRequest"] * 3
    assert {asked.token for asked in ehr.asked()} == {"granted"}
