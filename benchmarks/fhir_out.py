"""What leaves the store: a bulk export, a research export, and a backup that is restored while others write.

    python -m benchmarks.fhir_out --resources 20000 [--json]

Makes its own store of so many Observations in a folder that it removes. Seconds are by the wall; `cpu` is the
processor time of this process, the writer's included where it says so.
"""

import argparse
import json
import resource as limits
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from clinical.clock import utc_now
from consilium.backing_up import backup, restore
from consilium.researching import BOTH, NDJSON, export_for_research
from consilium.settings import load_settings
from consilium.wiring import House
from fhir_adapters.bulk.making import Exporter
from fhir_adapters.publish import publish
from record_store import exports
from record_store.migrate import migrate

BATCH = 200
LOINC = "http://loinc.org"


def observation(number: int) -> dict:
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "category": [
            {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "exam"}]}
        ],
        "code": {"coding": [{"system": LOINC, "code": "8867-4", "display": "Heart rate"}]},
        "subject": {"reference": f"Patient/p{number % 100}"},
        "effectiveDateTime": f"2025-{1 + number % 12:02d}-{1 + number % 28:02d}T08:00:00Z",
        "valueQuantity": {"value": 60 + number % 60, "system": "http://unitsofmeasure.org", "code": "/min"},
    }


def fill(house: House, count: int) -> None:
    people = [{"resourceType": "Patient", "id": f"p{n}", "birthDate": f"19{n:02d}-05-01"} for n in range(100)]
    with house.db.write(durable=False) as conn:
        publish(conn, people, utc_now())
    for start in range(0, count, BATCH):
        with house.db.write(durable=False) as conn:
            publish(conn, [observation(n) for n in range(start, min(start + BATCH, count))], utc_now())


@contextmanager
def writer(house: House) -> Iterator[list[float]]:
    """Write two resources in a transaction again and again; yields how long each took."""
    stop, took = threading.Event(), []

    def write() -> None:
        number = 0
        while not stop.wait(0.01):
            began = time.perf_counter()
            with house.db.write(durable=False) as conn:
                publish(conn, [observation(10**7 + number + side) for side in (0, 1)], utc_now())
            took.append(time.perf_counter() - began)
            number += 2

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield took
    finally:
        stop.set()
        thread.join()


def timed(work: Callable[[], object]) -> dict[str, float]:
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return {"seconds": round(time.perf_counter() - began, 2), "cpu": round(time.process_time() - cpu, 2)}


def quiet(_what: str, _done: int, _total: int) -> None:
    """Show nothing."""


def measure(folder: Path, count: int) -> dict:
    settings = load_settings(data_dir=folder / "one", pseudonym_key="s" * 32)
    house = House(settings)
    migrate(house.db)
    assert house.key
    fill(house, count)
    found: dict = {"resources": count}
    asked = {
        "level": "system",
        "types": [],
        "since": "",
        "filters": [],
        "patients": None,
        "group": "",
        "ignored": [],
    }
    with house.db.write() as conn:
        exports.ask(conn, "e1", "", "http://h/fhir/$export", asked | {"grant": None}, utc_now())
    exporter = Exporter(house.db, house.blobs, utc_now, "http://h/fhir", "w", lambda: False, settle_s=0)
    found["bulk export"] = timed(exporter.once)

    def research(form: str) -> None:
        given = {"name": "r", "types": (), "form": form, "systems": (), "by": "bench", "progress": quiet}
        export_for_research(settings, folder / form, **given)

    found["research export, NDJSON"] = timed(lambda: research(NDJSON))
    found["research export, NDJSON and Parquet"] = timed(lambda: research(BOTH))
    with writer(house) as took:
        found["backup (with the writer's)"] = timed(lambda: backup(settings, folder / "backup", None, quiet))
        meanwhile = len(took)
    found["backup (with the writer's)"] |= {
        "transactions meanwhile": meanwhile,
        "longest of them": round(max(took), 3),
    }
    other = load_settings(data_dir=folder / "two")
    found["restore"] = timed(lambda: restore(other, folder / "backup", None, quiet))
    house.db.dispose()
    found["resident MB"] = limits.getrusage(limits.RUSAGE_SELF).ru_maxrss // 1024
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resources", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), given.resources)
    if given.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:<40} {value}")


if __name__ == "__main__":
    main()
