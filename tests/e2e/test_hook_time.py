"""Time, seen from outside: no floor of forty milliseconds, and one caller's hanging EHR is not others' matter."""

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.cds_hooks import BASE, cases, ours
from benchmarks.hook_driver import Target, measure, request
from cds.circuit import FAILURES
from cds.client.keys import new_key, public_set
from cds.client.tokens import Client, mint
from cds.testing import hook_body
from clinical.clock import utc_now

pytestmark = pytest.mark.slow


@pytest.mark.timed
def test_several_workers_have_no_floor_of_forty_milliseconds(tmp_path: Path) -> None:
    """Header and body in two writes, Nagle and a delayed ACK make 44 ms of every call (reference, 2.3).

    Without that it is 1 to 3 ms; the bound leaves room for a busy machine. What others do in one second and a
    half is no floor, so the quickest of up to four measurements counts.
    """
    with (tmp_path / "log").open("wb") as log, ours(tmp_path / "data", 2, log) as port:
        message = request("/cds-services/bench-static", cases()[0].body)
        medians = (measure(Target(port, [message]), 1, 1.5).p50_ms for _ in range(4))
        assert any(median < 20 for median in medians)


@contextmanager
def hanging_ehr() -> Iterator[tuple[int, list[socket.socket]]]:
    """Yield the port of a server that takes every connection and never says a word, and its connections."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        held: list[socket.socket] = []
        ended = threading.Event()

        def take() -> None:
            while not ended.is_set():
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return

        taker = threading.Thread(target=take, daemon=True)
        taker.start()
        yield listener.getsockname()[1], held
        ended.set()
        for link in held:
            link.close()


def issuers(folder: Path, ehr_port: int) -> tuple[Path, Client, Client]:
    """Write a file of two issuers, of whom the first has the EHR that hangs."""
    clients, entries = [], []
    for name, more in (
        ("slow", f'network = "loopback"\nfhir_bases = ["http://127.0.0.1:{ehr_port}/fhir"]\n'),
        ("other", ""),
    ):
        client = Client(f"https://{name}.example", new_key("RS384", name), utc_now)
        keys = folder / f"{name}.json"
        keys.write_text(json.dumps(public_set([client.key])))
        entries.append(f'[[issuer]]\nname = "{name}"\niss = "{client.iss}"\nkeys_file = "{keys}"\n{more}')
        clients.append(client)
    file = folder / "issuers.toml"
    file.write_text("\n".join(entries))
    return file, clients[0], clients[1]


def call(port: int, service: str, body: bytes, client: Client) -> int:
    """Return the status of one call."""
    path = f"/cds-services/{service}"
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body)
    asked.add_header("Content-Type", "application/json")
    asked.add_header("Authorization", f"Bearer {mint(client, BASE + path)}")
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            answer.read()
            return answer.status
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


def test_while_one_callers_ehr_hangs_the_others_are_answered(tmp_path: Path) -> None:
    order = {
        "resourceType": "ServiceRequest",
        "id": "o1",
        "status": "draft",
        "intent": "order",
        "subject": {"reference": "Patient/p1"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "36643-5"}]},
    }
    drafts = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": order}]}
    with hanging_ehr() as (ehr, connections), (tmp_path / "log").open("wb") as log:
        file, slow, other = issuers(tmp_path, ehr)
        context = {"userId": "Practitioner/d1", "patientId": "p1", "draftOrders": drafts}
        server = {"fhirServer": f"http://127.0.0.1:{ehr}/fhir"}
        waits = json.dumps(hook_body(hook="order-sign", context=context, **server)).encode()
        quick = cases()[0].body
        # On a busy machine half a second may be over before the quick service is reached.
        patient = {"HOOK_BUDGETS": json.dumps({"patient-view": 20_000})}
        with ours(tmp_path / "data", 1, log, file, **patient) as port, ThreadPoolExecutor(40) as pool:
            assert call(port, "bench-static", quick, other) == 200
            stuck = [pool.submit(call, port, "order-imaging", waits, slow) for _ in range(40)]
            answered = {call(port, "bench-static", quick, other) for _ in range(30)}
            statuses = {future.result() for future in stuck}
            # The EHR's circuit is open by now: it is called by a try in each pause, and else costs nobody time.
            called = len(connections)
            afterwards = {call(port, "order-imaging", waits, slow) for _ in range(10)}
            tries = len(connections) - called
    assert answered == {200}
    # Never 200: no guidance that could not be worked out is "no cards".
    assert statuses | afterwards <= {412, 503}
    assert called >= FAILURES
    assert tries <= 2
