"""FROC, thresholds and intervals on marks whose answer can be counted on fingers."""

import math

import numpy as np
import pytest

from model_export import froc

NODULE = (10.0, 10.0, 20.0, 20.0)


def marked(*marks, wanted=(NODULE,), ignored=()):
    return froc.Marked(np.array(marks, np.float64).reshape(-1, 3), wanted, ignored)


# Two images: one nodule found at 0.9 with a false mark at 0.8; one nodule found at 0.4 with one at 0.6.
IMAGES = [
    marked((15, 15, 0.9), (40, 40, 0.8)),
    marked((12, 18, 0.4), (60, 5, 0.6)),
]


def test_sensitivity_rises_with_the_false_marks_that_are_allowed():
    assert froc.sensitivity(IMAGES, 0.0) == 0.5  # threshold above 0.8: only the first nodule
    assert froc.sensitivity(IMAGES, 0.5) == 0.5  # one false mark in two images: threshold above 0.6
    assert froc.sensitivity(IMAGES, 1.0) == 1.0  # both false marks allowed: everything is shown


def test_the_threshold_lets_no_more_false_marks_through_than_allowed():
    threshold = froc.threshold_for(IMAGES, 0.5)
    assert 0.6 < threshold < 0.8
    assert froc.operating_point(IMAGES, threshold) == (0.5, 0.5)
    assert froc.operating_point(IMAGES, 0.0) == (1.0, 1.0)


def test_a_mark_on_an_ignored_region_is_neither_found_nor_false():
    image = marked((15, 15, 0.9), wanted=(), ignored=(NODULE,))
    found, false = froc.operating_point([image], 0.5)
    assert math.isnan(found)
    assert false == 0.0


def test_several_marks_on_one_nodule_find_it_once():
    image = marked((15, 15, 0.9), (16, 16, 0.8), (14, 12, 0.7))
    assert froc.operating_point([image], 0.5) == (1.0, 0.0)
    assert froc.hits([image], 0.95) == [False]


def test_a_mark_counts_up_to_the_margin_and_no_further():
    assert froc.operating_point([marked((15, 22.4, 0.9))], 0.5, margin_px=3.0) == (1.0, 0.0)
    assert froc.operating_point([marked((15, 22.6, 0.9))], 0.5, margin_px=3.0) == (0.0, 1.0)


def test_an_image_without_marks_finds_nothing_even_when_all_false_marks_are_allowed():
    assert froc.sensitivity([marked()], 8.0) == 0.0


def test_the_interval_holds_the_value_and_is_the_same_for_the_same_seed():
    first = froc.curve(IMAGES * 10, (0.5,), draws=200, seed=4)[0.5]
    assert first == froc.curve(IMAGES * 10, (0.5,), draws=200, seed=4)[0.5]
    assert first.low <= first.value <= first.high


def test_auroc_counts_ties_half():
    assert froc.auroc([0.1, 0.4, 0.4, 0.8], [False, False, True, True], draws=20).value == 3.5 / 4
    assert froc.auroc([0.1, 0.2], [False, True], draws=20).value == 1.0
    assert math.isnan(froc.auroc([0.1, 0.2], [True, True], draws=20).value)


def test_peaks_are_the_local_maxima_most_probable_first():
    values = np.zeros((60, 60), np.float32)
    values[10, 10], values[12, 11], values[50, 40] = 0.5, 0.4, 0.9
    found = froc.peaks(values, radius=4)
    assert found[:, :2].tolist() == [[50, 40], [10, 10]]
    assert found[:, 2] == pytest.approx([0.9, 0.5])


def test_a_plateau_is_one_peak():
    values = np.zeros((30, 30), np.float32)
    values[10:13, 10:13] = 0.7
    assert len(froc.peaks(values, radius=4)) == 1


def test_a_flat_map_has_no_peaks():
    assert froc.peaks(np.zeros((30, 30), np.float32)).shape == (0, 3)
