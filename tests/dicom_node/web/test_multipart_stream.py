"""A message that is taken apart while it comes is the message that lies there as a whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.errors import IncorrectInput
from dicom_node.web.multipart import MAX_HEAD_BYTES, read_parts
from dicom_node.web.multipart_stream import stream_parts
from tests.dicom_node.web.test_multipart import BOUNDARIES, MALFORMED

REFUSED = "refused"


def whole(message, boundary):
    try:
        return [(dict(one.headers), bytes(one.body)) for one in read_parts(message, boundary)]
    except IncorrectInput:
        return REFUSED


def in_pieces(pieces, boundary):
    try:
        return [(dict(one.headers), b"".join(one.body)) for one in stream_parts(pieces, boundary)]
    except IncorrectInput:
        return REFUSED


def cut(message, size):
    return [message[start : start + size] for start in range(0, len(message), size)]


@pytest.mark.parametrize("message", MALFORMED.values(), ids=list(MALFORMED))
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_what_is_malformed_is_refused_in_pieces_too(message, size) -> None:
    assert in_pieces(cut(message, size), "bb") == REFUSED


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_boundary_that_is_none_is_refused(boundary) -> None:
    mark = boundary.encode("latin-1")
    assert in_pieces([b"--" + mark + b"\r\n\r\nx\r\n--" + mark + b"--"], boundary) == REFUSED


# Of what a delimiter is made of, so that most messages are almost one.
ATOMS = st.sampled_from(
    [b"--bb", b"\r\n", b"\r", b"\n", b"--", b"-", b" ", b"x", b"bb", b"A: b", b"\r\n--bb\r\n\r\n"]
)


@given(st.lists(ATOMS, max_size=24).map(b"".join), st.integers(1, 9))
def test_wherever_a_message_is_cut_it_is_the_same_message(middle, size) -> None:
    for message in (middle, b"--bb\r\n\r\n" + middle + b"\r\n--bb--"):
        assert in_pieces(cut(message, size), "bb") == whole(message, "bb")


def test_a_part_that_nobody_reads_is_passed_over() -> None:
    message = b"--bb\r\n\r\nfirst\r\n--bb\r\n\r\nsecond\r\n--bb--"
    bodies = [
        b"".join(one.body) if number else b"" for number, one in enumerate(stream_parts(cut(message, 3), "bb"))
    ]
    assert bodies == [b"", b"second"]


def test_no_more_is_held_than_a_head_and_a_piece() -> None:
    pieces = [b"--bb\r\n\r\n", *[bytes(1000)] * 50, b"\r\n--bb--"]
    (longest,) = (max(map(len, one.body)) for one in stream_parts(pieces, "bb"))
    assert longest <= MAX_HEAD_BYTES + 1000
