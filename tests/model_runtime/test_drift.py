import math
import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_runtime.drift import (
    MIN_ROWS,
    SCORE,
    Drift,
    NoDrift,
    bin_names,
    bin_of,
    change_of,
    expected_shares,
    psi,
)
from model_runtime.histogram import Histogram, histogram_of
from model_runtime.image_statistics import image_statistics
from model_runtime.testing import manifest_of, risk_document

AGE = Histogram((40.0, 60.0), (0.25, 0.5, 0.25), 0.0)
WAIST = Histogram((90.0,), (0.5, 0.5), 0.2)
DOCUMENT = risk_document(
    reference={"features": {"age": AGE.document(), "waist_cm": WAIST.document()}, "score": WAIST.document()}
)
MANIFEST = manifest_of(DOCUMENT)


@pytest.fixture
def counted():
    return Counter()


@pytest.fixture
def drift(counted):
    lock = threading.Lock()

    def count(manifest, feature, place):
        with lock:
            counted[feature, place] += 1

    def answered(manifest, answer):
        with lock:
            counted["answers", answer] += 1

    return Drift(count, answered)


def test_bins_are_named_so_that_people_can_read_them():
    assert bin_names(AGE) == ("<40", "40..60", ">=60", "missing")
    assert bin_names(WAIST) == ("<90", ">=90", "missing")
    assert [bin_of(AGE, value) for value in (39.9, 40.0, 60.0, math.nan)] == ["<40", "40..60", ">=60", "missing"]


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_value_is_placed_as_the_trainer_placed_it(value):
    assert bin_of(AGE, value) == bin_names(AGE)[AGE.bins(np.array([value])).item()]


def test_edges_that_differ_in_the_last_digit_have_bins_of_their_own():
    close = Histogram((0.1, math.nextafter(0.1, 1)), (0.3, 0.3, 0.4), 0.0)
    assert len(set(bin_names(close))) == 4


def test_one_case_is_counted_once_for_each_feature_of_the_reference_and_for_its_score(drift, counted):
    drift.observe(MANIFEST, {"age": 50.0, "waist_cm": 101.0}, 0.3, "unsure")
    assert counted == {("age", "40..60"): 1, ("waist_cm", ">=90"): 1, (SCORE, "<90"): 1, ("answers", "unsure"): 1}


def test_what_was_not_known_is_counted_as_missing(drift, counted):
    drift.observe(MANIFEST, {"age": math.nan}, None)
    assert counted == {("age", "missing"): 1, ("waist_cm", "missing"): 1}


def test_of_a_model_that_reads_images_and_records_each_is_counted_apart(drift, counted):
    """The worker sees the image, the hook the record: neither is missing because the other process has it."""
    features = {"age": AGE.document(), "mean": Histogram((0.5,), (0.5, 0.5), 0.0).document()}
    both = manifest_of(risk_document(reference={"features": features, "score": None}))
    drift.observe(both, {"mean": 0.7, "deviation": 0.1}, None)
    assert counted == {("mean", ">=0.5"): 1}
    drift.observe(both, {}, None)
    assert counted == {("mean", ">=0.5"): 1, ("age", "missing"): 1}


def test_a_feature_that_the_reference_does_not_hold_takes_no_memory(drift, counted):
    for n in range(100):
        drift.observe(MANIFEST, {f"made-up-{n}": 1.0, "age": float(n)}, None)
    assert {feature for feature, _ in counted} == {"age", "waist_cm"}
    assert len(counted) <= len(bin_names(AGE)) + len(bin_names(WAIST))


def test_nothing_is_lost_when_many_threads_count(drift, counted):
    threads = [
        threading.Thread(target=lambda: [drift.observe(MANIFEST, {"age": 50.0}, 0.1) for _ in range(200)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted["age", "40..60"] == 1600


def test_counting_nothing_is_possible():
    NoDrift().observe(MANIFEST, {"age": 50.0}, 0.3)


def test_the_index_of_a_quarter_moved_between_two_bins_is_worked_out_by_hand():
    """(0.5 - 0.25) ln 2 + (0.25 - 0.5) ln (1/2) = 0.5 ln 2."""
    assert psi((0.25, 0.5, 0.25), (0.5, 0.25, 0.25)) == pytest.approx(0.5 * math.log(2))


def test_the_index_is_nought_where_nothing_changed_and_finite_where_a_bin_is_empty():
    assert psi((0.25, 0.5, 0.25), (0.25, 0.5, 0.25)) == 0.0
    assert 0.25 < psi((0.5, 0.5, 0.0), (0.5, 0.0, 0.5)) < 20


@given(st.lists(st.integers(0, 1000), min_size=3, max_size=3).filter(any))
def test_the_index_is_never_negative(counts):
    shares = [count / sum(counts) for count in counts]
    assert psi((0.2, 0.3, 0.5), shares) >= 0


def test_missing_values_are_a_bin_like_the_others():
    assert expected_shares(WAIST) == pytest.approx((0.4, 0.4, 0.2))
    same = change_of(WAIST, {"<90": 400, ">=90": 400, "missing": 200})
    assert (same.rows, same.missing, same.psi) == (1000, 0.2, pytest.approx(0.0, abs=1e-12))
    gone = change_of(WAIST, {"missing": 1000})
    assert (gone.missing, gone.psi > 0.25) == (1.0, True)


def test_below_two_hundred_rows_no_index_is_given_for_it_would_be_chance():
    assert change_of(AGE, {"<40": MIN_ROWS - 1}).psi is None
    assert change_of(AGE, {"<40": MIN_ROWS}).psi > 0.25


def test_nothing_counted_is_nothing_known():
    assert change_of(AGE, {}) is None


def test_rows_of_the_training_set_itself_show_no_drift_and_other_ones_do():
    rng = np.random.default_rng(3)
    values = rng.normal(50, 10, 20_000)
    reference = histogram_of(values)

    def change(rows):
        return change_of(reference, Counter(bin_of(reference, value) for value in rows)).psi

    assert change(rng.normal(50, 10, 2_000)) < 0.02
    assert change(rng.normal(60, 10, 2_000)) > 0.25


def test_an_image_is_told_by_four_numbers_of_what_the_network_gets():
    image = np.stack([np.linspace(0, 1, 101).reshape(101, 1), np.full((101, 1), 9.0)], axis=-1)
    found = image_statistics(image)
    assert found == pytest.approx({"mean": 0.5, "deviation": 0.29155, "dark": 0.1, "bright": 0.9}, abs=1e-4)
    assert image_statistics(image[None]) == found
