"""Messages and connections between the process that listens and those that receive for it (unix(7))."""

import contextlib
import json
import select
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import Any

_LENGTHS = struct.Struct("=LL")  # of the JSON, of the bytes behind it

Message = dict[str, Any]


class ChannelClosed(Exception):
    """The other process has closed it, or is dead."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message, the bytes that came with it, and a connection, if one was handed over."""

    message: Message
    data: bytes = b""
    connection: socket.socket | None = None


@dataclass(slots=True, eq=False)
class Channel:
    """One end of it. Many threads may send, one receives."""

    _socket: socket.socket
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, message: Message, data: bytes = b"", connection: socket.socket | None = None) -> None:
        """Send a message, with a connection that stays open here too. Raises ChannelClosed."""
        text = json.dumps(message).encode()
        head = _LENGTHS.pack(len(text), len(data))
        try:
            with self._lock:
                if connection is None:
                    self._socket.sendall(head)
                else:
                    socket.send_fds(self._socket, [head], [connection.fileno()])
                self._socket.sendall(text + data)
        except OSError:
            raise ChannelClosed from None

    def receive(self) -> Received:
        """Wait for the next message. Raises ChannelClosed."""
        try:
            head, descriptors, *_ = socket.recv_fds(self._socket, _LENGTHS.size, 1)
            connection = socket.socket(fileno=descriptors[0]) if descriptors else None
            text, data = _LENGTHS.unpack(head + self._exactly(_LENGTHS.size - len(head)))
            return Received(json.loads(self._exactly(text)), self._exactly(data), connection)
        except OSError:
            raise ChannelClosed from None

    @property
    def connection(self) -> socket.socket:
        """This end, for handing it over."""
        return self._socket

    def close(self) -> None:
        """Let the other process know that nothing follows; a thread that receives here is woken."""
        with contextlib.suppress(OSError):  # it is over already
            self._socket.shutdown(socket.SHUT_RDWR)
        with self._lock:  # nobody is just about to send: its number may be another file's in a moment
            self._socket.close()

    def wait_until_closed(self) -> None:
        """Wait until the other process has closed it or is dead, or this one closes it; what it sends is left."""
        poll = select.poll()
        with contextlib.suppress(ValueError):  # it is closed here
            poll.register(self._socket, 0)  # that it is over is told without being asked for
            poll.poll()

    def close_here(self) -> None:
        """Close this process's copy of an end that another one has."""
        self._socket.close()

    def _exactly(self, count: int) -> bytes:
        got = bytearray()
        while len(got) < count:
            chunk = self._socket.recv(count - len(got))
            if not chunk:
                raise ChannelClosed
            got += chunk
        return bytes(got)


def channels() -> tuple[Channel, Channel]:
    """Return both ends of a new one."""
    here, there = socket.socketpair()
    return Channel(here), Channel(there)
