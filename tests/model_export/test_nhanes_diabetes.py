import gzip

import numpy as np
import pytest

from clinical.errors import IncorrectInput
from model_export.datasets import nhanes_diabetes as nhanes

HEADER = "seqn,age,sex,race,bmi,waist_cm,diastolic_bp,family_history_diabetes,fasting_glucose_mg_dl,diagnosed"
ROW = "1,44,female,nh_white,23.2,80.1,56,0.0,82,0"


def table(tmp_path, *rows, header=HEADER):
    with gzip.open(tmp_path / nhanes.FILE, "wt") as file:
        file.write("\n".join((header, *rows)))
    return tmp_path


def test_a_row_becomes_seven_features_with_nan_for_what_is_missing(tmp_path):
    persons = nhanes.load(table(tmp_path, ROW, "2,80,male,other,,,,,,1"))
    assert persons.features.shape == (2, 7)
    assert persons.features[0].tolist() == [44, 0, np.float32(23.2), np.float32(80.1), 56, 0, 82]
    assert persons.features[1, :2].tolist() == [80, 1]
    assert np.isnan(persons.features[1, 2:]).all()
    assert persons.diagnosed.tolist() == [False, True]


def test_a_diastolic_pressure_that_a_cuff_cannot_mean_is_missing(tmp_path):
    assert np.isnan(nhanes.load(table(tmp_path, ROW.replace(",56,", ",4,"))).features[0, 4])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (ROW.replace("44", "17"), "line 2: age is outside"),
        (ROW.replace("44", ""), "line 2: age is missing"),
        (ROW.replace("23.2", "fat"), "line 2: bmi is not a number"),
        (ROW.replace("23.2", "nan"), "line 2: bmi is outside"),
        (ROW.replace("female", "F"), "line 2: sex must be one of"),
        (ROW.replace(",82,0", ",82,no"), "line 2: diagnosed must be one of"),
        (ROW.replace(",82,", ",4.6,"), "fasting_glucose_mg_dl is outside"),
    ],
)
def test_a_field_that_is_not_what_it_must_be_is_named_with_its_line(tmp_path, row, words):
    with pytest.raises(IncorrectInput, match=words):
        nhanes.load(table(tmp_path, row))


def test_a_person_who_stands_twice_is_refused_because_copies_leak(tmp_path):
    with pytest.raises(IncorrectInput, match="twice"):
        nhanes.load(table(tmp_path, ROW, ROW))


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(IncorrectInput, match="waist_cm"):
        nhanes.load(table(tmp_path, "1,44", header="seqn,age"))


def test_an_absent_or_damaged_file_is_incorrect(tmp_path):
    with pytest.raises(IncorrectInput):
        nhanes.load(tmp_path)
    (tmp_path / nhanes.FILE).write_bytes(b"\x1f\x8b")
    with pytest.raises(IncorrectInput):
        nhanes.load(tmp_path)


def test_who_is_held_out_does_not_depend_on_who_else_is_there():
    people = [str(n) for n in range(4000)]
    whole = nhanes.held_out(people, seed=1)
    assert nhanes.held_out(people[100:200], seed=1).tolist() == whole[100:200].tolist()
    assert 0.22 < whole.mean() < 0.28
    assert nhanes.held_out(people, seed=2).tolist() != whole.tolist()
