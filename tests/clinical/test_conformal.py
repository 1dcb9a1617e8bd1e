import numpy as np
import pytest

from clinical.conformal import Answer, Conformal, conformal_of
from clinical.errors import IncorrectInput


def test_one_class_in_the_set_is_the_answer():
    sure = Conformal(alpha=0.1, negative=0.3, positive=0.3, rows=100)
    assert sure.answer(0.1) is Answer.NEGATIVE
    assert sure.answer(0.9) is Answer.POSITIVE


def test_neither_class_in_the_set_is_not_sure_enough():
    assert Conformal(0.1, negative=0.3, positive=0.3, rows=100).answer(0.5) is Answer.UNSURE


def test_both_classes_in_the_set_is_not_sure_enough():
    assert Conformal(0.1, negative=0.8, positive=0.8, rows=100).answer(0.5) is Answer.UNSURE


def test_a_probability_on_the_quantile_is_in_the_set():
    one = Conformal(0.1, negative=0.25, positive=0.25, rows=100)
    assert one.answer(0.25) is Answer.NEGATIVE
    assert one.answer(0.75) is Answer.POSITIVE


def test_the_quantile_is_the_one_of_the_finite_sample():
    """Nine cases of a class at alpha 0.2: ceil(10 * 0.8) = 8, so the eighth smallest nonconformity."""
    probability = np.concatenate([np.arange(1, 10) / 100, 1 - np.arange(1, 10) / 50])
    truth = np.repeat([False, True], 9)
    found = conformal_of(truth, probability, 0.2)
    assert (found.negative, found.positive) == (pytest.approx(0.08), pytest.approx(0.16))
    assert (found.alpha, found.rows) == (0.2, 18)


def test_too_few_cases_of_one_class_give_no_quantile():
    """Eight cases at alpha 0.1 would need the ninth: nothing can be promised."""
    truth = np.array([False] * 100 + [True] * 8)
    with pytest.raises(IncorrectInput, match="too few"):
        conformal_of(truth, np.linspace(0, 1, 108), 0.1)


def test_within_each_class_the_truth_is_kept_as_often_as_was_promised():
    """A rare class is covered as well as a common one: each has a quantile of its own."""
    rng = np.random.default_rng(7)
    truth = rng.random(40_000) < 0.1
    probability = 1 / (1 + np.exp(-rng.normal(np.where(truth, 1.0, -2.0), 1.5)))
    found = conformal_of(truth[:20_000], probability[:20_000], 0.1)
    truth, probability = truth[20_000:], probability[20_000:]
    for side, nonconformity, quantile in (
        (~truth, probability, found.negative),
        (truth, 1 - probability, found.positive),
    ):
        assert np.mean(nonconformity[side] <= quantile) == pytest.approx(0.9, abs=0.02)
