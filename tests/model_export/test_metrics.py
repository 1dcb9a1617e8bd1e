import numpy as np
import pytest

from model_export.metrics import (
    accuracy,
    auprc,
    auroc,
    brier,
    decisions,
    expected_calibration_error,
    intervals,
    rounded,
    subgroup,
    summary,
)

TRUTH = np.array([False, False, True, True])
PROBABILITY = np.array([0.1, 0.6, 0.4, 0.9])


def test_figures_of_four_persons_are_those_worked_out_by_hand():
    # Pairs (diseased, healthy): (.4, .1) and (.9, .1) and (.9, .6) are in order, (.4, .6) is not.
    assert auroc(TRUTH, PROBABILITY) == 0.75
    # Positives stand first and third from the top: (1/1 + 2/3) / 2.
    assert auprc(TRUTH, PROBABILITY) == pytest.approx(5 / 6)
    assert brier(TRUTH, PROBABILITY) == pytest.approx((0.01 + 0.36 + 0.36 + 0.01) / 4)
    assert accuracy(TRUTH, PROBABILITY) == 0.5
    # Ten bins of one or no person: |0 - .1| + |1 - .4| + |0 - .6| + |1 - .9|, over four.
    assert expected_calibration_error(TRUTH, PROBABILITY) == pytest.approx(1.4 / 4)


def test_the_confusion_matrix_counts_the_threshold_as_positive():
    at = decisions(TRUTH, PROBABILITY, 0.6)
    assert [at[k] for k in ("true_positive", "false_positive", "false_negative", "true_negative")] == [1, 1, 1, 1]
    assert (at["sensitivity"], at["ppv"]) == (0.5, 0.5)


def test_a_rate_of_nobody_is_null_and_not_zero():
    at = decisions(np.array([False, False]), np.array([0.1, 0.2]), 0.5)
    assert at["sensitivity"] is None
    assert at["ppv"] is None
    assert subgroup(np.array([False]), np.array([0.1]), threshold=0.5)["auroc"] is None
    assert rounded(float("nan")) is None


def test_the_interval_holds_the_figure_and_narrows_with_more_persons():
    rng = np.random.default_rng(0)
    probability = rng.random(2000)
    truth = rng.random(2000) < probability
    few = intervals({"auroc": auroc}, truth[:200], probability[:200], seed=1, resamples=200)["auroc"]
    many = intervals({"auroc": auroc}, truth, probability, seed=1, resamples=200)["auroc"]
    assert many[0] < auroc(truth, probability) < many[1]
    assert many[1] - many[0] < (few[1] - few[0]) / 2


def test_the_summary_stands_beside_the_majority_class():
    truth = np.array([True] * 3 + [False] * 17)
    result = summary(truth, np.linspace(0, 1, 20), threshold=0.5, seed=1)
    assert result["majority"] == 0.85
    assert result["positives"] == 3
    assert len(result["auroc_ci95"]) == 2


@pytest.mark.export
def test_areas_agree_with_scikit_learn_ties_included():
    metrics = pytest.importorskip("sklearn.metrics", reason="needs the export extra")
    rng = np.random.default_rng(5)
    probability = rng.integers(0, 20, 500) / 20
    truth = rng.random(500) < probability
    assert auroc(truth, probability) == pytest.approx(metrics.roc_auc_score(truth, probability))
    assert auprc(truth, probability) == pytest.approx(metrics.average_precision_score(truth, probability))
    assert brier(truth, probability) == pytest.approx(metrics.brier_score_loss(truth, probability))
