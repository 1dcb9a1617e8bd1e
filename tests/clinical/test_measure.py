"""Regions, outlines and axes against numbers worked out by hand."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clinical.errors import Fault, IncorrectInput
from clinical.image import PixelSpacing, SpacingOrigin
from clinical.measure import MAX_FINDINGS, axes, connected_regions, findings_from_probability, outline

SMALL_MASKS = arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def found(probability, *, mask=0.5, report=0.5, area=1, spacing=None):
    return findings_from_probability(
        np.asarray(probability, np.float32),
        mask_threshold=mask,
        report_threshold=report,
        min_area_px=area,
        spacing=spacing,
    )


def millimetres(row_mm, column_mm):
    return PixelSpacing(row_mm, column_mm, SpacingOrigin.PIXEL_SPACING)


def picture(*rows):
    """'#' is 0.9, '+' is 0.6, '.' is 0."""
    value = {"#": 0.9, "+": 0.6, ".": 0.0}
    return np.array([[value[c] for c in row] for row in rows], np.float32)


def disc(size, diameter):
    grid = np.arange(size) - (size - 1) / 2
    return (np.hypot(grid[:, None], grid[None, :]) <= diameter / 2).astype(np.float32)


def test_a_map_below_the_threshold_has_no_findings_and_an_empty_mask():
    findings, mask = found(np.full((5, 7), 0.49))
    assert findings == ()
    assert mask.labels.shape == (5, 7)
    assert mask.labels.dtype == np.int16
    assert not mask.labels.any()


def test_a_disc_of_40_pixels_at_half_a_millimetre_measures_20_millimetres_both_ways():
    (finding,), _ = found(disc(60, 40), spacing=millimetres(0.5, 0.5))
    assert finding.long_axis.unit == finding.short_axis.unit == "mm"
    assert finding.long_axis.value == pytest.approx(20.0, abs=0.5)
    assert finding.short_axis.value == pytest.approx(20.0, abs=0.5)
    assert finding.centroid_px == (29.5, 29.5)


def test_row_and_column_spacing_are_not_confused():
    bar = np.zeros((20, 20))
    bar[4:14, 7:9] = 1  # ten rows high, two columns wide
    (finding,), _ = found(bar, spacing=millimetres(2.0, 0.5))
    assert finding.long_axis.value == 20.0
    # The longest distance runs from edge to edge a little slanted; across it the bar is less than one
    # pixel wider than the 1 mm straight across.
    assert 1.0 <= finding.short_axis.value < 1.5
    (turned,), _ = found(bar.T, spacing=millimetres(2.0, 0.5))
    # Two rows of 2 mm, ten columns of 0.5 mm: middles of opposite edges are 5 mm apart, and the longest
    # distance of two edge middles runs slanted from (0.25, 0) to (4.75, 4): 6.02 mm.
    assert turned.long_axis.value == pytest.approx(math.hypot(4.5, 4.0), abs=0.05)


def test_without_spacing_lengths_are_pixels_and_say_so():
    (finding,), _ = found(picture("....", ".##.", "...."))
    assert (finding.long_axis.value, finding.long_axis.unit) == (2.0, "{pixel}")
    assert (finding.short_axis.value, finding.short_axis.unit) == (1.0, "{pixel}")
    assert not finding.has_length


def test_a_lone_pixel_is_one_pixel_long_and_has_an_outline_of_four_corners():
    (finding,), mask = found(picture("...", ".#.", "..."))
    assert (finding.long_axis.value, finding.short_axis.value) == (1.0, 1.0)
    assert set(finding.outline_px) == {(0.5, 0.5), (0.5, 1.5), (1.5, 1.5), (1.5, 0.5)}
    assert finding.box_px == (1, 1, 2, 2)
    assert mask.of(1).sum() == 1


def test_regions_that_touch_at_a_corner_are_one():
    findings, _ = found(picture("##..", "##..", "..##", "..##"))
    assert [f.box_px for f in findings] == [(0, 0, 4, 4)]
    assert findings[0].centroid_px == (1.5, 1.5)


def test_regions_with_a_gap_are_two():
    findings, _ = found(picture("##...", "##...", "...##"))
    assert len(findings) == 2


def test_the_most_probable_is_number_one_and_the_mask_carries_the_same_numbers():
    findings, mask = found(picture("++..#", "++...", "....+"))
    assert [(f.number, f.probability) for f in findings] == [(1, 0.9), (2, 0.6), (3, 0.6)]
    assert mask.labels.tolist() == [[2, 2, 0, 0, 1], [2, 2, 0, 0, 0], [0, 0, 0, 0, 3]]


def test_a_region_is_reported_by_its_peak_and_drawn_down_to_the_mask_threshold():
    findings, mask = found(picture("+#+", "...", "+++"), report=0.8)
    assert [(f.probability, f.box_px) for f in findings] == [(0.9, (0, 0, 1, 3))]
    assert mask.labels.tolist() == [[1, 1, 1], [0, 0, 0], [0, 0, 0]]


def test_regions_smaller_than_the_least_area_are_neither_findings_nor_in_the_mask():
    findings, mask = found(picture("###.#"), area=2)
    assert len(findings) == 1
    assert mask.labels.tolist() == [[1, 1, 1, 0, 0]]


def test_the_threshold_itself_counts():
    findings, _ = found(np.full((2, 2), 0.5), mask=0.5, report=0.5)
    assert len(findings) == 1


def test_probabilities_are_rounded_to_three_decimals():
    findings, _ = found(np.full((2, 2), 0.87654321))
    assert findings[0].probability == 0.877


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.5, 1.5])
def test_values_that_are_no_probabilities_are_a_fault_and_never_no_findings(bad):
    values = np.zeros((4, 4))
    values[1, 1] = bad
    with pytest.raises(Fault):
        found(values)


def test_a_model_that_fires_everywhere_is_a_fault_and_not_a_cut_list():
    values = np.zeros((2, 2 * (MAX_FINDINGS + 1)))
    values[0, ::2] = 1
    with pytest.raises(Fault):
        found(values)


def test_an_array_that_is_no_map_is_refused():
    with pytest.raises(IncorrectInput):
        found(np.zeros((1, 4, 4)))
    with pytest.raises(IncorrectInput):
        outline(np.zeros((2, 2), np.bool_))


def test_the_outline_of_an_l_shape_turns_six_times():
    (finding,), _ = found(picture("#.", "##"))
    assert finding.outline_px == ((-0.5, -0.5), (-0.5, 0.5), (0.5, 0.5), (0.5, 1.5), (1.5, 1.5), (1.5, -0.5))


def test_a_ring_has_one_outline_around_the_outside():
    ring = picture("####", "#..#", "#..#", "####")
    (finding,), mask = found(ring)
    assert len(finding.outline_px) == 4
    assert mask.labels[1, 1] == 0


def test_axes_of_a_tilted_rectangle_are_its_diagonal_and_the_extent_across():
    corners = np.array([[0, 0], [0, 4], [3, 4], [3, 0]], np.float64)
    long_axis, short_axis = axes(corners)
    assert long_axis == pytest.approx(5.0)
    # Each of the two other corners is 3 * 4 / 5 from the diagonal, on opposite sides.
    assert short_axis == pytest.approx(4.8)


def flood(mask):
    """Count and mark regions the slow way, one pixel at a time."""
    label, count = np.zeros(mask.shape, int), 0
    for seed in zip(*np.nonzero(mask), strict=True):
        if label[seed]:
            continue
        count += 1
        todo = [seed]
        while todo:
            r, c = todo.pop()
            if 0 <= r < mask.shape[0] and 0 <= c < mask.shape[1] and mask[r, c] and not label[r, c]:
                label[r, c] = count
                todo += [(r + i, c + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return label, count


@given(SMALL_MASKS)
def test_regions_agree_with_a_pixel_by_pixel_flood_fill(mask):
    regions = connected_regions(mask)
    label, count = flood(mask)
    drawn = np.zeros(mask.shape, int)
    for row, start, stop, number in zip(regions.row, regions.start, regions.stop, regions.label, strict=True):
        drawn[row, start:stop] = number + 1
    assert regions.count == count
    assert np.array_equal(drawn, label)


def shoelace(points):
    r, c = np.array(points).T
    return 0.5 * float((c * np.roll(r, -1) - r * np.roll(c, -1)).sum())


@given(SMALL_MASKS)
def test_every_outline_encloses_its_pixels_and_holes_exactly(mask):
    findings, numbered = found(mask.astype(np.float32))
    assert np.array_equal(numbered.labels > 0, mask)
    assert sorted({int(n) for n in np.unique(numbered.labels)} - {0}) == [f.number for f in findings]
    for finding in findings:
        own = numbered.of(finding.number)
        outside, _ = flood_four(~np.pad(own, 1))
        filled = ~outside[1:-1, 1:-1]
        assert shoelace(finding.outline_px) == pytest.approx(filled.sum())
        assert finding.long_axis.value >= finding.short_axis.value >= 1.0


def flood_four(mask):
    """The background from the upper left corner, over edges only."""
    seen, todo = np.zeros(mask.shape, bool), [(0, 0)]
    while todo:
        r, c = todo.pop()
        if 0 <= r < mask.shape[0] and 0 <= c < mask.shape[1] and mask[r, c] and not seen[r, c]:
            seen[r, c] = True
            todo += [(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)]
    return seen, None


@settings(max_examples=settings.default.max_examples // 4)
@given(st.integers(6, 30), st.floats(0.2, 2.0))
def test_a_disc_is_as_long_as_its_diameter_within_a_pixel(diameter, spacing_mm):
    (finding,), _ = found(disc(40, diameter), spacing=millimetres(spacing_mm, spacing_mm))
    assert abs(finding.long_axis.value - diameter * spacing_mm) <= 1.05 * spacing_mm + 0.05


@pytest.mark.timed
def test_a_full_size_radiograph_is_measured_in_less_than_150_ms():
    big = np.zeros((3000, 3000), np.float32)
    for corner in range(0, 2400, 400):
        big[corner : corner + 200, corner : corner + 200] = disc(200, 180)
    started = time.process_time()  # what others do on the machine does not count
    findings, _ = found(big)
    took_ms = 1000 * (time.process_time() - started)
    assert len(findings) == 6
    assert took_ms < 150 * 4  # the budget, with room for a slow machine
