"""Patients and users as keyed digests."""

from clinical.pseudonym import Pseudonyms

NAMES = Pseudonyms(b"k" * 32)


def test_the_same_id_of_two_issuers_is_two_people() -> None:
    names = {NAMES.of_patient("a", "bc"), NAMES.of_patient("ab", "c"), NAMES.of_patient("a", "c")}
    assert len(names) == 3


def test_a_patient_is_never_a_user_and_another_key_makes_other_names() -> None:
    assert NAMES.of_patient("a", "1") != NAMES.of_user("a", "1")
    assert Pseudonyms(b"x" * 32).of_patient("a", "1") != NAMES.of_patient("a", "1")


def test_the_key_is_not_shown() -> None:
    assert "kkk" not in repr(NAMES)
