"""Parity of our own tree writer with scikit-learn, missing values and categories included."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs the export extra")
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier

from model_export.onnx.gate import check_graph
from model_export.onnx.tree_ensemble import boosted_model, forest_model
from model_runtime.session import onnxruntime

pytestmark = pytest.mark.export


@pytest.fixture(scope="module")
def table():
    """Six numbers with 12 % missing, two categories; a noisy outcome."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1200, 8))
    X[:, 6] = rng.integers(0, 5, 1200)
    X[:, 7] = rng.integers(0, 40, 1200)
    score = X[:, 0] + 0.5 * X[:, 1] + X[:, 6] % 2 + np.sin(X[:, 7]) + rng.normal(0, 0.5, 1200)
    X[:, :6][rng.random((1200, 6)) < 0.12] = np.nan
    return X, score > 0.5


def probability(model, rows):
    ort = onnxruntime()
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"features": rows})[0]


def edges(rows):
    """Rows with unseen categories, missing categories, everything missing, and infinite numbers."""
    rows = rows[:60].copy()
    rows[:10, 6] = 77.0
    rows[10:20, 7] = 1e9
    rows[20:30, 6:] = np.nan
    rows[30:40] = np.nan
    rows[40:45, 0] = np.inf
    rows[45:50, 1] = -np.inf
    return rows


FORESTS = {
    "forest": RandomForestClassifier(20, min_samples_leaf=5, random_state=0),
    "fully grown": RandomForestClassifier(7, random_state=0),
    "extra trees": ExtraTreesClassifier(10, random_state=0),
    "single leaves": RandomForestClassifier(3, min_samples_leaf=600, random_state=0),
}
BOOSTED = {
    "numbers": HistGradientBoostingClassifier(max_iter=20, random_state=0),
    "categories": HistGradientBoostingClassifier(max_iter=20, random_state=0, categorical_features=[6, 7]),
    "one category": HistGradientBoostingClassifier(max_iter=20, random_state=0, categorical_features=[7]),
}


def finite_for(estimator, rows):
    """scikit-learn's forests refuse infinity; its boosted trees take it."""
    return (
        np.where(np.isinf(rows), 9.0, rows) if isinstance(estimator, tuple(map(type, FORESTS.values()))) else rows
    )


@pytest.mark.parametrize("estimator", [*FORESTS.values(), *BOOSTED.values()], ids=[*FORESTS, *BOOSTED])
def test_the_file_computes_what_scikit_learn_computes(table, estimator):
    X, y = table
    estimator.fit(X[:800], y[:800])
    writer = boosted_model if isinstance(estimator, HistGradientBoostingClassifier) else forest_model
    model = writer(estimator)
    check_graph(model)
    for rows in (X[800:], X[800:801], finite_for(estimator, edges(X[800:]))):
        wanted = estimator.predict_proba(rows)[:, 1:]
        found = probability(model, rows)
        assert found.dtype == np.float64
        assert np.abs(found - wanted).max() <= 1e-12


def test_a_forest_that_never_saw_a_missing_value_still_sends_it_where_scikit_learn_does(table):
    X, y = table
    whole = np.nan_to_num(X)
    forest = RandomForestClassifier(10, min_samples_leaf=5, random_state=0).fit(whole[:800], y[:800])
    rows = np.where(np.arange(8) == 0, 5.0, whole[800:900])
    assert np.abs(probability(forest_model(forest), rows) - forest.predict_proba(rows)[:, 1:]).max() <= 1e-12


def test_values_between_two_float32_numbers_go_where_scikit_learn_rounds_them():
    """The threshold is 1 + 2**-23; a little more is the same number in float32, and must be to the file."""
    X = np.array([[1.0], [1.0 + 2**-22]] * 50)
    forest = RandomForestClassifier(5, random_state=0).fit(X, X[:, 0] > 1)
    found = probability(forest_model(forest), np.array([[1.0 + 2**-23], [1.0 + 2**-23 + 2**-25], [1.0 + 2**-22]]))
    assert found[0] == found[1]
    assert found[1] < 0.01
    assert found[2] > 0.99


def test_three_classes_are_refused(table):
    X, _ = table
    y = np.arange(len(X)) % 3
    with pytest.raises(ValueError, match="two classes"):
        forest_model(RandomForestClassifier(2, max_depth=2).fit(X, y))
    with pytest.raises(ValueError, match="two classes"):
        boosted_model(HistGradientBoostingClassifier(max_iter=2).fit(X, y))
