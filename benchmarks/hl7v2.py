"""How many HL7 v2 messages a second does `consilium hl7` store and acknowledge?

    python -m benchmarks.hl7v2 [--messages N] [--peers N] [--database URL]

Half of them ORU^R01 with five results, a quarter ADT^A01, a quarter OMI^O23, of 200 patients; each peer waits
for an answer before its next message. Wall time is of a machine that others use too: the processor time of
the receiving process for each message says what it costs. Everything that was acknowledged is then looked for
in the database. Budget (reference/fhir.md, goal 29): 300 messages a second.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

from sqlalchemy import func, select

from benchmarks.cds_hooks import cpu_s
from fhir_adapters.hl7v2.client import sender
from fhir_adapters.hl7v2.testing import ADMISSION, ORDER, RESULT, raw
from record_store.database import open_database
from record_store.tables import hl7_message, resource

PATIENTS = 200


def message(number):
    """Return the message of a number: another patient, visit, order and result."""
    text = (RESULT, ADMISSION, ORDER, RESULT)[number % 4]
    patient = str(100_000 + number % PATIENTS)
    for name, value in (
        ("4711", patient), ("756.1234.5678.97", f"756.{patient}"), ("V100", f"V{patient}"), ("F88", f"F{number}"),
        ("P77", f"P{number}"), ("P90", f"Q{number}"), ("F91", f"G{number}"), ("ACC500", f"A{number}"),
    ):  # fmt: skip
        text = text.replace(name, value)
    return raw(text, control=f"C{number}")


@contextlib.contextmanager
def listening(folder, database):
    """Run `consilium hl7` and yield its process and port."""
    told, telling = os.pipe()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CONSILIUM_")}
    environ |= {
        "CONSILIUM_STATUS_FD": str(telling),
        "CONSILIUM_LOG_LEVEL": "ERROR",
        "CONSILIUM_PATIENT_ISSUERS": '{"GENERAL": "urn:oid:1.2.3"}',
    }
    if database:
        environ["CONSILIUM_DATABASE_URL"] = database
    command = [sys.executable, "-m", "consilium", "hl7", "--hl7-port", "0", "--data-dir", folder]
    process = subprocess.Popen(command, env=environ, pass_fds=(telling,))
    os.close(telling)
    try:
        with os.fdopen(told) as reports:
            yield process, json.loads(reports.readline())["port"]
    finally:
        process.terminate()
        process.wait(20)


def measure(process, port, messages, peers):
    """Send the messages over so many connections; return figures and the control ids that were accepted."""
    took, accepted = [], []

    def send(own):
        with sender("127.0.0.1", port) as connection:
            for one in own:
                began = time.perf_counter()
                answer = connection.send(one)
                took.append(time.perf_counter() - began)
                if answer.accepted:
                    accepted.append(answer.control_id)

    threads = [threading.Thread(target=send, args=(messages[at::peers],)) for at in range(peers)]
    began, used = time.perf_counter(), cpu_s(process.pid)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, used = time.perf_counter() - began, cpu_s(process.pid) - used
    took.sort()
    figures = {
        "peers": peers,
        "messages": len(messages),
        "accepted": len(accepted),
        "messages_per_s": round(len(messages) / seconds, 1),
        "messages_per_processor_s": round(len(messages) / used, 1),
        "p50_ms": round(took[len(took) // 2] * 1e3, 1),
        "p95_ms": round(took[int(len(took) * 0.95)] * 1e3, 1),
    }
    return figures, accepted


def main():
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=4000)
    parser.add_argument("--peers", type=int, default=16)
    parser.add_argument("--database", help="an empty PostgreSQL database instead of SQLite")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, listening(folder, asked.database) as (process, port):
        measure(process, port, [message(number) for number in range(200)], asked.peers)  # warm
        many, accepted = measure(
            process, port, [message(number) for number in range(200, asked.messages + 200)], asked.peers
        )
        start = asked.messages + 1000
        few, more = measure(process, port, [message(number) for number in range(start, start + 400)], 1)
        db = open_database(asked.database or f"sqlite:///{folder}/consilium.db")
        with db.read() as conn:
            stored = set(
                conn.execute(select(hl7_message.c.control_id).where(hl7_message.c.state == "stored")).scalars()
            )
            resources = conn.execute(select(func.count()).select_from(resource)).scalar_one()
        db.dispose()
    lost = len({*accepted, *more} - stored)
    print(
        json.dumps(
            {"many": many, "one": few, "resources": resources, "acknowledged_and_not_stored": lost}, indent=1
        )
    )
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
