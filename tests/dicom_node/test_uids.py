"""UIDs of ours are derived and valid; UIDs of others are checked; statuses mean what PS3.4 says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.errors import Category, IncorrectInput
from clinical.uids import derived_uid, uid_digest
from dicom_node.status import DIMSE_STATUS, in_words, is_taken, is_transient
from dicom_node.uids import checked_uid, is_uid


@given(st.lists(st.text(st.characters(exclude_characters="\x1f", exclude_categories=["Cs"]))))
def test_a_derived_uid_is_valid_and_always_the_same(parts):
    uid = derived_uid(*parts)
    assert uid == derived_uid(*parts)
    assert is_uid(uid)
    assert uid.startswith("2.25.")


def test_parts_are_kept_apart():
    assert (
        len({derived_uid("a", "bc"), derived_uid("ab", "c"), derived_uid("abc"), derived_uid("a", "b", "c")}) == 4
    )


def test_a_derived_uid_holds_a_uuid_of_version_8():
    number = int(derived_uid("x").removeprefix("2.25."))
    assert number >> 76 & 0xF == 8
    assert number >> 62 & 0b11 == 0b10


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2", "2.25.0", "1.2.3\0", "1.2.003"])
def test_uids_of_the_field_are_accepted(uid):
    assert checked_uid(uid, "UID") == uid.rstrip("\0")


@pytest.mark.parametrize(
    "uid", ["", None, "../x", "1..2", "1.2.", ".1", "1.2a", "1.2 .3", "1." * 32 + "1", "1.2\n"]
)
def test_anything_else_is_refused_without_being_repeated(uid):
    with pytest.raises(IncorrectInput) as caught:
        checked_uid(uid, "Study Instance UID")
    assert "Study Instance UID" in caught.value.message
    assert not uid or uid not in caught.value.message


def test_a_digest_is_short_and_does_not_hold_the_uid():
    assert len(uid_digest("1.2.3")) == 12
    assert uid_digest("1.2.3") != uid_digest("1.2.4")


def test_every_category_has_a_dimse_status_and_none_is_a_success():
    assert set(DIMSE_STATUS) == set(Category)
    assert not any(is_taken(status) for status in DIMSE_STATUS.values())
    assert [one for one in Category if is_transient(DIMSE_STATUS[one])] == [Category.BUSY]


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB006, 0xB007, 0x0111])
def test_warnings_and_duplicates_are_stored_objects(status):
    assert is_taken(status)
    assert in_words(status).startswith("stored")


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC000, 0x0122, 0x0124, 0x0110])
def test_failures_are_not(status):
    assert not is_taken(status)
    assert in_words(status).startswith("refused")
