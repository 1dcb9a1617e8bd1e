"""Two readers: figures worked out by hand, or from the papers that made them."""

import numpy as np
import pytest

from clinical.agreement import (
    Differences,
    Overlap,
    TwoByTwo,
    differences,
    kappa_interval,
    median,
    overlap,
    same_findings,
)


def test_kappa_is_agreement_beyond_chance() -> None:
    # 20 both, 5 and 10 one of them, 15 neither: observed 35/50, chance (25*30 + 25*20)/2500 = 0.5.
    assert TwoByTwo(20, 5, 10, 15).kappa == pytest.approx(0.4)
    assert TwoByTwo(0, 5, 5, 0).kappa == pytest.approx(-1.0)


@pytest.mark.parametrize("table", [TwoByTwo(), TwoByTwo(neither=9), TwoByTwo(both=4)])
def test_kappa_is_not_defined_where_chance_alone_agrees(table) -> None:
    assert table.kappa is None


def test_positive_agreement_does_not_gain_from_images_without_findings() -> None:
    few, many = TwoByTwo(3, 1, 1, 10), TwoByTwo(3, 1, 1, 10_000)
    assert few.positive_agreement == many.positive_agreement == pytest.approx(0.75)
    assert few.negative_agreement == pytest.approx(20 / 22)
    assert TwoByTwo(neither=3).positive_agreement is None


def test_an_image_counts_once_in_its_table() -> None:
    tables = [TwoByTwo.of(first=a, second=b) for a in (True, False) for b in (True, False)]
    assert [one.counts for one in tables] == [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    assert sum(tables, TwoByTwo()) == TwoByTwo(1, 1, 1, 1)


def test_the_interval_of_kappa_is_wider_when_images_come_in_studies() -> None:
    agree, differ = [TwoByTwo(both=1), TwoByTwo(neither=1)], [TwoByTwo(first=1), TwoByTwo(second=1)]
    studies = [agree * 3] * 8 + [differ * 3] * 2
    images = [image for study in studies for image in study]
    kappa = sum(images, TwoByTwo()).kappa
    low, high = kappa_interval([sum(study, TwoByTwo()) for study in studies])
    narrow_low, narrow_high = kappa_interval(images)
    assert low < narrow_low < kappa < narrow_high < high
    assert kappa_interval(images) == (narrow_low, narrow_high), "the same data give the same interval"


def test_the_interval_of_independent_images_is_that_of_the_large_sample_formula() -> None:
    cells = ((20, TwoByTwo(both=1)), (5, TwoByTwo(first=1)), (10, TwoByTwo(second=1)), (15, TwoByTwo(neither=1)))
    low, high = kappa_interval([image for count, image in cells for _ in range(count)])
    # Cohen 1960: SE = sqrt(0.7 * 0.3 / (50 * 0.5**2)) = 0.1296 about kappa 0.4.
    assert low == pytest.approx(0.4 - 1.96 * 0.1296, abs=0.04)
    assert high == pytest.approx(0.4 + 1.96 * 0.1296, abs=0.04)


def test_one_study_has_no_interval() -> None:
    assert kappa_interval([TwoByTwo(20, 5, 10, 15)]) is None
    assert kappa_interval([TwoByTwo(neither=5)] * 9) is None


def test_two_who_never_differed_have_no_interval_of_no_width() -> None:
    studies = [TwoByTwo(both=1), TwoByTwo(neither=1)] * 6
    assert (sum(studies, TwoByTwo()).kappa, kappa_interval(studies)) == (1.0, None)


def test_the_limits_of_agreement_are_those_of_bland_and_altman() -> None:
    # Differences 1, 2, 3: mean 2, standard deviation 1.
    assert differences([(1, 2), (1, 3), (1, 4)]) == Differences(3, 2.0, 0.04, 3.96)
    assert differences([(0.5, 0.25)]) == Differences(1, -0.25, None, None)
    assert differences([]) == Differences(0, None, None, None)


def test_overlap_is_counted_in_pixels() -> None:
    first, second = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert overlap(first, second) is None
    first[0], second[0, :2], second[1, 0] = True, True, True  # 4 and 3 pixels, 2 shared
    assert overlap(first, second) == Overlap(round(4 / 7, 4), 0.4)


def test_findings_are_the_same_where_they_overlap_most_whatever_their_numbers() -> None:
    first, second = np.zeros((6, 6), np.int16), np.zeros((6, 6), np.int16)
    first[0:2], first[4:6] = 1, 2
    second[4:6], second[1:3] = 1, 2
    second[0, 0] = 3  # touches finding 1 as well, and less
    assert same_findings(first, second) == [(2, 1), (1, 2)]


def test_the_median_of_nothing_is_nothing() -> None:
    assert (median([]), median([3, 1, 2])) == (None, 2.0)
