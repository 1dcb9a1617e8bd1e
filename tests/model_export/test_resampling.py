import numpy as np
import pytest

from model_export.resampling import draws, interval, wilson


def test_patients_are_drawn_whole():
    groups = np.array(["a", "b", "a", "c", "b", "a"])
    for rows in draws(6, seed=1, groups=groups, resamples=20):
        names, counts = np.unique(groups[rows], return_counts=True)
        whole = {"a": 3, "b": 2, "c": 1}
        assert all(count % whole[name] == 0 for name, count in zip(names, counts, strict=True))
        assert sum(count // whole[name] for name, count in zip(names, counts, strict=True)) == 3


def test_the_same_seed_draws_the_same_rows():
    one, two = (np.array(list(draws(5, seed=3, resamples=4))) for _ in range(2))
    assert one.tolist() == two.tolist()


def test_the_interval_of_a_mean_is_that_of_theory():
    values = np.random.default_rng(0).normal(10, 2, 400)
    low, high = interval(lambda rows: float(values[rows].mean()), 400, seed=1)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_one_row_or_one_patient_has_no_interval():
    assert np.isnan(interval(lambda rows: 1.0, 1, seed=1)).all()
    assert np.isnan(interval(lambda rows: 1.0, 5, seed=1, groups=np.zeros(5, np.int64))).all()


def test_draws_without_a_defined_figure_are_left_out():
    values = np.array([np.nan, 1.0])
    assert interval(lambda rows: float(values[rows[0]]), 2, seed=1) == (1.0, 1.0)
    assert np.isnan(interval(lambda rows: float("nan"), 2, seed=1)).all()


def test_wilson_is_the_published_interval_and_stays_inside_0_to_1():
    # Newcombe 1998, table I: 81 of 263 is .2553 to .3662; 0 of 20 is 0 to .1611.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(5, 5)[1] == 1.0
    assert np.isnan(wilson(0, 0)).all()
