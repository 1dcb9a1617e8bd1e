"""A sender of messages over MLLP: waits for each answer before the next message (MLLP Release 1, 2.1)."""

import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from clinical.errors import Busy
from fhir_adapters.hl7v2.mllp import Frames, Trouble, framed

_ANSWER_BYTES = 1 << 20
_CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What an acknowledgement says. code: MSA-1. control_id: MSA-2. text: MSA-3."""

    code: str
    control_id: str
    text: str
    raw: bytes

    @property
    def accepted(self) -> bool:
        """True for AA and CA."""
        return self.code in ("AA", "CA")


class Sender:
    """One connection. Raises Busy when nobody answers in time, or with what is no acknowledgement."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._frames = connection, Frames(_ANSWER_BYTES)
        self._answers: list[bytes] = []

    def send(self, message: bytes) -> Acknowledged:
        """Send a message and return its answer."""
        try:
            self._connection.sendall(framed(message))
            return self.receive()
        except (OSError, ssl.SSLError):
            raise Busy("the receiver does not answer") from None

    def receive(self) -> Acknowledged:
        """Return the next answer."""
        while not self._answers:
            data = self._connection.recv(_CHUNK)
            if not data:
                raise Busy("the receiver has closed the connection without an answer")
            for found in self._frames.feed(data):
                if isinstance(found, Trouble):
                    raise Busy("the receiver does not speak MLLP")
                self._answers.append(found)
        return acknowledged(self._answers.pop(0))


def acknowledged(answer: bytes) -> Acknowledged:
    """Read an acknowledgement."""
    lines = answer.decode("utf-8", errors="replace").split("\r")
    field = lines[0][3:4] or "|"
    found = {line.split(field)[0]: line.split(field) for line in lines if line}
    msa = [*found.get("MSA", []), "", "", "", ""]
    return Acknowledged(code=msa[1], control_id=msa[2], text=msa[3], raw=answer)


@contextmanager
def sender(
    host: str, port: int, *, timeout_s: float = 30.0, tls: ssl.SSLContext | None = None
) -> Iterator[Sender]:
    """Yield a connection to a receiver. Raises Busy when nobody listens there."""
    try:
        connection = socket.create_connection((host, port), timeout=timeout_s)
        if tls is not None:
            connection = tls.wrap_socket(connection, server_hostname=host)
    except OSError as error:
        raise Busy(f"nobody answers at {host}:{port} ({type(error).__name__})") from None
    with connection:
        yield Sender(connection)


def messages_in(data: bytes) -> Iterable[bytes]:
    """Return the messages of a file: MLLP blocks, or text in which each begins with a line MSH."""
    if data[:1] == b"\x0b":
        return [found for found in Frames(len(data)).feed(data) if isinstance(found, bytes)]
    lines = [line for line in data.replace(b"\r\n", b"\r").replace(b"\n", b"\r").split(b"\r") if line.strip()]
    messages: list[list[bytes]] = []
    for line in lines:
        if line.startswith(b"MSH") or not messages:
            messages.append([])
        messages[-1].append(line)
    return [b"\r".join(one) + b"\r" for one in messages]
