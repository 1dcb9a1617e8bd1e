"""Stored times sort as they read."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.errors import IncorrectInput
from record_store.times import from_text, to_text

# A day away from the ends, because a zone may move a time over them.
zoned = st.datetimes(
    datetime(1, 1, 2),  # noqa: DTZ001 - hypothesis adds the zone
    datetime(9999, 12, 30),  # noqa: DTZ001
    timezones=st.timezones(),
)


@given(zoned, zoned)
def test_texts_sort_as_the_times_do_and_come_back(a, b):
    assert (to_text(a) < to_text(b)) == (a.astimezone(UTC) < b.astimezone(UTC))
    assert from_text(to_text(a)) == a.astimezone(UTC)
    assert len(to_text(a)) == 27


def test_the_form_is_fixed():
    at = datetime(2026, 11, 22, 9, 0, tzinfo=timezone(timedelta(hours=1)))
    assert to_text(at) == "2026-11-22T08:00:00.000000Z"


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(IncorrectInput):
        to_text(datetime(2026, 11, 22))  # noqa: DTZ001 - that is the point


@pytest.mark.parametrize("text", ["", "2026-11-22", "2026-11-22T08:00:00Z", "2026-11-22T08:00:00.0Z"])
def test_other_texts_are_refused(text):
    with pytest.raises(IncorrectInput):
        from_text(text)
