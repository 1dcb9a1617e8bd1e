"""Attribute matching of PS3.4 C.2.2.2, by VR."""

import pytest

from clinical.errors import IncorrectInput
from dicom_node.query.matching import checked_key, is_universal, matches


@pytest.mark.parametrize(
    ("vr", "value", "asked", "fits"),
    [
        # single value, with case for all but names
        ("LO", "A1", "A1", True),
        ("LO", "A1", "a1", False),
        ("LO", "", "A1", False),
        ("SH", "A[1]", "A[1]*", True),
        ("CS", "MR\\CT", "CT", True),
        ("CS", "MR\\CT", "US", False),
        ("CS", "MR", "CT\\MR", True),
        # UIDs: lists, no wild cards, no prefixes
        ("UI", "1.2.3", "1.2.3", True),
        ("UI", "1.2.3", "1.2", False),
        ("UI", "1.2.3", "9.9\\1.2.3", True),
        # wild cards
        ("LO", "Chest PA", "Chest*", True),
        ("LO", "Chest PA", "*PA", True),
        ("LO", "Chest PA", "Chest ??", True),
        ("LO", "Chest PA", "Chest ?", False),
        ("LO", "", "?*", False),
        ("LO", "", "*", True),
        ("LO", "x" * 60 + "!", "*x" * 30 + "?y", False),  # does not take for ever
        # names: case, padding, components at the end, component groups
        ("PN", "Doe^John", "doe^john", True),
        ("PN", "Doe^John^^^", "DOE^JOHN", True),
        ("PN", "Doe^John", "DOE", False),
        ("PN", "Doe^John", "d*", True),
        ("PN", "Buc^Jérôme", "BUC^JÉR*", True),
        ("PN", "Yamada^Tarou=山田^太郎=やまだ^たろう", "山田^太郎", True),
        ("PN", "Yamada^Tarou=山田^太郎", "yamada*=山田*", True),
        ("PN", "Yamada^Tarou=山田^太郎", "yamada*=鈴木*", False),
        ("PN", "Straße^Kim", "STRASSE^*", True),
        # dates and times: ranges, both ends in; a shorter time stands for all of it
        ("DA", "20260102", "20260102", True),
        ("DA", "20260102", "20260101-20260102", True),
        ("DA", "20260102", "20260103-", False),
        ("DA", "20260102", "-20260101", False),
        ("DA", "2026.01.02", "20260102", True),
        ("DA", "", "-20260101", False),
        ("DA", "UNKNOWN", "19000101-", False),
        ("TM", "101112", "10", True),
        ("TM", "101112.500000", "1011-1011", True),
        ("TM", "101112", "101112.000", True),
        ("TM", "101112", "1012-", False),
        # numbers are numbers
        ("IS", "07", "7", True),
        ("US", "512", "512", True),
        ("IS", "7", "70", False),
    ],
)
def test_a_value_matches_as_the_standard_says(vr, value, asked, fits) -> None:
    assert matches(vr, value, checked_key(vr, asked)) is fits


@pytest.mark.parametrize(("vr", "asked"), [("LO", ""), ("LO", "*"), ("LO", "**"), ("DA", "-"), ("UI", "")])
def test_nothing_asked_matches_everything(vr, asked) -> None:
    assert is_universal(vr, asked)
    assert matches(vr, "", asked)


@pytest.mark.parametrize(
    ("vr", "asked"), [("DA", "last week"), ("UI", "1.2.*"), ("UI", "abc"), ("LO", "x" * 2000)]
)
def test_what_can_be_no_key_is_refused_without_being_repeated(vr, asked) -> None:
    with pytest.raises(IncorrectInput) as caught:
        checked_key(vr, asked)
    assert asked not in caught.value.message
