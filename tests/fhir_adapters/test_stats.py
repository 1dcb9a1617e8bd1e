"""$stats: single values and runs of samples counted alike, by windows, in one unit, and never without bound."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from clinical.windows import Windows
from fhir_adapters.rest import stats
from fhir_adapters.validation.refusal import demand_valid

START = datetime(2026, 1, 1, tzinfo=UTC)
UCUM = "http://unitsofmeasure.org"
HEART = "http://loinc.org|8867-4"
DAY = "start=2026-01-01T00:00:00Z&end=2026-01-02T00:00:00Z"


def observation(own, patient="p", minute=0, code="8867-4", **value):
    coding = [{"system": "http://loinc.org", "code": code}]
    made = {"resourceType": "Observation", "id": own, "status": "final", "code": {"coding": coding}}
    made |= {"subject": {"reference": f"Patient/{patient}"}}
    return made | {"effectiveDateTime": (START + timedelta(minutes=minute)).isoformat()} | value


def amount(value, unit="/min"):
    return {"valueQuantity": {"value": value, "unit": unit, "system": UCUM, "code": unit}}


def run(data, period_s=60, unit="/min", **more):
    origin = {"value": 0, "system": UCUM, "code": unit}
    return {
        "valueSampledData": {"origin": origin, "period": period_s * 1000, "dimensions": 1, "data": data} | more
    }


@pytest.fixture
def door(db, make_client):
    return make_client(db)


@pytest.fixture
def put(door):
    def call(*resources):
        for one in resources:
            reply = door.put(
                f"/fhir/Observation/{one['id']}", data=json.dumps(one), content_type="application/fhir+json"
            )
            assert reply.status_code == 201, reply.data

    return call


def asked(door, query):
    reply = door.get(f"/fhir/Observation/$stats?{query}")
    assert reply.status_code == 200, reply.data
    found = [one["resource"] for one in reply.get_json(force=True).get("parameter", ())]
    for one in found:
        demand_valid(one, "Observation")
    return found


def numbers(one):
    parts = {part["code"]["coding"][0]["code"]: part for part in one["component"]}
    return {
        name: part.get("valueInteger", part.get("valueQuantity", {}).get("value")) for name, part in parts.items()
    }


def runs(one):
    return {part["code"]["coding"][0]["code"]: part["valueSampledData"]["data"] for part in one["component"]}


def test_values_and_runs_of_a_patient_come_to_one_mean_least_greatest_and_count(door, put):
    put(
        observation("a", minute=10, **amount(60)),
        observation("b", minute=20, **run("70 E 80 90")),
        observation("wrong", minute=30, status="entered-in-error", **amount(500)),
        observation("other", "q", 30, **amount(500)),
        observation("before", minute=-1, **amount(500)),
        observation("after", minute=24 * 60, **amount(500)),
        observation("code", code="8329-5", **amount(500)),
    )
    (found,) = asked(door, f"patient=p&code={HEART}&{DAY}")
    assert numbers(found) == {"average": 75, "minimum": 60, "maximum": 90, "count": 4}
    assert found["subject"] == {"reference": "Patient/p"}
    assert numbers(asked(door, f"subject=Patient/p&code=8867-4&{DAY}&statistic=count")[0]) == {"count": 4}


def test_with_windows_each_statistic_is_a_run_with_one_number_a_window(door, put):
    put(observation("a", minute=-2, **run("50 52 60 70 E E E 66 " + "E " * 7 + "99")))
    (found,) = asked(door, "patient=p&code=8867-4&start=2026-01-01T00:00:00Z&end=2026-01-01T00:12:00Z&window=5")
    assert runs(found) == {"average": "65 66 E", "minimum": "60 66 E", "maximum": "70 66 E", "count": "2 1 0"}
    assert found["component"][0]["valueSampledData"]["period"] == 300_000


def test_what_can_be_converted_is_counted_in_the_first_unit_and_the_rest_stands_apart(door, put):
    put(
        observation("a", minute=1, code="8329-5", **amount(37, "Cel")),
        observation("b", minute=2, code="8329-5", **amount(104, "[degF]")),
        observation("c", minute=3, code="8329-5", **amount(3, "kg")),
    )
    found = asked(door, f"patient=p&code=8329-5&{DAY}&statistic=average,maximum")
    assert [numbers(one) for one in found] == [{"average": 38.5, "maximum": 40}, {"average": 3, "maximum": 3}]


def test_components_count_by_their_own_code(door, put):
    part = {"code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]}}
    put(observation("a", code="85354-9", component=[part | amount(120, "mm[Hg]")]))
    assert numbers(asked(door, f"patient=p&code=http://loinc.org|8480-6&{DAY}")[0])["average"] == 120
    assert asked(door, f"patient=p&code=85354-9&{DAY}") == []


def test_it_is_asked_by_parameters_as_r4_has_it(door, put):
    put(observation("a", minute=10, **amount(60)), observation("b", minute=100, **amount(80)))
    given = [
        {"name": "subject", "valueUri": "Patient/p"},
        {"name": "coding", "valueCoding": {"system": "http://loinc.org", "code": "8867-4"}},
        {"name": "period", "valuePeriod": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T01:00:00Z"}},
        {"name": "statistic", "valueCode": "count"},
    ]
    body = json.dumps({"resourceType": "Parameters", "parameter": given})
    reply = door.post("/fhir/Observation/$stats", data=body, content_type="application/fhir+json")
    assert numbers(reply.get_json(force=True)["parameter"][0]["resource"]) == {"count": 1}


@pytest.mark.parametrize(
    ("query", "place"),
    [
        (f"code=8867-4&{DAY}", "subject"),
        (f"patient=p,q&code=8867-4&{DAY}", "subject"),
        (f"patient=p&{DAY}", "code"),
        ("patient=p&code=x", "period"),
        ("patient=p&code=x&start=2026-01-02&end=2026-01-01", "period"),
        ("patient=p&code=x&start=soon", "start"),
        (f"patient=p&code=x&{DAY}&window=0", "window"),
        (f"patient=p&code=x&{DAY}&window=nan", "window"),
        (f"patient=p&code=x&{DAY}&window=0.01", "window"),
        (f"patient=p&code=x&{DAY}&statistic=mode", "statistic"),
        (f"patient=p&code=x&{DAY}&nonsense=1", "$stats"),
        ("patient=p&code=x&duration=x", "duration"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(client, query, place):
    reply = client.get(f"/fhir/Observation/$stats?{query}")
    assert reply.status_code == 400, reply.data
    assert reply.get_json(force=True)["issue"][0]["expression"] == [place]


def test_more_than_can_be_read_at_once_is_refused(client, monkeypatch):
    monkeypatch.setattr(stats, "MOST_OBSERVATIONS", 2)
    for number in range(3):
        client.put(
            f"/fhir/Observation/o{number}",
            data=json.dumps(observation(f"o{number}", **amount(60))),
            content_type="application/fhir+json",
        )
    reply = client.get(f"/fhir/Observation/$stats?patient=p&code=8867-4&{DAY}")
    assert (reply.status_code, reply.get_json(force=True)["issue"][0]["expression"]) == (400, ["period"])


def test_statistics_end_in_time(client, monkeypatch):
    monkeypatch.setattr(stats, "SEARCH_LIMIT_S", 0.0)
    monkeypatch.setattr("record_store.time_limit._STEPS", 1)
    reply = client.get(f"/fhir/Observation/$stats?patient=p&code=8867-4&{DAY}")
    assert reply.status_code == 400
    assert "narrow it" in reply.get_json(force=True)["issue"][0]["details"]["text"]


def test_windows_agree_with_the_values_one_by_one():
    rng = np.random.default_rng(3)
    offsets, values = rng.uniform(-50, 650, 500), rng.normal(70, 9, 500)
    windows = Windows(60, 10)
    for part in np.array_split(np.arange(500), 7):
        windows.add(offsets[part], values[part])
    result = windows.result()
    for number in range(10):
        inside = [v for o, v in zip(offsets, values, strict=True) if number * 60 <= o < (number + 1) * 60]
        assert result.count[number] == len(inside)
        assert result.mean[number] == pytest.approx(sum(inside) / len(inside))
        assert (result.least[number], result.greatest[number]) == (min(inside), max(inside))
