import numpy as np
import pytest

from model_export.metrics import (
    accuracy,
    auprc,
    auroc,
    balanced_accuracy,
    brier,
    confusion_counts,
    decisions,
    expected_calibration_error,
    intervals,
    majority,
    net_benefit,
    rounded,
    selective_accuracy,
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


def test_accuracy_is_that_of_the_threshold_asked_for():
    assert accuracy(TRUTH, PROBABILITY, 0.4) == 0.75
    assert balanced_accuracy(TRUTH, PROBABILITY, 0.4) == 0.75
    assert balanced_accuracy(TRUTH, np.zeros(4)) == 0.5
    assert summary(TRUTH, PROBABILITY, threshold=0.9, accuracy_threshold=0.4, seed=1)["accuracy"] == 0.75


def test_who_is_least_certain_is_referred():
    # .1 and .9 lie .4 from the threshold, .4 and .6 only .1: at half coverage the two wrong answers are left out.
    assert selective_accuracy(TRUTH, PROBABILITY, coverage=0.5) == 1.0
    assert selective_accuracy(TRUTH, PROBABILITY, coverage=1.0) == accuracy(TRUTH, PROBABILITY)
    # With a threshold of .2, a probability of .1 is half way to 0 and .6 is half way to 1: equally certain.
    truth = np.array([False, True, True])
    assert selective_accuracy(truth, np.array([0.1, 0.6, 0.21]), coverage=2 / 3, threshold=0.2) == 1.0
    assert np.isnan(selective_accuracy(TRUTH, PROBABILITY, coverage=0.0))


def test_net_benefit_weighs_false_alarms_by_the_odds_of_the_threshold():
    # At .4: two true positives and one false positive of four, odds 2/3.
    assert net_benefit(TRUTH, PROBABILITY, 0.4) == pytest.approx(2 / 4 - 1 / 4 * (0.4 / 0.6))


def test_the_matrix_has_the_truth_in_rows():
    truth, said = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 2, 0])
    assert confusion_counts(truth, said, 3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]


def test_copies_of_a_patient_widen_the_interval_only_when_patients_are_drawn():
    rng = np.random.default_rng(0)
    probability = rng.random(300)
    truth = rng.random(300) < probability
    four_times = (np.repeat(truth, 4), np.repeat(probability, 4))
    patients = np.repeat(np.arange(300), 4)

    def width(*arrays, **how):
        low, high = intervals({"auroc": auroc}, *arrays, seed=1, **how)["auroc"]
        return high - low

    assert width(*four_times) < 0.6 * width(truth, probability)
    assert width(*four_times, groups=patients) == pytest.approx(width(truth, probability), rel=0.1)
    assert summary(*four_times, threshold=0.5, seed=1, groups=patients, resamples=10)["patients"] == 300


def test_the_interval_of_the_calibration_error_holds_it_although_every_draw_has_more_noise():
    # Perfectly calibrated: the figure is all noise, and the draws' percentiles alone would leave it out.
    rng = np.random.default_rng(1)
    probability = rng.random(300)
    truth = rng.random(300) < probability
    figure = expected_calibration_error(truth, probability)
    draws = [rng.integers(0, 300, 300) for _ in range(200)]
    assert np.mean([expected_calibration_error(truth[rows], probability[rows]) < figure for rows in draws]) < 0.2
    result = summary(truth, probability, threshold=0.5, seed=1, resamples=200)
    low, high = result["ece_ci95"]
    assert 0 <= low < result["ece"] < high


@pytest.mark.parametrize("truth", [[], [True], [True, True, True], [False, False]])
def test_a_part_without_a_class_or_without_anybody_gives_null_and_no_crash(truth):
    truth = np.array(truth, np.bool_)
    result = summary(truth, np.linspace(0.2, 0.8, len(truth)), threshold=0.5, seed=1, groups=np.arange(len(truth)))
    assert result["auroc"] is None
    assert result["auroc_ci95"] == [None, None]
    assert subgroup(truth, np.full(len(truth), 0.5), threshold=0.5)["auroc"] is None
    assert rounded(majority(truth)) == (1.0 if len(truth) else None)


def test_one_patient_alone_has_no_interval():
    result = intervals({"accuracy": accuracy}, TRUTH, PROBABILITY, seed=1, groups=np.zeros(4, np.int64))
    assert result == {"accuracy": [None, None]}


@pytest.mark.export
def test_areas_agree_with_scikit_learn_ties_included():
    metrics = pytest.importorskip("sklearn.metrics", reason="needs the export extra")
    rng = np.random.default_rng(5)
    probability = rng.integers(0, 20, 500) / 20
    truth = rng.random(500) < probability
    assert auroc(truth, probability) == pytest.approx(metrics.roc_auc_score(truth, probability))
    assert auprc(truth, probability) == pytest.approx(metrics.average_precision_score(truth, probability))
    assert brier(truth, probability) == pytest.approx(metrics.brier_score_loss(truth, probability))
