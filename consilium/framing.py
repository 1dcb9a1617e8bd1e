"""Where a request ends in a stream of bytes, so that a thread is taken only by one that has arrived whole.

This is no judge of framing: gunicorn's parser reads the same bytes again and decides. Here it is only found out
whether waiting for more can help; what is strange "ends" at once, and the parser refuses it (RFC 9112 6, 7.1).
"""

import re
from collections.abc import Generator, Mapping
from types import MappingProxyType

MAX_HEAD_BYTES = 128 << 10
MAX_LINE_BYTES = 8190
MAX_CHUNKS = 16_384  # a body cut into crumbs costs the parser seconds
# Of a head in lower case; what they begin with is found without trying every place, in heads with long tokens too.
_LENGTH = re.compile(rb"\ncontent-length[ \t]*:([^\r\n]*)")
_CODING = re.compile(rb"\ntransfer-encoding[ \t]*:")
_EXPECT = re.compile(rb"\nexpect[ \t]*:[ \t]*100-continue")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_START = re.compile(rb"[A-Z\r]")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?", re.DOTALL)


class Framing:
    """What has arrived of one request and, perhaps, of what follows it.

    data: everything fed. end: how many bytes of it are the request; None while more is to come. refused: the
    status to answer with at once. awaits_continue: a whole head is here whose body waits for our word (100).
    larger: how a request line may begin -> the limit of its body, where that is not max_body_bytes.
    """

    def __init__(self, max_body_bytes: int, larger: Mapping[bytes, int] = MappingProxyType({})) -> None:
        self.data = bytearray()
        self.end: int | None = None
        self.refused: int | None = None
        self.awaits_continue = False
        self._max_body = max_body_bytes
        self._larger = larger
        self._steps = self._until_end()

    def feed(self, piece: bytes) -> None:
        """Take what has arrived."""
        self.data += piece
        try:
            next(self._steps)
        except StopIteration as stop:
            self.end = stop.value
        # Crumbs and trailers come on top of the body.
        if self.end is None and len(self.data) > self._max_body + (self._max_body >> 2) + MAX_HEAD_BYTES:
            self.end = len(self.data)

    def request(self) -> memoryview:
        """Return the bytes of the request, not copied."""
        return memoryview(self.data)[: self.end]

    def _until_end(self) -> Generator[None, None, int]:
        head = yield from self._head_end()
        if self.refused is not None:
            return len(self.data)
        for start, limit in self._larger.items():
            if self.data.startswith(start):
                self._max_body = limit
        text = b"\n" + self.data[:head].lower()
        body = head + 4
        lengths = [value.strip() for value in _LENGTH.findall(text)]
        coded = _CODING.search(text) is not None
        self.awaits_continue = _EXPECT.search(text) is not None
        if coded and not lengths:
            return (yield from self._chunked_end(body))
        # Both, several, or no number: for the parser to refuse. A body beyond the limit is not waited for.
        if coded or len(lengths) != 1 or not re.fullmatch(rb"[0-9]{1,15}", lengths[0]):
            return body
        size = int(lengths[0])
        if size > self._max_body:
            return body
        while len(self.data) < body + size:
            yield
        return body + size

    def _head_end(self) -> Generator[None, None, int]:
        searched = 0
        while True:
            if self.data and not _START.match(self.data):
                self.refused = 400  # TLS, or no HTTP at all
                return 0
            head = self.data.find(b"\r\n\r\n", searched)
            if 0 <= head <= MAX_HEAD_BYTES:
                return head
            if head < 0 and _BARE_LF.search(self.data, searched):
                self.refused = 400
                return 0
            if len(self.data) > MAX_HEAD_BYTES:
                self.refused = 431 if 0 <= self.data.find(b"\r\n") <= MAX_LINE_BYTES else 414
                return 0
            searched = max(0, len(self.data) - 3)
            yield

    def _chunked_end(self, at: int) -> Generator[None, None, int]:
        payload = 0
        for _ in range(MAX_CHUNKS):
            while (line := self.data.find(b"\r\n", at)) < 0:
                if len(self.data) - at > MAX_LINE_BYTES:
                    return len(self.data)
                yield
            match = _CHUNK_SIZE.fullmatch(self.data, at, line)
            payload += int(match[1], 16) if match else 0
            if payload > self._max_body:
                self.refused = 413
            if match is None or self.refused is not None:
                return len(self.data)
            if int(match[1], 16) == 0:
                return (yield from self._trailers_end(line))
            at = line + 2 + int(match[1], 16) + 2
            while len(self.data) < at:
                yield
        self.refused = 400
        return len(self.data)

    def _trailers_end(self, last_line: int) -> Generator[None, None, int]:
        while (end := self.data.find(b"\r\n\r\n", last_line)) < 0:
            if len(self.data) - last_line > MAX_HEAD_BYTES:
                self.refused = 431
                return len(self.data)
            yield
        return end + 4
