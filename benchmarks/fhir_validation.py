"""What it costs to judge one Observation, and to load what judges it.

    python -m benchmarks.fhir_validation

Processor time of this process. The check is all of it (structure, bindings, invariants, units, profiles), of a
laboratory value of 17 elements as benchmarks.fhir_api has it and of a heart rate, which a profile judges as well.
The import is of everything that `consilium web` imports; first is the first resource of a type, which reads the
definitions.
"""

import importlib
import json
import random
import statistics
import time

from benchmarks.timing import machine

CALLS, ROUNDS = 500, 7
PATIENT = {"reference": "Patient/p1"}
HEART_RATE = {
    "resourceType": "Observation",
    "status": "final",
    "category": [
        {
            "coding": [
                {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}
            ]
        }
    ],
    "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
    "subject": PATIENT,
    "effectiveDateTime": "2024-05-17T10:00:00Z",
    "valueQuantity": {"value": 72, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"},
}


def spent(call):
    """Return the processor time of one call in seconds."""
    began = time.process_time()
    call()
    return time.process_time() - began


def microseconds(call):
    """Return the median over rounds of what one call costs."""

    def many():
        for _ in range(CALLS):
            call()

    return round(statistics.median(spent(many) for _ in range(ROUNDS)) / CALLS * 1e6)


def main():
    """Import, judge, print one JSON object."""
    loaded = spent(lambda: importlib.import_module("consilium.app"))
    problems_of = importlib.import_module("fhir_adapters.validation").problems_of
    laboratory = importlib.import_module("benchmarks.fhir_api").observation(random.Random(1), 1)
    first = spent(lambda: problems_of(laboratory))
    for one in (laboratory, HEART_RATE):
        if found := problems_of(one):
            raise SystemExit(f"it is not sound: {found}")
    report = {
        "import_s": round(loaded, 2),
        "first_ms": round(first * 1000),
        "laboratory_us": microseconds(lambda: problems_of(laboratory)),
        "vital_sign_us": microseconds(lambda: problems_of(HEART_RATE)),
    }
    print(json.dumps(report | {"machine": machine()}))


if __name__ == "__main__":
    main()
