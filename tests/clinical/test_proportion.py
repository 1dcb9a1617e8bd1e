"""Shares with Wilson's interval; expected numbers are Newcombe's (Stat Med 1998, table I, method 3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.proportion import Proportion


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_the_published_one(part, whole, low, high) -> None:
    assert Proportion(part, whole).interval == pytest.approx((low, high), abs=5e-5)


def test_a_share_of_nobody_is_no_number() -> None:
    nobody = Proportion(0, 0)
    assert (nobody.share, nobody.interval) == (None, None)
    assert nobody.to_json() == {"part": 0, "whole": 0, "share": None, "low": None, "high": None}


@given(st.integers(1, 10**6), st.data())
def test_the_share_lies_in_its_interval_and_the_interval_in_0_to_1(whole, data) -> None:
    found = Proportion(data.draw(st.integers(0, whole)), whole)
    low, high = found.interval
    assert 0 <= low <= found.share + 1e-12
    assert found.share - 1e-12 <= high <= 1
