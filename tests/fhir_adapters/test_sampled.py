"""The range of a SampledData: what a search by value finds of a run."""

import pytest

from fhir_adapters.sampled import bounds_of

UCUM = "http://unitsofmeasure.org"


def run_of(data, **more):
    origin = {"value": 0, "system": UCUM, "code": "/min"}
    return {"origin": origin, "period": 60_000, "dimensions": 1, "data": data} | more


@pytest.mark.parametrize(
    ("run", "lo", "hi"),
    [
        (run_of("72 E 81 U 60 L"), 60, 81),
        (run_of("1 2 3", factor=0.5), 0.5, 1.5),
        (run_of("1 2 3", factor=-1), -3, -1),
        (run_of("1", origin={"value": 0.1, "system": UCUM, "code": "/min"}, factor=0.2), 0.3, 0.3),
    ],
)
def test_a_run_has_the_range_of_its_values(run, lo, hi):
    assert bounds_of(run) == (lo, hi, UCUM, "/min")


@pytest.mark.parametrize(
    "run",
    [
        run_of("E U L"),
        run_of(""),
        run_of("72 much"),
        run_of("72 nan"),
        run_of("72 inf"),
        run_of(72),
        run_of("72", origin=[]),
        run_of("72", factor="2"),
        {},
    ],
)
def test_what_holds_no_number_has_no_range(run):
    assert bounds_of(run) is None
