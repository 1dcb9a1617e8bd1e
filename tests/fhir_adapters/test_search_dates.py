"""A FHIR date is a range; what is no date is nothing."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_adapters.search.dates import END_OF_TIME, START_OF_TIME, period_of, range_of


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2024", "2024-01-01T00:00:00.000000Z", "2024-12-31T23:59:59.999999Z"),
        ("2024-02", "2024-02-01T00:00:00.000000Z", "2024-02-29T23:59:59.999999Z"),
        ("2023-02-28", "2023-02-28T00:00:00.000000Z", "2023-02-28T23:59:59.999999Z"),
        ("2024-01-01T10:00", "2024-01-01T10:00:00.000000Z", "2024-01-01T10:00:59.999999Z"),
        ("2024-01-01T10:00:05+02:00", "2024-01-01T08:00:05.000000Z", "2024-01-01T08:00:05.999999Z"),
        ("2024-01-01T00:30:00.12+01:00", "2023-12-31T23:30:00.120000Z", "2023-12-31T23:30:00.129999Z"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.000000Z", "2016-12-31T23:59:59.999999Z"),
        ("0001-01-01T00:00:00+14:00", START_OF_TIME, START_OF_TIME),
        ("9999-12-31T23:59:59-12:00", END_OF_TIME, END_OF_TIME),
    ],
)
def test_a_date_covers_all_of_its_precision(text, first, last):
    assert range_of(text) == (first, last)


@pytest.mark.parametrize(
    "text",
    ["", "24", "2024-1", "2024-13", "2023-02-29", "0000", "2024-05-17T24:00:00Z", "2024-05-17T10:00:61Z",
     "2024-05-17T10:00:00+15:00", "2024-05-17 10:00", "2024-05-17T10", "ge2024", "2024\n", "２０２４"],
)  # fmt: skip
def test_what_is_no_date_is_none(text):
    assert range_of(text) is None


@given(st.text(max_size=30))
def test_any_text_is_a_range_or_none(text):
    found = range_of(text)
    assert found is None or found[0] <= found[1]


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)), st.integers(-720, 840))  # noqa: DTZ001
def test_an_instant_lies_where_its_zone_puts_it(at, minutes):
    sign, width = "-" if minutes < 0 else "+", abs(minutes)
    text = f"{at.isoformat(timespec='microseconds')}{sign}{width // 60:02}:{width % 60:02}"
    expected = (at - timedelta(minutes=minutes)).replace(tzinfo=UTC)
    assert range_of(text) == (expected.isoformat(timespec="microseconds").replace("+00:00", "Z"),) * 2


def test_an_open_end_of_a_period_reaches_as_far_as_time():
    assert period_of("2024", None) == ("2024-01-01T00:00:00.000000Z", END_OF_TIME)
    assert period_of(None, "2024") == (START_OF_TIME, "2024-12-31T23:59:59.999999Z")
    assert period_of(None, None) is None
    assert period_of("2024", "soon") is None
