"""A client that keeps connections alive and measures: one process, one loop, no client library.

`measure` runs it in a process of its own, so that the client's interpreter is not the server's. It shares the
machine's cores with the server, which costs every server that is measured the same.
"""

import multiprocessing
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat

WARM_S = 0.5
GOOD = (b"HTTP/1.1 200", b"HTTP/1.1 201")


@dataclass(frozen=True)
class Target:
    """Where to call and with what. messages: whole HTTP requests; one is sent again and again, more only once.

    want: what every body must hold, else the figure would be of something else than an answer.
    """

    port: int
    messages: Sequence[bytes]
    want: bytes = b'"cards":[{'


@dataclass(frozen=True)
class Figure:
    """One measurement. with_warm_up: requests in all."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    with_warm_up: int

    @property
    def per_s(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def request(path: str, body: bytes, token: str | None = None) -> bytes:
    """Return one POST as bytes."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def measure(target: Target, connections: int, seconds: float) -> Figure:
    """Drive a server for so long over so many connections, each with one request under way."""
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.Process(target=_child, args=(theirs, target, connections, seconds))
    child.start()
    theirs.close()
    try:
        found = ours.recv()
    except EOFError:
        raise SystemExit("the driver died") from None
    child.join()
    if isinstance(found, str):
        raise SystemExit(found)
    return found


def _child(pipe, target, connections, seconds):
    try:
        pipe.send(_drive(target, connections, seconds))
    except (OSError, RuntimeError) as problem:
        pipe.send(f"the server did not answer as it should: {problem}")


def _drive(target: Target, connections: int, seconds: float) -> Figure:
    messages: Iterator[bytes] = iter(target.messages) if len(target.messages) > 1 else repeat(target.messages[0])
    selector = selectors.DefaultSelector()
    loop = _Loop(selector, messages, target.want)
    for _ in range(connections):
        loop.open(target.port)
    # Tokens are good once: a warm-up uses some of them up, and so it is short.
    warm_until = time.perf_counter() + min(WARM_S, seconds / 4)
    loop.run(warm_until)
    warmed = len(loop.latencies)
    loop.latencies.clear()
    started = time.perf_counter()
    loop.run(started + seconds)
    took = time.perf_counter() - started
    ordered = sorted(loop.latencies)
    if not ordered:
        raise RuntimeError("not one answer")
    return Figure(
        len(ordered),
        took,
        ordered[len(ordered) // 2] * 1000,
        ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000,
        warmed + len(ordered),
    )


class _Loop:
    """All connections of one driver. Each has [socket, when it asked, what has come, how much must come]."""

    def __init__(self, selector, messages, want):
        self.selector, self.messages, self.want = selector, messages, want
        self.latencies: list[float] = []

    def open(self, port):
        link = socket.create_connection(("127.0.0.1", port))
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        state = [link, 0.0, b"", -1]
        self.selector.register(link, selectors.EVENT_READ, state)
        self._send(state)

    def run(self, until):
        while time.perf_counter() < until:
            ready = self.selector.select(0.5)
            for key, _ in ready:
                if not self._receive(key.data):
                    return

    def _send(self, state):
        message = next(self.messages, None)
        if message is None:
            return False
        state[1], state[2], state[3] = time.perf_counter(), b"", -1
        state[0].sendall(message)
        return True

    def _receive(self, state):
        data = state[0].recv(262144)
        if not data:
            raise RuntimeError("the connection was closed")
        state[2] += data
        if state[3] < 0:
            end = state[2].find(b"\r\n\r\n")
            if end < 0:
                return True
            state[3] = end + 4 + _length(state[2][:end])
        if len(state[2]) < state[3]:
            return True
        self.latencies.append(time.perf_counter() - state[1])
        if not state[2].startswith(GOOD) or self.want not in state[2]:
            raise RuntimeError(f"{state[2][:40]!r} ... {state[2][-300:]!r}")
        return self._send(state)


def _length(head: bytes) -> int:
    for line in chain(head.split(b"\r\n")[1:]):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    raise RuntimeError("an answer without a length")
