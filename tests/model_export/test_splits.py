import csv
import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

import model_export
from clinical.errors import IncorrectInput
from model_export.datasets.folders import data_dir
from model_export.datasets.splits import Split, check_disjoint, folds, given, groups_of, part, split


def ordinary(count, *, share=0.25, seed=0):
    """An ordinary random split of rows, as in the papers that report 97 to 99 %."""
    order = np.random.default_rng(seed).permutation(count)
    cut = round(share * count)
    return order[cut:], order[:cut]


def test_an_ordinary_random_split_of_copied_rows_is_refused_with_the_counts():
    # 251 symptom patterns written down 520 times, as in the published file.
    rng = np.random.default_rng(1)
    patterns = np.array([[n >> bit & 1 for bit in range(16)] for n in rng.permutation(65536)[:251]], np.float64)
    rows = patterns[np.append(np.arange(251), rng.integers(0, 251, 520 - 251))]
    groups = groups_of(rows)
    train, test = ordinary(520)
    with pytest.raises(IncorrectInput, match=r"of 130 test rows have a copy .* of 251 groups .* 520 rows in all"):
        Split(train, test, groups)
    whole = split(groups, rows[:, 0] > 0, share=0.25, seed=1)
    assert len(whole.train) + len(whole.test) == 520


def test_an_ordinary_random_split_of_the_sylhet_symptoms_is_refused():
    folder = data_dir("sylhet_early_diabetes")
    if folder is None:
        pytest.skip("the data set sylhet_early_diabetes is not on this machine")
    with gzip.open(folder / "data.csv.gz", "rt", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    groups = groups_of([tuple(v for k, v in row.items() if k not in {"class", "row_group"}) for row in table])
    if len(table) == 391:  # the development part of the 520 rows with 251 distinct
        assert len(np.unique(groups)) == 188
    with pytest.raises(IncorrectInput, match=rf"groups stand on both sides, {len(table)} rows in all"):
        Split(*ordinary(len(table)), groups)
    whole = split(groups, np.array([row["class"] == "Positive" for row in table]), share=0.25, seed=1)
    assert not set(groups[whole.train]) & set(groups[whole.test])


def test_a_missing_value_is_the_same_however_its_nan_was_made():
    negative = np.copysign(np.nan, -1.0)
    assert groups_of(np.array([[1.0, np.nan], [1.0, negative]])).tolist() == [0, 0]


def test_a_copy_is_found_whatever_is_missing_and_whoever_it_is_of():
    rows = np.array([[1.0, np.nan], [2.0, 0.0], [1.0, np.nan], [2.0, -0.0], [1.0, 3.0]])
    assert groups_of(rows).tolist() == [0, 1, 0, 1, 2]
    assert groups_of(["sha-a", "sha-b", "sha-a"]).tolist() == [0, 1, 0]


def test_a_copy_unites_two_patients_and_all_their_rows():
    #        A copy of A's second row stands under B; C is alone.
    rows = ["p", "q", "q", "r", "s"]
    assert groups_of(rows, ["A", "A", "B", "B", "C"]).tolist() == [0, 0, 0, 0, 1]
    assert groups_of(patient=["A", "B", "A"]).tolist() == [0, 1, 0]


@examples(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=60))
def test_groups_are_the_connected_components_of_copies_and_patients(pairs):
    groups = groups_of([a for a, _ in pairs], [b for _, b in pairs])
    expected = list(range(len(pairs)))
    for _ in pairs:  # slow and plainly right: pass the smallest number on until nothing changes
        for i, (a, b) in enumerate(pairs):
            near = [expected[j] for j, (c, d) in enumerate(pairs) if a == c or b == d]
            expected[i] = min(near)
    assert all(
        (groups[i] == groups[j]) == (expected[i] == expected[j])
        for i in range(len(pairs))
        for j in range(len(pairs))
    )


def test_groups_of_nothing_or_of_unequal_lengths_are_refused():
    with pytest.raises(IncorrectInput, match="one entry for each row"):
        groups_of()
    with pytest.raises(IncorrectInput, match="one entry for each row"):
        groups_of(["a", "b"], ["p"])


def test_a_split_keeps_groups_whole_and_classes_even():
    groups = np.repeat(np.arange(200), 3)
    truth = np.repeat(np.arange(200) % 5 == 0, 3)
    drawn = split(groups, truth, share=0.25, seed=3)
    assert len(drawn.test) == 150
    assert truth[drawn.test].mean() == pytest.approx(0.2)
    assert drawn.test.tolist() == split(groups, truth, share=0.25, seed=3).test.tolist()
    assert drawn.test.tolist() != split(groups, truth, share=0.25, seed=4).test.tolist()


def test_a_part_of_the_training_rows_leaves_the_test_rows_alone():
    groups = np.repeat(np.arange(40), 2)
    truth = np.repeat(np.arange(40) % 2 == 0, 2)
    whole = split(groups, truth, share=0.25, seed=1)
    inner = part(whole, 0.2, truth, seed=1)
    assert not set(inner.train) & set(whole.test)
    assert not set(inner.test) & set(whole.test)
    assert sorted([*inner.train, *inner.test]) == whole.train.tolist()


def test_folds_that_a_data_set_brings_are_checked_too():
    patients = groups_of(patient=["A", "A", "B", "C"])
    assert [fold.test.tolist() for fold in given([1, 1, 2, 2], patients)] == [[0, 1], [2, 3]]
    with pytest.raises(IncorrectInput, match="1 of 3 groups stand on both sides"):
        given([1, 2, 2, 1], patients)


def test_sides_that_share_nobody_are_accepted():
    check_disjoint(np.array([0, 1]), np.array([2]), np.array([5, 5, 6]))


# Recipes from before `splits`; whoever rewrites one takes it out of this list, nobody puts one in.
BEFORE = {"datasets/radiograph.py"}
BEFORE |= {"recipes/lung_nodule_data.py"}
ANOTHER_WAY = re.compile(r"KFold|train_test_split|ShuffleSplit|LeaveOneOut|def held_out|split_by_patient")


def test_there_is_no_other_way_to_split():
    top = Path(model_export.__file__).parent
    sources = {path.relative_to(top).as_posix(): path.read_text("utf-8") for path in top.rglob("*.py")}
    others = {name for name, text in sources.items() if ANOTHER_WAY.search(text)} - {"datasets/splits.py"}
    assert others <= BEFORE


@pytest.mark.export
def test_every_row_is_tested_once_and_every_fold_has_both_classes():
    pytest.importorskip("sklearn", reason="needs the export extra")
    groups = np.repeat(np.arange(60), 2)
    truth = np.repeat(np.arange(60) % 4 == 0, 2)
    drawn = folds(groups, truth, count=5, seed=1)
    assert sorted(row for fold in drawn for row in fold.test) == list(range(120))
    assert all(4 <= truth[fold.test].sum() <= 8 for fold in drawn)
    with pytest.raises(IncorrectInput, match="class True has 1"):
        folds(groups, groups == 0, count=5, seed=1)
