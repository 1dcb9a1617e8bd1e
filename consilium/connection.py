"""One client of the web worker, and what has arrived of its next request."""

import errno
import select
import socket
import time
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from gunicorn.http.errors import NoMoreData
from gunicorn.http.unreader import Unreader
from gunicorn.workers.gthread import TConn

from consilium.dicomweb import MAX_BODY_BYTES, ROOT
from consilium.framing import Framing
from fhir_adapters.rest.bundle import MAX_BUNDLE_BYTES
from fhir_adapters.strict_json import MAX_BYTES

READ_BYTES = 8 << 10  # what the parser is given at a time; it copies what is left again and again
SEND_BYTES = 1 << 20
RECEIVE_BYTES = 256 << 10
PIECES = 4  # taken of one client before it is the next one's turn
# What stores images sends more than a call of a hook does.
LARGER = MappingProxyType(
    {
        f"POST {ROOT}/studies".encode(): MAX_BODY_BYTES,
        b"POST /fhir ": MAX_BUNDLE_BYTES,
        b"POST /fhir/ ": MAX_BUNDLE_BYTES,
    }
)
STAY_MS = 2  # of silence, after which a thread leaves a client to the main loop


HELD_BYTES = 64 << 10  # of an answer, which goes out at once
MAX_UNSENT = 16 << 20  # of a long answer; beyond it the thread waits for the client
WAIT_S = 30.0  # within which the client must have read half of that


class Outgoing:
    """A socket that takes what it is given at once: what the client does not read yet waits in `unsent`.

    So a thread ends with its answer, and the main loop sends the rest. Only an answer longer than MAX_UNSENT (a
    study's images) keeps its thread until the client has read enough. Everything else is the socket's own.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.recv = sock.recv
        self.unsent = bytearray()
        self._held: bytearray | None = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the socket has
        return getattr(self._sock, name)

    def setblocking(self, flag: bool) -> None:
        """Change nothing: the socket never blocks, and gunicorn's four turns a request would be system calls."""

    def hold(self) -> None:
        """Hold what is written until `release`, or until it is much: gunicorn writes head and body one by one.

        Each would be a system call, a packet, and a turn of another thread before this one goes on.
        """
        self._held = bytearray()

    def release(self) -> None:
        """Send what was held. Raises OSError when the client is gone."""
        held, self._held = self._held, None
        if held:
            self.sendall(bytes(held))

    def sendall(self, data: bytes) -> None:
        """Send what the client takes now, keep the rest. Raises OSError when the client is gone."""
        if self._held is not None:
            if len(self._held) + len(data) <= HELD_BYTES:
                self._held += data
                return
            if self._held:
                data = bytes(self._held) + data
                self._held.clear()
        sent = 0 if self.unsent else self._sent(data)
        self.unsent += memoryview(data)[sent:]
        if len(self.unsent) > MAX_UNSENT:
            self._wait(time.monotonic() + WAIT_S)

    def send(self, data: bytes) -> int:
        """As `sendall`."""
        self.sendall(data)
        return len(data)

    def flush(self) -> bool:
        """Send more of the rest; True when nothing is left. Raises OSError when the client is gone."""
        del self.unsent[: self._sent(memoryview(self.unsent)[:SEND_BYTES].tobytes())]
        return not self.unsent

    def _wait(self, until: float) -> None:
        """Send until half of what may wait is left. Raises OSError when the client reads too slowly or is gone."""
        poll = select.poll()
        poll.register(self._sock.fileno(), select.POLLOUT)
        while len(self.unsent) > MAX_UNSENT // 2:
            left = until - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise TimeoutError(errno.ETIMEDOUT, "the client reads too slowly")
            self.flush()

    def _sent(self, data: bytes) -> int:
        try:
            return self._sock.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0


class Arrived(Unreader):  # type: ignore[misc]  # gunicorn has no types
    """Gives the parser one request that is here, and never waits for more."""

    def __init__(self) -> None:
        super().__init__()
        self._data, self._at = memoryview(b""), 0

    def put(self, data: memoryview) -> None:
        """Replace what was there."""
        self._data, self._at = data, 0

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return the next bytes. Raises NoMoreData, for gunicorn to close the connection: never an early end."""
        piece = bytes(self._data[self._at : self._at + max(READ_BYTES, size_hint or 0)])
        if not piece:
            raise NoMoreData
        self._at += len(piece)
        return piece

    def take_rest(self) -> bytes:
        """Return what the parser left."""
        rest: bytes = self.take_buffered() + bytes(self._data[self._at :])
        self.put(memoryview(b""))
        return rest


def _nothing(_conn: "Connection") -> None:
    """Nobody waits for this connection."""


class Connection(TConn):  # type: ignore[misc]  # gunicorn has no types
    """Belongs to the main loop or to one thread, never to both.

    linger: closes a connection whose client may still be reading, without waiting for it.
    watched: the events that the poller is told to look for, 0 for none. happened: what to do at one of them.
    """

    parser: Any
    sock: Outgoing

    def __init__(
        self,
        cfg: Any,  # noqa: ANN401 - gunicorn has no types
        sock: socket.socket,
        client: object,
        server: object,
        linger: "Callable[[Connection], None]",
    ) -> None:
        super().__init__(cfg, sock, client, server)
        self.sock = Outgoing(sock)
        self._linger = linger
        self.framing = Framing(MAX_BYTES, LARGER)
        self.ends_at = 0.0
        self.told_to_go_on = False
        self.drained = 0
        self.data_ready = True  # for gunicorn: it must not wait for data in a thread
        self.fd = sock.fileno()
        self.watched = 0
        self.happened: Callable[[Connection], object] = _nothing
        self.begun = False
        self._poll: select.poll | None = None

    def begin(self, ends_at: float) -> None:
        """Await the next request; it may be here already, behind the one before (pipelining)."""
        rest = bytes(self.framing.data[self.framing.end :]) if self.framing.end is not None else b""
        if self.parser is not None:
            rest = self.parser.unreader.take_rest() + rest
        self.framing = Framing(MAX_BYTES, LARGER)
        self.ends_at = ends_at
        self.told_to_go_on = False
        if rest:
            self.framing.feed(rest)

    def next_is_here(self, ends_at: float) -> bool:
        """Give the client a moment to ask again, in the thread that has just answered. True for a whole request.

        One that has only begun is marked as `begun`, and is the main loop's to wait for. Raises OSError when the
        client is gone.
        """
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.fd, select.POLLIN)
        if self.parser.unreader.buf.getvalue() or self.has_more() or not self._poll.poll(STAY_MS):
            return False
        self.begin(ends_at)
        framing = self.framing
        for _ in range(PIECES):
            piece = self.sock.recv(RECEIVE_BYTES)
            if not piece:
                raise ConnectionResetError
            framing.feed(piece)
            if framing.end is not None or framing.awaits_continue or not self._poll.poll(STAY_MS):
                break
        self.begun = framing.end is None or framing.refused is not None
        return not self.begun

    def hand_over(self) -> None:
        """Give the parser the bytes of one request, and none of what follows it."""
        if not self.initialized:
            self.init()
            self.parser.unreader = Arrived()
        self.parser.unreader.put(self.framing.request())

    def has_more(self) -> bool:
        """True when bytes are here of the request behind this one."""
        end = self.framing.end
        return end is not None and len(self.framing.data) > end

    def close(self, graceful: bool = False) -> None:
        """Close at once, or when the client has read the answer: without keeping the main loop waiting."""
        if graceful:
            self._linger(self)
        else:
            super().close()
