import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_runtime.histogram import Histogram, histogram_of, read_histogram
from model_runtime.json_fields import Faults, Fields

THREE = Histogram((10.0, 20.0), (0.2, 0.5, 0.3), 0.1)


def test_a_value_on_an_edge_belongs_to_the_bin_above_it():
    assert THREE.bins(np.array([9.999, 10.0, 19.999, 20.0])).tolist() == [0, 1, 1, 2]


def test_what_lies_beyond_all_edges_is_in_the_first_or_the_last_bin():
    assert THREE.bins(np.array([-np.inf, -1e300, 1e300, np.inf])).tolist() == [0, 0, 2, 2]


def test_a_missing_value_has_a_bin_of_its_own_after_the_others():
    assert THREE.bins(np.array([np.nan])).tolist() == [3]


def test_the_histogram_of_one_to_a_hundred_has_ten_equal_bins():
    found = histogram_of(np.arange(1.0, 101.0))
    assert len(found.edges) == 9
    assert found.shares == (0.1,) * 10
    assert found.missing == 0.0


def test_missing_values_are_a_share_of_all_and_no_part_of_the_bins():
    found = histogram_of(np.array([1.0, 2.0, np.nan, np.nan]), edges=(1.5,))
    assert (found.shares, found.missing) == ((0.5, 0.5), 0.5)


def test_a_yes_or_no_feature_has_one_bin_for_each_answer():
    found = histogram_of(np.array([0.0, 1.0, 1.0, 1.0]))
    assert (found.edges, found.shares) == ((1.0,), (0.25, 0.75))


def test_a_feature_that_never_varied_still_tells_a_smaller_value_from_its_own():
    found = histogram_of(np.full(9, 5.0))
    assert (found.edges, found.shares) == ((5.0,), (0.0, 1.0))


def test_a_histogram_of_nothing_is_refused():
    for values, edges in (([], None), ([np.nan, np.nan], None), ([], (1.0,)), ([np.nan], (1.0,))):
        with pytest.raises(ValueError, match="needs values"):
            histogram_of(np.array(values), edges)


@given(
    st.lists(st.none() | st.floats(-1e6, 1e6), min_size=1).filter(
        lambda values: any(v is not None for v in values)
    )
)
def test_what_is_written_is_read_as_it_was(values):
    made = histogram_of(np.array([np.nan if v is None else v for v in values]))
    faults = Faults()
    assert read_histogram(Fields(made.document(), "$", faults)) == made
    assert faults.found == []


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200))
def test_counting_the_values_themselves_gives_the_shares(values):
    array = np.array(values)
    made = histogram_of(array)
    counted = np.bincount(made.bins(array), minlength=len(made.shares)) / len(values)
    assert made.shares == pytest.approx(counted, abs=1e-5)
