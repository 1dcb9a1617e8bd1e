"""Folds and windows of heart rates: nothing is judged on what was learnt from."""

import numpy as np
import pytest

from model_export.datasets import heart_simulator

pytestmark = pytest.mark.export
pytest.importorskip("sklearn", reason="needs the training stack")

from model_export.recipes.heart_rate_windows import folds, to_judge, to_learn, wearer_groups  # noqa: E402


def test_no_fold_learns_from_what_it_is_judged_on():
    people = heart_simulator.recordings(5, 3, 1)
    everything = list(folds(people))
    assert [fold.known for fold in everything] == [True] * 3 + [False] * 4
    for fold in everything:
        for name, judged in fold.judge.items():
            if fold.known:
                learnt = fold.learn[name]
                assert learnt.start == people[name].start
                # judged begins, at the earliest, with the minute after the last that was learnt from
                assert (judged.start - learnt.start).total_seconds() / 60 >= len(learnt)
            else:
                assert name not in fold.learn
    assert sorted(name for group in wearer_groups(people) for name in group) == sorted(people)


def test_windows_are_judged_on_the_clocks_five_minutes():
    examples = to_judge(heart_simulator.recordings(1, 1, 1))
    assert len(examples) > 100
    assert not np.isnan(examples.windows.last).any()
    assert set(examples.wearer) == {"sim00"}


def test_a_copy_is_the_same_for_its_seed_and_another_for_another():
    people = heart_simulator.recordings(1, 2, 1)
    one, again, other = (to_learn(people, copy, 7) for copy in (0, 0, 1))
    for name, values in one.windows.inputs().items():
        np.testing.assert_array_equal(values, again.windows.inputs()[name])
    assert len(other) != len(one) or not np.array_equal(one.truth, other.truth, equal_nan=True)


def test_a_copy_is_never_asked_where_no_forecast_would_be_made():
    learnt = to_learn(heart_simulator.recordings(2, 2, 1), 0, 7)
    assert not np.isnan(learnt.windows.last).any()
    assert (np.count_nonzero(~np.isnan(learnt.windows.recent[:, :, 0]), axis=1) >= 12).all()
