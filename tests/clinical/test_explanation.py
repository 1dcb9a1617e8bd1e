"""What moved a score: exact by hand, against the `shap` package, and in sum what the model says."""

from pathlib import Path

import numpy as np
import pytest

from clinical.errors import Fault
from clinical.explanation import OVER_ROOT, PRODUCT, RATIO, column_of, explainer_of

GOLDEN = Path(__file__).parent / "golden" / "tree_shap.npz"  # made by make_tree_shap.py beside it
INF = np.inf


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def arrays(**changes):
    """One tree on two features and a line on the first.

    x0 <= 1 (60 of 100 rows, missing goes here): then x1 <= 2 (30 of 60) gives 1, else 3 (missing too). Else 10.
    The line of x0 rises from 0 at 0 to 4 at 2; missing is 7, the mean of training 1.
    """
    return {
        "kind": np.array([0, 0], np.int16),
        "first": np.array([0, 1], np.int16),
        "second": np.array([0, 1], np.int16),
        "owner": np.array([0, 1], np.int16),
        "features": np.array(2),
        "intercept": np.array(0.5),
        "path_column": np.array([[0, 1], [0, 1], [0, -1]], np.int16),
        "path_low": np.array([[-INF, -INF], [-INF, 2.0], [1.0, -INF]]),
        "path_high": np.array([[1.0, 2.0], [1.0, INF], [INF, INF]]),
        "path_unknown": np.array([[True, False], [True, True], [False, True]]),
        "path_share": np.array([[0.6, 0.5], [0.6, 0.5], [0.4, 1.0]]),
        "path_value": np.array([1.0, 3.0, 10.0]),
        "line_corner": np.array([[0.0, 2.0], [0.0, 1.0]]),
        "line_height": np.array([[0.0, 4.0], [0.0, 0.0]]),
        "line_missing": np.array([7.0, 0.0]),
        "line_mean": np.array([1.0, 0.0]),
        **changes,
    }


def test_parts_are_the_shapley_values_worked_out_by_hand():
    found = explainer_of(arrays()).explain(np.array([0.5, 5.0]))
    # Tree, nothing known: 0.6 * (0.5 * 1 + 0.5 * 3) + 0.4 * 10 = 5.2; x0 known: 2; x1 known: 0.6 * 3 + 4 = 5.8;
    # both known: 3.
    tree_0 = ((2 - 5.2) + (3 - 5.8)) / 2
    tree_1 = ((5.8 - 5.2) + (3 - 2)) / 2
    line_0 = 1.0 - 1.0  # height at 0.5 less the mean
    assert found.base == pytest.approx(5.2 + 1.0 + 0.5)
    assert found.parts == pytest.approx([tree_0 + line_0, tree_1])
    assert found.score == pytest.approx(3 + 1 + 0.5)


def test_a_missing_value_goes_where_the_tree_sends_it_and_has_its_own_height():
    found = explainer_of(arrays()).explain(np.array([np.nan, 1.0]))
    # x0 missing passes to the left like a small one, x1 = 1 gives 1; the line says 7.
    assert found.score == pytest.approx(1 + 7 + 0.5)


def test_the_parts_of_a_made_column_go_to_its_owner():
    both = arrays(owner=np.array([1, 1], np.int16))
    row = np.array([0.5, 5.0])
    assert explainer_of(both).explain(row).parts[0] == 0
    assert explainer_of(both).explain(row).parts[1] == pytest.approx(
        explainer_of(arrays()).explain(row).parts.sum()
    )


def test_parts_are_those_of_the_shap_package(golden):
    explainer = explainer_of(golden)
    found = [explainer.explain(row) for row in golden["rows"]]
    assert np.isnan(golden["rows"]).any()
    assert np.abs(np.array([one.parts for one in found]) - golden["shap_values"]).max() <= 1e-12
    assert abs(found[0].base - float(golden["shap_base"])) <= 1e-12


def test_columns_are_made_in_the_arithmetic_of_the_graph():
    a, b = np.array([98.0, np.nan]), np.array([25.0, 25.0])
    assert column_of(OVER_ROOT, a, b)[0] == 19.6
    assert column_of(PRODUCT, a, b)[0] == 2450
    assert column_of(RATIO, a, b)[0] == 3.92
    assert np.isnan(column_of(RATIO, a, b)[1])


@pytest.mark.parametrize("change", [{"path_value": np.zeros(2)}, {"line_mean": np.zeros(3)}, {"features": None}])
def test_arrays_that_do_not_fit_are_a_fault(change):
    with pytest.raises(Fault):
        explainer_of(arrays(**change))


def test_absent_arrays_are_a_fault():
    lacking = arrays()
    del lacking["path_share"]
    with pytest.raises(Fault, match="lack"):
        explainer_of(lacking)
