"""Watches in: every digit kept, the same file again changes nothing, a longer one adds, nobody else's chart."""

import csv
import gzip
import json
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from clinical.errors import IncorrectInput, PreconditionMissing
from fhir_adapters.features.heart_rate import readings, series_of
from fhir_adapters.importing.pieces import lines
from fhir_adapters.validation import problems_of
from fhir_adapters.wearables import layouts, observations
from fhir_adapters.wearables.keeping import Keeper
from fhir_adapters.wearables.readings import hour_of
from tests.fhir_adapters.conftest import make_fhir

SOURCE = "urn:x-watch"
DATA = Path(__file__).parents[3] / "shared" / "data"
BERLIN = ZoneInfo("Europe/Berlin")
FITBIT = """wearer,minute,hr,hr_n,steps,intensity,part
w1,2016-04-01 23:58:00,99.60,10,0,,train
w1,2016-04-01 23:59:00,110.11,9,12,,train
w1,2016-04-02 00:01:00,92,9,0,,train
w2,2016-04-01 08:00:00,60,9,,,train
"""
LAB = """age,gender,heart_rate,steps,calories,device,activity,person,order
20,1,78.53130238,10.5,0.344,apple watch,Lying,7,40
20,1,78.45339028,,0.5,apple watch,Lying,7,41
20,1,80,3,1,fitbit,Lying,7,900
"""


@pytest.fixture
def keep(db, now):
    fhir = make_fhir(db, now)

    def call(found, zone=UTC, **more):
        told = []
        keeper = Keeper(fhir, zone, **{"make_patients": True} | more)
        keeper.take(found, told.append)
        return keeper.done, told

    return call


@pytest.fixture
def door(db, make_client):
    return make_client(db)


def fitbit(text=FITBIT, zone=UTC):
    return layouts.readings_of(text.splitlines(), SOURCE, layouts.Clock(zone))


def series(door, search=""):
    found = door.get(f"/fhir/Observation?_sort=date&_count=100{search}").get_json(force=True)
    return [one["resource"] for one in found.get("entry", ())]


def test_a_day_of_a_watch_is_one_observation_with_every_digit_as_it_was_written(keep, door):
    done, told = keep(fitbit(zone=BERLIN), zone=BERLIN)
    assert (done.values, done.created, done.patients, told) == (7, 5, 2, [])
    rate = series(door, "&code=8867-4&patient.identifier=urn:x-watch|w1")
    assert [one["valueSampledData"]["data"] for one in rate] == ["99.60 110.11", "92"]
    assert rate[0]["effectivePeriod"] == {"start": "2016-04-01T23:58:00+02:00", "end": "2016-04-01T23:59:00+02:00"}
    assert all(not problems_of(one, expected="Observation") for one in series(door))
    patient = door.get(f"/fhir/{rate[0]['subject']['reference']}").get_json(force=True)
    assert patient["identifier"] == [{"system": SOURCE, "value": "w1"}]


def test_the_same_again_changes_nothing_and_more_of_a_day_is_joined_to_it(keep, door):
    keep(fitbit())
    again, _ = keep(fitbit())
    assert (again.created, again.updated, again.unchanged) == (0, 0, 5)
    grown, _ = keep(fitbit(FITBIT + "w1,2016-04-01 23:56:00,70,1,,,t\nw1,2016-04-01 23:59:00,110.11,1,,,t\n"))
    assert (grown.created, grown.updated, grown.unchanged) == (0, 1, 4)
    day = series(door, "&code=8867-4&date=2016-04-01&patient.identifier=urn:x-watch|w1")[0]
    assert day["valueSampledData"]["data"] == "70 E 99.60 110.11"
    assert day["meta"]["versionId"] == "2"
    keep(fitbit("wearer,minute,hr\nw1,2016-04-01 23:55:00,69\n"))  # a file that has the new minute alone
    day = series(door, "&code=8867-4&date=2016-04-01&patient.identifier=urn:x-watch|w1")[0]
    assert day["valueSampledData"]["data"] == "69 70 E 99.60 110.11"


def test_a_day_that_somebody_took_back_is_left_alone(keep, door):
    keep(fitbit())
    own = series(door, "&code=8867-4")[0]
    wrong = json.dumps(own | {"status": "entered-in-error"})
    door.put(f"/fhir/Observation/{own['id']}", data=wrong, content_type="application/fhir+json")
    done, _ = keep(fitbit())
    assert (done.withdrawn, done.updated) == (1, 0)


def test_an_unknown_wearer_is_refused_unless_charts_may_be_made(keep, door):
    with pytest.raises(PreconditionMissing, match="no patient here"):
        keep(fitbit(), make_patients=False)
    assert series(door) == []
    chart = {"resourceType": "Patient", "identifier": [{"system": SOURCE, "value": "w1"}]}
    door.put("/fhir/Patient/own", data=json.dumps(chart | {"id": "own"}), content_type="application/fhir+json")
    done, _ = keep(fitbit(FITBIT.rpartition("w2")[0]), make_patients=False)
    assert (done.created, done.patients) == (4, 0)
    assert {one["subject"]["reference"] for one in series(door)} == {"Patient/own"}


def test_the_minutes_of_the_lab_begin_when_it_is_said_for_each_person_and_device(keep, door):
    clock = layouts.Clock(UTC, datetime(2019, 3, 1, 9, tzinfo=UTC))
    done, told = keep(layouts.readings_of(LAB.splitlines(), SOURCE, clock))
    assert (done.values, done.created, told) == (8, 6, [])
    rate = {one["device"]["display"]: one for one in series(door, "&code=8867-4")}
    assert rate["apple watch"]["valueSampledData"]["data"] == "78.53130238 78.45339028"
    assert {one["effectivePeriod"]["start"] for one in rate.values()} == {"2019-03-01T09:00:00Z"}
    with pytest.raises(IncorrectInput, match="--start"):
        list(layouts.readings_of(LAB.splitlines(), SOURCE, layouts.Clock(UTC)))


def test_lines_that_cannot_be_read_are_told_and_the_others_go_on(keep):
    day = "2016-04-03 00:00:00"
    bad = ["w1,yesterday,60", f"w1,{day},1e2", f",{day},60", f"w1,{day},60", f"w1,{day},61"]
    done, told = keep(fitbit(FITBIT + "\n".join(bad)))
    assert [one.line for one in told] == [6, 7, 8, 10]
    assert done.unread == 4
    with pytest.raises(IncorrectInput, match="no layout"):
        list(fitbit("a,b\n1,2\n"))


def test_a_table_that_is_no_csv_is_told_by_its_line():
    with pytest.raises(IncorrectInput, match="line 3: expected CSV"):
        list(fitbit(FITBIT.splitlines()[0] + "\na,2016-04-12 00:00:00,97,0\n" + '"' + "9" * 200_000))


def test_the_hour_that_a_clock_repeats_is_told_and_not_overwritten(keep):
    rows = ["wearer,minute,hr", *(f"w1,2016-10-30 02:30:00,{value}" for value in (60, 70))]
    done, told = keep(fitbit("\n".join(rows), BERLIN), BERLIN)
    assert (done.values, [one.line for one in told]) == (1, [3])


def watch(number, subject=None, **more):
    made = {"resourceType": "Observation", "id": f"o{number}", "status": "final"}
    made |= {"code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}}
    made |= {"subject": subject or {"identifier": {"system": SOURCE, "value": "w1"}}}
    made |= {"effectiveDateTime": (datetime(2026, 1, 1, tzinfo=UTC) + number * timedelta(seconds=5)).isoformat()}
    unit = {"unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"}
    return made | {"valueQuantity": {"value": 60 + number % 9, **unit}} | more


def ndjson(tmp_path, *resources):
    path = tmp_path / "o.ndjson"
    path.write_text("\n".join(map(json.dumps, resources)).replace("63", "63.50"))
    return path


def test_single_observations_of_every_five_seconds_become_one_an_hour(keep, door, tmp_path):
    odd = [watch(1, status="entered-in-error"), watch(2, valueQuantity={"value": 1, "comparator": "<"})]
    odd += [watch(3, subject={"reference": "Patient?identifier=x"}), {"resourceType": "Patient"}]
    path = ndjson(tmp_path, *(watch(number) for number in range(1000)), *odd)
    with path.open("rb") as file:
        done, told = keep(observations.readings_of(lines(file), SOURCE, 5), windows=hour_of)
    assert (done.values, done.created, [one.line for one in told]) == (1000, 2, [1001, 1002, 1003, 1004])
    first = series(door)[0]["valueSampledData"]
    assert (first["period"], len(first["data"].split())) == (5000, 720)
    assert first["data"].startswith("60 61 62 63.50 64")


def test_an_observation_of_a_chart_that_is_here_goes_to_it_and_of_none_is_refused(keep, door, tmp_path):
    path = ndjson(tmp_path, watch(1, subject={"reference": "Patient/own"}))
    with path.open("rb") as file, pytest.raises(PreconditionMissing):
        keep(observations.readings_of(lines(file), SOURCE, 5))
    door.put(
        "/fhir/Patient/own", data='{"resourceType":"Patient","id":"own"}', content_type="application/fhir+json"
    )
    with path.open("rb") as file:
        assert keep(observations.readings_of(lines(file), SOURCE, 5))[0].created == 1


def test_a_run_is_found_by_the_values_that_it_holds(keep, door):
    keep(fitbit())
    above = series(door, "&code=8867-4&value-quantity=gt105||/min")
    assert [one["valueSampledData"]["data"] for one in above] == ["99.60 110.11"]
    assert len(series(door, "&code=8867-4&value-quantity=lt95||/min")) == 2
    assert series(door, "&value-quantity=gt111||/min") == []


@pytest.mark.skipif(not DATA.is_dir(), reason="the public sets are not on this machine")
@pytest.mark.parametrize(
    ("name", "person", "columns"),
    [
        ("fitbit_hr", "wearer", ("hr", "steps")),
        ("applewatch_fitbit_lab", "person", ("heart_rate", "steps", "calories")),
    ],
)
def test_the_public_sets_come_in_whole_and_only_once(sqlite_db, now, name, person, columns):
    """Of the larger one the first twelve thousand minutes: the whole takes four seconds."""
    with gzip.open(DATA / name / "minutes.csv.gz", "rt") as file:
        rows = list(islice(file, 12_000))
    asked = list(csv.DictReader(rows))
    clock = layouts.Clock(UTC, datetime(2019, 3, 1, 9, tzinfo=UTC))
    keeper = Keeper(make_fhir(sqlite_db, now), UTC, make_patients=True)
    keeper.take(layouts.readings_of(rows, SOURCE, clock), pytest.fail)
    assert keeper.done.values == sum(bool(row[column]) for row in asked for column in columns)
    assert keeper.done.patients == len({row[person] for row in asked})
    made = (keeper.done.created, keeper.done.updated)
    keeper.take(layouts.readings_of(rows, SOURCE, clock), pytest.fail)
    assert (keeper.done.created, keeper.done.updated) == made


def test_what_came_in_is_the_series_that_the_model_reads(keep, door):
    keep(fitbit(zone=BERLIN), zone=BERLIN)
    found = series_of(readings(series(door, "&patient.identifier=urn:x-watch|w1")))
    assert found.heart_rate[[0, 1, 3]].tolist() == [99.6, 110.11, 92]
    assert found.steps[1] == 12
