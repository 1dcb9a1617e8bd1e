"""Where a request ends: found a byte at a time or at once, and nothing strange is ever waited for."""

import pytest
from gunicorn.http.errors import ConfigurationProblem, InvalidHeader, LimitRequestLine, UnsupportedTransferCoding
from hypothesis import given
from hypothesis import strategies as st

from consilium.framing import MAX_CHUNKS, MAX_HEAD_BYTES, Framing
from consilium.refusals import refusal, status_of

LIMIT = 1000
POST = b"POST /x HTTP/1.1\r\nHost: x\r\n"
WHOLE = {
    "no body": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "an empty line first": b"\r\nGET / HTTP/1.1\r\n\r\n",
    "a length": POST + b"content-LENGTH : 4 \r\n\r\nabcd",
    "a length of nothing": POST + b"Content-Length: 0\r\n\r\n",
    "chunks": POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
    "chunks and trailers": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: y\r\nZ: z\r\n\r\n",
    "blank lines in the body": POST + b"Content-Length: 8\r\n\r\n\r\n\r\n\n\n\n\n",
}
# What the parser will refuse, or what the application will: waiting for more of it helps nobody.
STRANGE = {
    "both ways": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two lengths": POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n",
    "a length that is no number": POST + b"Content-Length: +4\r\n\r\n",
    "a length beyond numbers": POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n",
    "a length beyond the limit": POST + b"Content-Length: 1001\r\n\r\n",
    "a chunk that is no number": POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "a signed chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
    "a chunk line without an end": POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 9000,
}
REFUSED = {
    "TLS": (b"\x16\x03\x01\x02\x00", 400),
    "a lower-case method": (b"get / HTTP/1.1\r\n", 400),
    "lines that end with LF alone": (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    "a head without an end": (b"GET / HTTP/1.1\r\nX: " + b"y" * MAX_HEAD_BYTES, 431),
    "a line without an end": (b"GET /" + b"y" * MAX_HEAD_BYTES, 414),
    "a chunk beyond the limit": (POST + b"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n", 413),
    "crumbs": (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * (MAX_CHUNKS + 1), 400),
    "endless trailers": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * (MAX_HEAD_BYTES // 6 + 9),
        431,
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_request_ends_where_it_ends_and_not_a_byte_before(name):
    request, found = WHOLE[name], Framing(LIMIT)
    for at, byte in enumerate(request):
        assert found.end is None, f"ended after {at} of {len(request)} bytes"
        found.feed(bytes([byte]))
    assert (found.end, found.refused) == (len(request), None)


@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_it_ends_there_however_it_is_cut_and_whatever_follows(name, data):
    request = WHOLE[name]
    stream, found = request + b"GET /next HTTP/1.1\r\n", Framing(LIMIT)
    while found.end is None:
        size = data.draw(st.integers(1, len(stream)))
        found.feed(stream[len(found.data) : len(found.data) + size])
    assert bytes(found.request()) == request


@pytest.mark.parametrize("name", STRANGE)
def test_nothing_is_waited_for_after_something_strange(name):
    found = Framing(LIMIT)
    found.feed(STRANGE[name])
    assert found.end is not None


@pytest.mark.parametrize("name", REFUSED)
def test_what_never_becomes_a_request_is_refused_at_once(name):
    data, status = REFUSED[name]
    found = Framing(1 << 20)
    found.feed(data)
    assert found.refused == status


def test_only_what_stores_images_may_send_more():
    body = b" HTTP/1.1\r\nContent-Length: 1500\r\n\r\n" + b"x" * 1500
    larger = {b"POST /images": 2000}
    for line, waited in ((b"POST /images/1", True), (b"POST /image", False), (b"PUT /images", False)):
        framing = Framing(LIMIT, larger)
        framing.feed(line + body[:1000])
        assert (framing.end is None) == waited
    chunked = Framing(LIMIT, larger)
    chunked.feed(b"POST /images HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7d1\r\n")
    assert chunked.refused == 413


def test_a_client_that_asks_before_it_sends_its_body_is_waited_for():
    found = Framing(LIMIT)
    found.feed(POST + b"Expect: 100-Continue\r\nContent-Length: 4\r\n\r\n")
    assert (found.awaits_continue, found.end) == (True, None)


@given(st.binary(max_size=200))
def test_no_bytes_at_all_break_it(data):
    Framing(LIMIT).feed(b"POST / HTTP/1.1\r\n" + data)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (LimitRequestLine(9000), 414),
        (InvalidHeader("Zzcanary"), 400),
        (UnsupportedTransferCoding("Zzcanary"), 400),
        (ConfigurationProblem("Zzcanary"), 500),
        (RuntimeError("Zzcanary"), 500),
    ],
)
def test_a_refusal_names_the_kind_of_mistake_and_repeats_nothing(error, status):
    assert status_of(error) == status
    head, body = refusal(status).split(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"OperationOutcome" in body
    assert b"Zzcanary" not in body
