"""How quick are FHIR search and create? 20,000 Observations of 400 patients and 12 codes.

    python benchmarks/fhir_search.py [--observations N] [--postgres URL]

Prints one JSON object. Budget (DESIGN section 9): patient + code + _sort=-date, p95 <= 5 ms.
The database is a temporary SQLite file with the server's settings (WAL, synchronous=FULL) unless an empty
PostgreSQL database is given.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
from flask import Flask
from sqlalchemy import text

from fhir_adapters.publish import publish
from fhir_adapters.rest import Fhir, blueprint
from record_store.database import open_database
from record_store.migrate import migrate

START = datetime(2024, 1, 1, tzinfo=UTC)
CODES = [f"{number}-{number % 10}" for number in range(8860, 8872)]
PATIENTS = 400
LOINC = "http://loinc.org"


def observation(rng, number):
    taken = START + timedelta(minutes=rng.randrange(2 * 365 * 24 * 60))
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "category": [{"coding": [{"system": "http://hl7.org/fhir/observation-category", "code": "vital-signs"}]}],
        "code": {"coding": [{"system": LOINC, "code": rng.choice(CODES), "display": "a vital sign"}]},
        "subject": {"reference": f"Patient/p{rng.randrange(PATIENTS)}"},
        "effectiveDateTime": taken.isoformat(),
        "valueQuantity": {"value": 72.5, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"},
    }


def quantiles(samples):
    ordered = sorted(samples)
    at = {"p50_ms": 0.50, "p95_ms": 0.95, "p99_ms": 0.99}
    return {name: round(ordered[int(len(ordered) * share)] * 1e3, 3) for name, share in at.items()}


def timed(client, urls):
    """Wall time, and the CPU time of the serving thread: they differ when the machine is busy with others."""
    samples, cpu = [], []
    for url in urls:
        began, worked = time.perf_counter(), time.thread_time()
        reply = client.get(url)
        samples.append(time.perf_counter() - began)
        cpu.append(time.thread_time() - worked)
        assert reply.status_code == 200, reply.data
    return quantiles(samples) | {"per_s": round(1 / statistics.mean(samples)), "cpu": quantiles(cpu)}


def measure(db, count):
    rng = random.Random(7)
    began = time.perf_counter()
    for first in range(0, count, 100):
        with db.write() as conn:
            publish(conn, [observation(rng, first + each) for each in range(min(100, count - first))], START)
            if first == 1000 and db.dialect == "postgresql":
                # As autovacuum does within a minute; without statistics plans of empty tables stay in use.
                conn.execute(text("ANALYZE"))
    loaded_s = time.perf_counter() - began

    app = Flask("bench")
    fhir = Fhir(db, lambda: datetime.now(UTC), lambda: uuid.uuid4().hex, b"k" * 32, "http://127.0.0.1/fhir")
    app.register_blueprint(blueprint(fhir))
    client = app.test_client()

    def hot(extra=""):
        return (
            f"/fhir/Observation?patient=p{rng.randrange(PATIENTS)}&code={LOINC}|{rng.choice(CODES)}"
            f"&_sort=-date&_count=50{extra}"
        )

    list(map(client.get, [hot() for _ in range(50)]))  # statements compiled, pages read
    result = {
        "database": db.dialect,
        "observations": count,
        "publish_100_per_transaction_per_s": round(count / loaded_s),
        "patient_code_sort_date": timed(client, [hot() for _ in range(2000)]),
        "patient_code_date_range": timed(client, [hot("&date=ge2025") for _ in range(1000)]),
        "patient_sort_date": timed(
            client, [f"/fhir/Observation?patient=p{rng.randrange(PATIENTS)}&_sort=-date" for _ in range(500)]
        ),
        "code_sort_date": timed(
            client, [f"/fhir/Observation?code={LOINC}|{rng.choice(CODES)}&_sort=-date" for _ in range(100)]
        ),
        "read": timed(client, [f"/fhir/Observation/o{rng.randrange(count)}" for _ in range(1000)]),
    }
    bodies = [orjson.dumps(observation(rng, each)) for each in range(500)]
    began = time.perf_counter()
    for body in bodies:
        assert client.post("/fhir/Observation", data=body, content_type="application/fhir+json").status_code == 201
    result["create_one_commit_each_per_s"] = round(len(bodies) / (time.perf_counter() - began))
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--observations", type=int, default=20_000)
    parser.add_argument("--postgres", help="URL of an empty database")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        db = open_database(given.postgres or f"sqlite:///{Path(folder) / 'bench.db'}")
        migrate(db)
        print(json.dumps(measure(db, given.observations), indent=2))
        db.dispose()


if __name__ == "__main__":
    main()
