"""Multipart messages: what RFC 2046 allows is read, and nothing of a message that is malformed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.errors import IncorrectInput
from dicom_node.web.multipart import MAX_FIELDS, MAX_HEAD_BYTES, MAX_PARTS, MAX_PREAMBLE_BYTES, read_parts

TYPE = b"Content-Type: application/dicom\r\n"


def parts(message, boundary="bb"):
    return [(dict(one.headers), bytes(one.body)) for one in read_parts(message, boundary)]


@pytest.mark.parametrize(
    ("message", "bodies"),
    [
        (b"--bb\r\n\r\nx\r\n--bb--", [b"x"]),
        (b"--bb\r\n\r\n\r\n--bb--\r\n", [b""]),
        (b"--bb\r\n" + TYPE + b"\r\nx\r\n--bb\r\n" + TYPE + b"\r\ny\r\n--bb--\r\n", [b"x", b"y"]),
        (b"preamble\r\n--bb\r\n\r\nx\r\n--bb--\r\nepilogue --bb\r\n", [b"x"]),
        (b"--bb \t\r\n\r\nx\r\n--bb  \r\n\r\ny\r\n--bb--", [b"x", b"y"]),  # transport padding
        (b"--bb\r\n\r\nx--bb\r\ny\r\n--bb--", [b"x--bb\r\ny"]),  # a mark not at the beginning of a line
        (b"--bb\r\n\r\nx\r\n--bbq\r\ny\r\n--bb--", [b"x\r\n--bbq\r\ny"]),  # nor with more behind it
        (b"--bb\r\n\r\nx\n--bb\ny\r\n--bb--", [b"x\n--bb\ny"]),  # nor after a bare line feed
        (b"--bb\r\n\r\n\r\n\r\n\r\n--bb--", [b"\r\n\r\n"]),
    ],
)
def test_what_the_book_allows_is_read_byte_for_byte(message, bodies):
    assert [body for _, body in parts(message)] == bodies


def test_the_head_s_names_have_no_case_and_its_values_no_padding():
    ((headers, _),) = parts(b"--bb\r\nCONTENT-type:  a/b; c=d \r\nContent-Location: ../1\r\n\r\nx\r\n--bb--")
    assert headers == {"content-type": "a/b; c=d", "content-location": "../1"}


BOUNDARIES = ["", " ", "b ", "b\r\nc", "b\0", "b;c", 'b"', "ü", "b" * 71, "<b>", "b\tc"]


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_boundary_that_is_none_is_refused(boundary):
    with pytest.raises(IncorrectInput):
        parts(
            b"--" + boundary.encode("latin-1") + b"\r\n\r\nx\r\n--" + boundary.encode("latin-1") + b"--", boundary
        )


def head(*lines):
    return b"--bb\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\nx\r\n--bb--"


MALFORMED = {
    "nothing": b"",
    "no boundary": b"x",
    "another boundary": b"--cc\r\n\r\nx\r\n--cc--",
    "closed at once": b"--bb--\r\n",
    "never closed": b"--bb\r\n\r\nx\r\n",
    "closed without a new line": b"--bb\r\n\r\nx--bb--",
    "cut in the delimiter": b"--bb\r\n\r\nx\r\n--b",
    "cut behind the delimiter": b"--bb\r\n\r\nx\r\n--bb",
    "half of the end": b"--bb\r\n\r\nx\r\n--bb-",
    "second part without a head": b"--bb\r\n\r\nx\r\n--bb\r\n--bb--",
    "delimiter ends in a line feed": b"--bb\n\nx\n--bb--\n",
    "delimiter ends in a carriage return": b"--bb\r\rx\r--bb--",
    "head that never ends": b"--bb\r\nContent-Type: a/b\r\nx\r\n--bb--",
    "head ends in line feeds": b"--bb\r\nContent-Type: a/b\n\nx\r\n--bb--",
    "head is cut": b"--bb\r\nContent-Type: a/b",
    "head too long": head(b"A: " + b"x" * MAX_HEAD_BYTES),
    "too many fields": head(*(b"A%d: x" % number for number in range(MAX_FIELDS + 1))),
    "a field twice": head(b"Content-Type: a/b", b"content-type: c/d"),
    "a location twice": head(b"Content-Location: a", b"Content-Location: a"),
    "a folded field": head(b"Content-Type: a/b;", b" c=d"),
    "a field without a name": head(b": x"),
    "a field without a colon": head(b"Content-Type"),
    "a space before the colon": head(b"Content-Type : a/b"),
    "NUL in a name": head(b"Content\0-Type: a/b"),
    "NUL in a value": head(b"Content-Type: a/b\0"),
    "a line feed in a value": head(b"Content-Type: a/b\nX: y"),
    "a carriage return in a value": head(b"Content-Type: a/b\rX: y"),
    "base64": head(b"Content-Transfer-Encoding: base64"),
    "quoted-printable": head(b"Content-Transfer-Encoding: Quoted-Printable"),
    "an unknown transfer encoding": head(b"Content-Transfer-Encoding: x-own"),
    "a compressed part": head(b"Content-Encoding: gzip"),
    "too many parts": b"--bb" + b"\r\n\r\nx\r\n--bb" * (MAX_PARTS + 1) + b"--",
    "preamble too long": b"x" * MAX_PREAMBLE_BYTES + b"\r\n--bb\r\n\r\nx\r\n--bb--",
    "only a preamble": b"\r\n--bb--",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_malformed_is_refused(name):
    with pytest.raises(IncorrectInput):
        parts(MALFORMED[name])


def test_there_are_enough_of_them():
    assert len(MALFORMED) + len(BOUNDARIES) >= 40


@given(st.binary(max_size=200))
def test_any_bytes_are_parts_or_refused(data):
    for message in (data, b"--bb\r\n" + data, b"--bb\r\n\r\n" + data + b"\r\n--bb--"):
        try:
            parts(message)
        except IncorrectInput:
            continue


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=4))
def test_what_is_written_is_read_again(bodies):
    written = b"".join(b"--a1b2\r\n\r\n" + one + b"\r\n" for one in bodies) + b"--a1b2--\r\n"
    if not any(b"--a1b2" in one for one in bodies):
        assert [body for _, body in parts(written, "a1b2")] == bodies
