import gzip
import math

import numpy as np
import pytest

from clinical.errors import IncorrectInput
from model_export.datasets import nhanes_2009_2012 as earlier
from model_export.datasets import nhanes_diabetes as nhanes

FIELDS = {
    "seqn": "1", "age": "44", "sex": "female", "race": "nh_white", "bmi": "23.2", "waist_cm": "80.1",
    "diastolic_bp": "56", "family_history_diabetes": "0.0", "general_health": "2.0", "smokes_now": "",
    "vigorous_activity": "0.0", "moderate_activity": "1.0", "pregnancies": "", "fasting_glucose_mg_dl": "82",
    "fasting_insulin_uU_ml": "9.7", "told_diabetes": "no", "diagnosed": "0",
}  # fmt: skip


def table(tmp_path, *people, drop=()):
    rows = [{**FIELDS, **person} for person in people]
    names = [name for name in FIELDS if name not in drop]
    with gzip.open(tmp_path / nhanes.FILE, "wt") as file:
        file.write("\n".join(",".join(line) for line in [names, *([row[n] for n in names] for row in rows)]))
    return tmp_path


def of(tmp_path, name, **changes):
    return nhanes.load(table(tmp_path, changes)).features[0, nhanes.FEATURES.index(name)]


def test_a_row_becomes_twelve_features_with_nan_for_what_is_missing(tmp_path):
    empty = dict.fromkeys(("bmi", "waist_cm", "diastolic_bp", "family_history_diabetes", "general_health"), "")
    gone = {"fasting_glucose_mg_dl": "", "fasting_insulin_uU_ml": "", "told_diabetes": "yes", "diagnosed": "1"}
    persons = nhanes.load(table(tmp_path, {}, {"seqn": "2", "age": "80", "sex": "male", **empty, **gone}))
    assert persons.features[0].tolist() == [44, 0, 23.2, 80.1, 56, 0, 2, 0, 1, 0, 82, 9.7]
    assert persons.features[1, [0, 1, 7, 8]].tolist() == [80, 1, 0, 1]
    assert np.isnan(persons.features[1, [2, 3, 4, 5, 6, 9, 10, 11]]).all()
    assert persons.diagnosed.tolist() == [False, True]


def test_smoking_and_activity_are_put_together_from_two_questions(tmp_path):
    assert [of(tmp_path, "smoking", smokes_now=now) for now in ("", "0.0", "1.0")] == [0, 1, 2]
    assert of(tmp_path, "activity", vigorous_activity="1.0", moderate_activity="0.0") == 2
    assert of(tmp_path, "activity", moderate_activity="0.0") == 0
    assert math.isnan(of(tmp_path, "activity", moderate_activity=""))


def test_no_pregnancy_is_a_zero_only_where_the_question_was_put(tmp_path):
    assert of(tmp_path, "pregnancies") == 0
    assert of(tmp_path, "pregnancies", pregnancies="3.0") == 3
    assert math.isnan(of(tmp_path, "pregnancies", general_health=""))
    assert math.isnan(of(tmp_path, "pregnancies", sex="male"))
    assert math.isnan(of(tmp_path, "pregnancies", pregnancies="33.0"))


def test_a_diastolic_pressure_that_a_cuff_cannot_mean_is_missing(tmp_path):
    assert math.isnan(of(tmp_path, "diastolic_mm_hg", diastolic_bp="4"))


def test_undiagnosed_is_whom_nobody_told_and_whose_glucose_is_that_of_diabetes(tmp_path):
    high, told = {"fasting_glucose_mg_dl": "126"}, {"told_diabetes": "yes", "diagnosed": "1"}
    persons = nhanes.load(
        table(
            tmp_path,
            high,
            {"seqn": "2", **high, **told},
            {"seqn": "3"},
            {"seqn": "4", "told_diabetes": "borderline"},
        )
    )
    assert persons.undiagnosed.tolist() == [True, False, False, False]
    assert persons.borderline.tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"age": "17"}, "line 2: age is outside"),
        ({"age": ""}, "line 2: age is missing"),
        ({"bmi": "fat"}, "line 2: bmi is not a number"),
        ({"bmi": "nan"}, "line 2: bmi is outside"),
        ({"sex": "F"}, "line 2: sex must be one of"),
        ({"race": "martian"}, "line 2: race must be one of"),
        ({"diagnosed": "no"}, "line 2: diagnosed must be one of"),
        ({"fasting_glucose_mg_dl": "4.6"}, "fasting_glucose_mg_dl is outside"),
    ],
)
def test_a_field_that_is_not_what_it_must_be_is_named_with_its_line(tmp_path, change, words):
    with pytest.raises(IncorrectInput, match=words):
        nhanes.load(table(tmp_path, change))


def test_a_person_who_stands_twice_is_refused_because_copies_leak(tmp_path):
    with pytest.raises(IncorrectInput, match="twice"):
        nhanes.load(table(tmp_path, {}, {}))


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(IncorrectInput, match="waist_cm"):
        nhanes.load(table(tmp_path, {}, drop=("waist_cm",)))


def test_an_absent_or_damaged_file_is_incorrect(tmp_path):
    with pytest.raises(IncorrectInput):
        nhanes.load(tmp_path)
    (tmp_path / nhanes.FILE).write_bytes(b"\x1f\x8b")
    with pytest.raises(IncorrectInput):
        nhanes.load(tmp_path)


EARLIER = (
    "seqn,cycle,age,sex,race,bmi,diastolic_bp,hdl_mmol_l,smoke_now,smoke_100,phys_active,general_health,diagnosed"
)


def earlier_table(tmp_path, *lines):
    with gzip.open(tmp_path / earlier.FILE, "wt") as file:
        file.write("\n".join((EARLIER, *lines)))
    return tmp_path


def test_the_earlier_cycle_has_the_same_features_and_lacks_the_waist_and_the_family(tmp_path):
    lines = (
        "51624,2009-2010,34,male,White,32.22,85,1.29,No,Yes,No,Good,0",
        "51633,2009-2010,80,female,Mexican,26.04,0,1.94,,No,Yes,Vgood,1",
        "62161,2011-2012,22,male,Black,23.3,82,1.1,Yes,Yes,Yes,,0",
    )
    persons = earlier.load(earlier_table(tmp_path, *lines), earlier.EXTERNAL_CYCLE)
    assert persons.person == ("51624", "51633")
    assert persons.race == ("nh_white", "mexican_american")
    known = dict(zip(nhanes.FEATURES, persons.features.T, strict=True))
    assert [known[n].tolist() for n in ("age", "general_health", "smoking", "activity")] == [
        [34, 80], [3, 2], [1, 0], [0, 1],
    ]  # fmt: skip
    assert known["diastolic_mm_hg"][0] == 85
    assert math.isnan(known["diastolic_mm_hg"][1])
    for name in ("waist_cm", "family_history", "pregnancies", "fasting_glucose_mg_dl"):
        assert np.isnan(known[name]).all()


def test_a_cycle_without_anybody_is_empty_and_no_crash(tmp_path):
    persons = earlier.load(
        earlier_table(tmp_path, "62161,2011-2012,22,male,Black,23.3,82,1.1,Yes,Yes,Yes,,0"), earlier.EXTERNAL_CYCLE
    )
    assert persons.features.shape == (0, 12)
