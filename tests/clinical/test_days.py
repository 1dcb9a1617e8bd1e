"""A day is read as images state it, in the form of today and in that of ACR-NEMA, and nothing else is one."""

from datetime import date

import pytest

from clinical.days import as_written_today, day_of


@pytest.mark.parametrize("text", ["19930822", "1993.08.22"])
def test_a_day_is_read_in_both_forms(text) -> None:
    assert day_of(text) == date(1993, 8, 22)
    assert as_written_today(text) == "19930822"


@pytest.mark.parametrize(
    "text", ["", "1993", "199308", "1993-08-22", "1993.8.22", "19931322", "1993.13.22", "1993082²"]
)
def test_what_is_no_day_is_none(text) -> None:
    assert day_of(text) is None


@pytest.mark.parametrize("text", ["", "1993", "1993.08", "about 1993.08.22"])
def test_what_is_no_whole_day_stays_as_it_was_written(text) -> None:
    assert as_written_today(text) == text
