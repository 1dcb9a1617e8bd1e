"""kill -9 of the HL7 v2 process: what was acknowledged is there, and each message whole or not at all."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from sqlalchemy import select

from clinical.errors import Busy
from fhir_adapters.hl7v2.client import sender
from fhir_adapters.hl7v2.testing import RESULT, raw
from record_store.database import open_database
from record_store.tables import hl7_message, resource

pytestmark = pytest.mark.slow
KILLS, PEERS = 2, 4


@contextlib.contextmanager
def hl7_process(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    told, telling = os.pipe()
    environ = {**os.environ, "CONSILIUM_STATUS_FD": str(telling), "CONSILIUM_LOG_LEVEL": "ERROR"}
    command = [sys.executable, "-m", "consilium", "hl7", "--hl7-port", "0", "--data-dir", str(folder)]
    process = subprocess.Popen(command, env=environ, pass_fds=(telling,))
    os.close(telling)
    try:
        with os.fdopen(told) as reports:
            yield process, json.loads(reports.readline())["port"]
    finally:
        process.kill()
        process.wait()


def test_what_was_acknowledged_survives_a_kill_and_every_message_is_whole(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    sent: dict[str, bytes] = {}
    moments = random.Random(7)
    for round_ in range(KILLS):
        with hl7_process(tmp_path) as (process, port):

            def send(peer: int, round_: int = round_, port: int = port) -> None:
                with contextlib.suppress(Busy), sender("127.0.0.1", port, timeout_s=5) as connection:
                    for number in range(10_000):
                        control = f"K{round_}-{peer}-{number}"
                        text = RESULT.replace("F88^LAB", f"{control}^LAB").replace("P77^ORDERS", "")
                        sent[control] = raw(text, control=control)
                        if connection.send(sent[control]).code == "AA":
                            acknowledged.append(control)

            threads = [threading.Thread(target=send, args=(peer,)) for peer in range(PEERS)]
            for thread in threads:
                thread.start()
            enough, deadline = len(acknowledged) + moments.randint(8, 24), time.monotonic() + 20
            while len(acknowledged) < enough and time.monotonic() < deadline:
                time.sleep(0.003)
            os.kill(process.pid, signal.SIGKILL)
            for thread in threads:
                thread.join()
    assert len(acknowledged) >= 8 * KILLS
    db = open_database(f"sqlite:///{tmp_path / 'consilium.db'}")
    with db.read() as conn:
        kept = dict(conn.execute(select(hl7_message.c.control_id, hl7_message.c.state)).all())
        found = [
            (kind, orjson.loads(body)) for kind, body in conn.execute(select(resource.c.type, resource.c.body))
        ]
    db.dispose()
    assert set(acknowledged) <= {control for control, state in kept.items() if state == "stored"}
    reports = [body for kind, body in found if kind == "DiagnosticReport"]
    assert len(reports) == len(kept)
    ids = {f"{kind}/{body['id']}" for kind, body in found}
    told = [one["reference"] for body in reports for one in body["result"]]
    assert len(told) == 5 * len(reports)
    assert set(told) <= ids
    assert len([kind for kind, _ in found if kind == "Provenance"]) == len(kept)
    assert len([kind for kind, _ in found if kind == "Patient"]) == 1
    # A sender that was not answered sends again: nothing is there twice.
    with hl7_process(tmp_path) as (_, port), sender("127.0.0.1", port) as connection:
        assert {connection.send(sent[control]).code for control in list(sent)[-2 * PEERS :]} == {"AA"}
