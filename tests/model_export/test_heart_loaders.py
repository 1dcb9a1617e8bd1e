"""Loaders of heart rates by the minute: what is read, what is refused, and what folds may hold."""

import gzip

import numpy as np
import pytest

from clinical.errors import IncorrectInput
from model_export.datasets import applewatch_fitbit_lab as lab
from model_export.datasets import fitbit_hr, heart_simulator
from model_export.datasets.folders import data_dir, sets_at
from model_export.datasets.heart_records import through_observations

HEAD = "wearer,minute,hr,hr_n,steps,intensity,part\n"


@pytest.fixture
def folder(tmp_path):
    """folder(lines) -> a folder with minutes.csv.gz."""

    def write(*lines, head=HEAD):
        with gzip.open(tmp_path / "minutes.csv.gz", "wt") as file:
            file.write(head + "".join(f"{line}\n" for line in lines))
        return tmp_path

    return write


def test_minutes_become_a_grid_with_gaps_and_any_part_is_read(folder):
    found = fitbit_hr.load(
        folder(
            "b,2016-04-01 08:03:00,70.5,5,12,1,test",
            "b,2016-04-01 08:00:00,60,0,,,anything",
            "a,2016-04-01 08:00:00,80,0,,,",
        )
    )
    assert list(found.series) == ["a", "b"]
    assert found.rows == 3
    assert found.series["b"].heart_rate.tolist()[::3] == [60.0, 70.5]
    assert np.isnan(found.series["b"].heart_rate[1:3]).all()
    assert found.series["b"].steps[3] == 12


@pytest.mark.parametrize(
    "line",
    [
        "a,yesterday,70,0,,,train",
        "a,2016-04-01 08:00:30,70,0,,,train",
        "a,2016-04-01 08:00:00,seventy,0,,,train",
        "a,2016-04-01 08:00:00,700,0,,,train",
        "a,2016-04-01 08:00:00,70,0,-3,,train",
    ],
)
def test_a_field_that_is_not_what_it_must_be_is_refused_with_its_line_and_not_its_value(folder, line):
    with pytest.raises(IncorrectInput) as caught:
        fitbit_hr.load(folder("a,2016-04-01 07:59:00,70,0,,,train", line))
    assert "line 3" in caught.value.message
    assert "seventy" not in caught.value.message


def test_a_missing_column_an_empty_file_and_no_file_are_refused(folder, tmp_path):
    with pytest.raises(IncorrectInput, match="no column hr"):
        fitbit_hr.load(folder("a,2016-04-01 08:00:00", head="wearer,minute,steps\n"))
    with pytest.raises(IncorrectInput, match="no minute"):
        fitbit_hr.load(folder())
    (tmp_path / "minutes.csv.gz").write_bytes(b"not gzip")
    with pytest.raises(IncorrectInput, match="cannot be read"):
        fitbit_hr.load(tmp_path)


def test_the_two_sets_are_told_apart_by_their_columns(folder):
    where = folder("a,2016-04-01 08:00:00,70,0,,,train")
    layout = {fitbit_hr.NAME: fitbit_hr.LAYOUT, lab.NAME: lab.LAYOUT}
    assert list(sets_at(where, layout)) == ["fitbit_hr"]


def test_a_laboratory_session_keeps_the_order_of_the_protocol_and_has_no_clock(folder):
    where = folder(
        "p,fitbit,Sitting,2,80,0", "p,fitbit,Lying,1,0,500", "q,apple watch,Lying,1,70,5",
        head="person,device,activity,order,heart_rate,steps\n",
    )  # fmt: skip
    first, second = lab.load(where)
    assert (first.person, first.activities) == ("p", ("Lying", "Sitting"))
    assert np.isnan(first.series.heart_rate[0])  # 0 is no heart rate
    assert not second.series.clock_known
    with pytest.raises(IncorrectInput, match="line 2"):
        lab.load(folder("p,fitbit,Lying,one,80,0", head="person,device,activity,order,heart_rate,steps\n"))


def test_simulated_people_are_the_same_for_the_same_seed_and_move_when_they_walk():
    one, again, other = (heart_simulator.recordings(1, 2, seed)["sim00"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.heart_rate, again.heart_rate)
    assert not np.array_equal(one.heart_rate, other.heart_rate, equal_nan=True)
    walking = one.steps > 80
    assert np.nanmean(one.heart_rate[walking]) > np.nanmean(one.heart_rate[~walking]) + 10


def test_a_recording_through_observations_is_the_recording():
    one = heart_simulator.recordings(1, 2, 1)["sim00"]
    read = through_observations(one)
    np.testing.assert_array_equal(read.heart_rate, one.heart_rate)
    np.testing.assert_array_equal(read.steps, one.steps)
    assert read.start.replace(tzinfo=None) == one.start
    assert read.clock_known


@pytest.mark.skipif(data_dir(fitbit_hr.NAME) is None, reason="the data set fitbit_hr is not here")
def test_the_set_has_eight_wearers_and_the_rows_of_its_readme():
    found = fitbit_hr.load(data_dir(fitbit_hr.NAME))
    assert (len(found.series), found.rows) == (8, 202023)


@pytest.mark.skipif(data_dir(lab.NAME) is None, reason="the data set applewatch_fitbit_lab is not here")
def test_the_laboratory_has_the_rows_of_its_readme():
    sessions = lab.load(data_dir(lab.NAME))
    assert sum(len(one.series) for one in sessions) == 4761
