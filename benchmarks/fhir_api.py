"""How fast the FHIR API is, over HTTP: read by id, searches, creates, transactions. SQLite, or PostgreSQL by URL.

    python -m benchmarks.fhir_api [--observations 20000] [--seconds 4] [--workers 1] [--postgres URL] [--json]

`consilium web` as it is shipped (audit of every access included), filled with Observations of 400 patients through
its own transactions, which is the measure of ingest. Figures are of this machine and minute; `cpu` is the server's
processor time for one request, so 1000 / cpu is what one core that does nothing else can answer. Published figures
of others, on other machines, stand beside it and are no comparison: Blaze imports about 630 resources a second and
core (16 cores), Medplum answers 347 authenticated reads a second and vCPU (60 vCPU).
"""

import argparse
import json
import random
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks import cds_hooks
from benchmarks.cds_hooks import PIDS, cpu_s
from benchmarks.hook_driver import Target, measure
from benchmarks.timing import machine
from record_store.database import open_database
from tests.ports import free_port

PATIENTS, BUNDLE = 400, 100
START = datetime(2024, 1, 1, tzinfo=UTC)
CODES = [f"{number}-{number % 10}" for number in range(2000, 2012)]
BLAZE_IMPORT_PER_CORE = 630


@dataclass(frozen=True)
class Case:
    """One thing to measure. messages: HTTP requests, sent in turns when there are several."""

    title: str
    messages: list[bytes]
    connections: int
    goal: str = ""


def message(method, path, body=b""):
    """Return one HTTP request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    if body:
        lines += ["Content-Type: application/fhir+json", f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def observation(rng, number):
    """Return an Observation of about 600 bytes under a laboratory code, with 17 elements."""
    taken = START + timedelta(minutes=rng.randrange(2 * 365 * 24 * 60))
    code = rng.choice(CODES)
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "category": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                        "code": "laboratory",
                    }
                ]
            }
        ],
        "code": {"coding": [{"system": "http://loinc.org", "code": code, "display": "A quantity"}]},
        "subject": {"reference": f"Patient/p{rng.randrange(PATIENTS)}"},
        "effectiveDateTime": taken.isoformat(),
        "valueQuantity": {
            "value": round(rng.uniform(50, 200), 1),
            "unit": "mg/dL",
            "system": "http://unitsofmeasure.org",
            "code": "mg/dL",
        },
        "identifier": [{"system": "urn:oid:1.2.3.4", "value": str(number)}],
    }


def transaction(resources):
    """Return a transaction that puts the resources."""
    entries = [
        {"resource": one, "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"}}
        for one in resources
    ]
    return json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}).encode()


def fill(port, count):
    """Write patients and Observations in transactions; return (resources a second, ms of processor time each)."""
    rng = random.Random(1)
    patients = [{"resourceType": "Patient", "id": f"p{number}", "gender": "female"} for number in range(PATIENTS)]
    made = [observation(rng, number) for number in range(count)]
    bundles = [transaction(made[first : first + BUNDLE]) for first in range(0, count, BUNDLE)]
    _post(port, transaction(patients))
    before, began = cpu_s(PIDS[port]), time.perf_counter()
    for number, one in enumerate(bundles, 1):
        _post(port, one)
        if number % 20 == 0:
            print(f"\r{number * BUNDLE:,} of {count:,} Observations", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return count / (time.perf_counter() - began), (cpu_s(PIDS[port]) - before) / count * 1000


def _post(port, body):
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/fhir", data=body, headers={"Content-Type": "application/fhir+json"}
    )
    with urllib.request.urlopen(asked, timeout=60) as answer:
        answer.read()


def cases(count):
    """Return what is measured once the store is full."""
    rng = random.Random(2)
    ids = [rng.randrange(count) for _ in range(40_000)]

    def found(parameters, connections=1, goal=""):
        def one():
            code, patient = rng.choice(CODES), rng.randrange(PATIENTS)
            return message("GET", "/fhir/Observation?" + parameters.format(code=code, patient=f"p{patient}"))

        return Case(parameters, [one() for _ in range(8_000)], connections, goal)

    creates = [
        {name: value for name, value in observation(rng, number).items() if name != "id"}
        for number in range(6_000)
    ]
    return [
        Case("read by id", [message("GET", f"/fhir/Observation/o{one}") for one in ids], 1),
        Case(
            "read by id",
            [message("GET", f"/fhir/Observation/o{one}") for one in ids],
            8,
            ">= 1,500 req/s per core",
        ),
        found("patient={patient}&code={code}&_sort=-date&_count=50", 1, "p95 <= 5 ms"),
        found("patient={patient}&code={code}&_sort=-date&_count=50", 8, ">= 400 req/s"),
        found("patient={patient}&category=laboratory&date=ge2025&_count=20"),
        found("code={code}&value-quantity=gt5.5||mmol/L&_count=20"),
        found("patient={patient}&_include=Observation:subject&_count=20"),
        found("subject:Patient.gender=female&code={code}&_count=20"),
        found("patient={patient}&_summary=count"),
        Case(
            "Patient/$everything",
            [
                message("GET", f"/fhir/Patient/p{number % PATIENTS}/$everything?_count=50")
                for number in range(4000)
            ],
            1,
        ),
        Case("create", [message("POST", "/fhir/Observation", json.dumps(one).encode()) for one in creates], 1),
    ]


def web(folder, workers, log, database):
    """Return the context of `consilium web`."""
    port = free_port()
    settings = {"DATA_DIR": str(folder), "HTTP_PORT": str(port), "WEB_WORKERS": str(workers), "LOW_WATER_MB": "0"}
    if database:
        settings["DATABASE_URL"] = database
    return cds_hooks.web(port, settings, log)


def measured(port, case, seconds):
    """Return the row of one case."""
    before = cpu_s(PIDS[port])
    want = b'"final"' if case.title in {"read by id", "create"} else b'"resourceType":"Bundle"'
    figure = measure(Target(port, case.messages, want), case.connections, seconds)
    cpu_ms = (cpu_s(PIDS[port]) - before) / figure.with_warm_up * 1000
    return {
        "case": case.title,
        "connections": case.connections,
        "per_s": round(figure.per_s, 1),
        "p50_ms": round(figure.p50_ms, 2),
        "p99_ms": round(figure.p99_ms, 2),
        "cpu_ms": round(cpu_ms, 3),
        "per_s_and_core": round(1000 / cpu_ms) if cpu_ms else None,
        "goal": case.goal,
    }


def main():
    """Fill, measure, print a line each, and one JSON object at the end when asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--observations", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--postgres", metavar="URL", help="an empty database; else SQLite in a temporary folder")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = stack.enter_context((folder / "web.log").open("wb"))
        port = stack.enter_context(web(folder / "data", given.workers, log, given.postgres))
        per_s, cpu_ms = fill(port, given.observations)
        ingest = {
            "per_s": round(per_s),
            "cpu_ms": round(cpu_ms, 3),
            "per_s_and_core": round(1000 / cpu_ms),
            "times_blaze_per_core": round(1000 / cpu_ms / BLAZE_IMPORT_PER_CORE, 2),
        }
        print(f"transactions of {BUNDLE}: {json.dumps(ingest)}", flush=True)
        if given.postgres:  # as its autovacuum does within a minute or two
            open_database(given.postgres).count_rows()
        rows = []
        for case in cases(given.observations):
            rows.append(measured(port, case, given.seconds))
            print(json.dumps(rows[-1]), flush=True)
    print(machine())
    if given.json:
        print(json.dumps({"ingest": ingest, "cases": rows, "machine": machine()}))


if __name__ == "__main__":
    main()
