import gzip

import numpy as np
import pytest

from clinical.errors import IncorrectInput
from model_export.datasets import brfss2015, cbis_ddsm, pima, sylhet_early_diabetes
from model_export.datasets.folders import data_dir

SYLHET = "40,Male,No,Yes,No,Yes,No,No,No,Yes,No,Yes,No,Yes,Yes,Yes,Positive,0"
PIMA = "6.0,148.0,72.0,35.0,,33.6,0.627,50.0,pos,0"
BRFSS = "0,1,0,1,26,0,1,1,3,5,30,1,4,0"
CBIS = "P_1,2,LEFT,CC,1,calcification,,,PUNCTATE-PLEOMORPHIC,CLUSTERED,4,BENIGN,2,test,0"
HEADER = {
    sylhet_early_diabetes: ",".join(
        ["age", "gender", *sylhet_early_diabetes.SYMPTOMS, "class", "row_group"],
    ),
    pima: "pregnant,glucose,pressure,triceps,insulin,mass,pedigree,age,diabetes,row",
    brfss2015: (
        "Diabetes_binary,HighBP,HighChol,CholCheck,BMI,Smoker,PhysActivity,AnyHealthcare,GenHlth,MentHlth,PhysHlth,"
        "Sex,Age,row_group"
    ),
    cbis_ddsm: (
        "patient_id,density,left_or_right_breast,image_view,abnormality_id,abnormality_type,mass_shape,mass_margins,"
        "calc_type,calc_distribution,assessment,pathology,subtlety,set,malignant"
    ),
}


def written(folder, loader, *rows, header=None):
    text = "\n".join([header or HEADER[loader], *rows])
    path = folder / loader.FILE
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return folder


def test_symptoms_become_numbers_and_copies_one_group(tmp_path):
    other = SYLHET.replace("40,Male", "41,Female").replace("Positive,0", "Negative,1")
    table = sylhet_early_diabetes.load(written(tmp_path, sylhet_early_diabetes, SYLHET, other, SYLHET))
    assert table.features[:2, :4].tolist() == [[40, 1, 0, 1], [41, 0, 0, 1]]
    assert table.outcome.tolist() == [True, False, True]
    assert table.groups.tolist() == [0, 1, 0]
    assert len(table.columns) == table.features.shape[1]


def test_copies_are_found_even_when_the_file_numbers_them_apart(tmp_path):
    numbered_apart = SYLHET[:-1] + "7"
    table = sylhet_early_diabetes.load(written(tmp_path, sylhet_early_diabetes, SYLHET, numbered_apart))
    assert table.groups.tolist() == [0, 0]


def test_a_copy_with_another_outcome_is_still_a_copy(tmp_path):
    other = SYLHET.replace("Positive,0", "Negative,9")
    assert sylhet_early_diabetes.load(written(tmp_path, sylhet_early_diabetes, SYLHET, other)).groups.tolist() == [
        0,
        0,
    ]


def test_an_empty_laboratory_value_is_missing_and_a_zero_is_refused(tmp_path):
    table = pima.load(written(tmp_path, pima, PIMA))
    assert np.isnan(table.features[0, 4])
    assert table.features[0, 1] == 148
    with pytest.raises(IncorrectInput, match=r"line 3: glucose is outside 20..800"):
        pima.load(written(tmp_path, pima, PIMA, PIMA.replace("148.0", "0")))


def test_balanced_interviews_are_moved_back_to_the_true_prevalence(tmp_path):
    table = brfss2015.load(written(tmp_path, brfss2015, BRFSS))
    assert table.features[0].tolist() == [1, 0, 1, 26, 0, 1, 1, 3, 5, 30, 1, 4]
    # A half on halves is the prevalence itself; certainty stays certainty.
    assert brfss2015.at_prevalence(np.array([0.5, 0.0, 1.0])).tolist() == pytest.approx([0.139, 0, 1])


def test_a_lesion_is_described_by_its_words(tmp_path):
    lesions = cbis_ddsm.load(
        written(tmp_path, cbis_ddsm, CBIS, CBIS.replace("CC", "MLO"), CBIS.replace("P_1", "P_2"))
    )
    found = dict(zip(cbis_ddsm.NAMES, lesions.features[0], strict=True))
    assert {name for name, value in found.items() if value == 1} == {
        "calcification",
        "calc_type=PUNCTATE",
        "calc_type=PLEOMORPHIC",
        "calc_distribution=CLUSTERED",
    }
    assert lesions.groups.tolist() == [0, 0, 1]
    assert lesions.official_test.all()
    assert lesions.assessment.tolist() == [4, 4, 4]


def test_the_readers_suspicion_and_what_follows_from_it_are_no_feature(tmp_path):
    before = cbis_ddsm.load(written(tmp_path, cbis_ddsm, CBIS)).features
    suspected = CBIS.replace("CLUSTERED,4,BENIGN,2,test,0", "CLUSTERED,5,MALIGNANT,5,train,1")
    after = cbis_ddsm.load(written(tmp_path, cbis_ddsm, suspected))
    assert after.malignant.tolist() == [True]
    assert np.array_equal(before, after.features)


@pytest.mark.parametrize(
    ("loader", "row", "words"),
    [
        (sylhet_early_diabetes, SYLHET.replace("40,", ","), "line 2: age is missing"),
        (sylhet_early_diabetes, SYLHET.replace("Male", "male"), "line 2: gender must be one of Female, Male"),
        (sylhet_early_diabetes, SYLHET.replace("Positive", "yes"), "line 2: class must be one of"),
        (sylhet_early_diabetes, SYLHET + ",1", "line 2: 19 fields where the header has 18"),
        (pima, PIMA.replace("33.6", "fat"), "line 2: mass is not a number"),
        (pima, PIMA.replace("33.6", "nan"), "line 2: mass is outside"),
        (pima, PIMA.replace("33.6", "inf"), "line 2: mass is outside"),
        (brfss2015, BRFSS.replace("26", ""), "line 2: BMI is missing"),
        (brfss2015, BRFSS.replace("0,1,0,1,26", "0,2,0,1,26"), "line 2: HighBP must be one of 0, 1"),
        (cbis_ddsm, CBIS.replace("PUNCTATE-", "SPARKLING-"), "line 2: calc_type has a word that is none of"),
        (cbis_ddsm, CBIS.replace("BENIGN", "MALIGNANT"), "line 2: malignant does not agree with pathology"),
    ],
)
def test_a_field_that_is_not_what_it_must_be_is_named_with_line_and_column(tmp_path, loader, row, words):
    with pytest.raises(IncorrectInput, match=words):
        loader.load(written(tmp_path, loader, row))


def test_a_refusal_does_not_repeat_the_patients_value(tmp_path):
    with pytest.raises(IncorrectInput) as refusal:
        sylhet_early_diabetes.load(written(tmp_path, sylhet_early_diabetes, SYLHET.replace("Male", "Jane Doe")))
    assert "Jane" not in refusal.value.message


@pytest.mark.parametrize("loader", list(HEADER))
def test_a_file_without_its_columns_or_rows_or_bytes_is_refused(tmp_path, loader):
    with pytest.raises(IncorrectInput, match="lacks the columns"):
        loader.load(written(tmp_path, loader, "1", header="number"))
    with pytest.raises(IncorrectInput, match="holds no rows"):
        loader.load(written(tmp_path, loader))
    with pytest.raises(IncorrectInput, match="names a column twice"):
        loader.load(written(tmp_path, loader, "1,1", header="a,a"))
    (tmp_path / loader.FILE).write_bytes(b"\x1f\x8b\xff")
    with pytest.raises(IncorrectInput, match="cannot be read as CSV"):
        loader.load(tmp_path)
    (tmp_path / loader.FILE).unlink()
    with pytest.raises(IncorrectInput, match="cannot be read as CSV"):
        loader.load(tmp_path)


@pytest.mark.parametrize(
    ("loader", "development"),
    # rows and groups of the development part that this project holds
    [(sylhet_early_diabetes, (391, 188)), (pima, (576, 576)), (cbis_ddsm, (2695, 1174))],
)
def test_the_published_file_is_read_whole(loader, development):
    folder = data_dir(loader.NAME)
    if folder is None:
        pytest.skip(f"the data set {loader.NAME} is not on this machine")
    table = loader.load(folder)
    assert np.isfinite(table.features[:, 0]).all()
    if len(table.features) == development[0]:
        assert len(np.unique(table.groups)) == development[1]
