"""What is kept of answers: true for as long as the bytes are, and never more than it may be."""

from dicom_node.web.kept import Kept


def test_what_was_asked_for_longest_ago_goes_first_and_the_rest_stays_within_its_bytes():
    kept = Kept(most_bytes=10)
    kept.add(("a",), b"1234")
    kept.add(("b",), b"1234")
    assert kept.get(("a",)) == b"1234"
    kept.add(("c",), b"1234")
    assert [kept.get((name,)) for name in "abc"] == [b"1234", None, b"1234"]
    kept.add(("c",), b"12345678901")  # too much for any room
    assert [kept.get((name,)) for name in "abc"] == [None, None, None]
    kept.add(("a",), b"1234567890")
    assert kept.get(("a",)) == b"1234567890"
