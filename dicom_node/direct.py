"""An association for storage and verification alone, read directly from its socket.

One thread while there is something to do, none while the peer is silent: then the socket waits with all others in
the acceptor's poll. No object for each PDU, one `send` for each response.
"""

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from clinical.errors import Unsupported
from dicom_node import pdus
from dicom_node.bounds import Bounds
from dicom_node.command_set import C_ECHO_RQ, C_STORE_RQ, Command, response
from dicom_node.negotiation import ContextResult
from dicom_node.pdu_stream import Aborted, DataSetEnd, PduStream, Released
from dicom_node.protocol_error import ProtocolError
from dicom_node.receiving import ReceivedObject
from dicom_node.status import SUCCESS
from dicom_node.storing import Storing

LINGER_S = 1.0  # how long a thread waits for the next message before the association is parked
_TIMEVAL = struct.Struct("@ll")  # seconds, microseconds (socket(7))
_GOODBYE_S, _GOODBYE_BYTES = 1.0, 1 << 20  # what is still read after an abort, so that the peer can read it


class End(StrEnum):
    """How an association ended, as observers are told."""

    RELEASED = "released"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class Store:
    """What all associations of a node store with.

    accepts: says why nothing can be taken now, or nothing. private_syntaxes: see `ScpSettings`.
    """

    storing: Storing
    accepts: Callable[[], str]
    folder: Path
    bounds: Bounds
    private_syntaxes: Mapping[str, str] = field(default_factory=dict)


class DirectAssociation:
    """One established association.

    maximum_length: of the P-DATA-TF that the peer takes, 0 for any. contexts: the accepted ones by ID.
    brought: told of each study of which an object was taken, "" for one that was not. ended: told once.
    address: the peer's.
    """

    def __init__(
        self,
        connection: socket.socket,
        calling_ae: str,
        maximum_length: int,
        contexts: Mapping[int, ContextResult],
        store: Store,
        *,
        brought: Callable[[str], None],
        ended: Callable[[End], None],
        address: str = "",
    ) -> None:
        self.connection, self.calling_ae, self._address = connection, calling_ae, address
        self._maximum_length = maximum_length
        self._contexts, self._store = contexts, store
        self._brought, self._ended = brought, ended
        bounds = store.bounds
        self._stream = PduStream(contexts.keys(), longest_pdu=bounds.data_pdu, longest_command=bounds.command_set)
        self._request: Command | None = None  # the C-STORE whose data set arrives
        self._object: ReceivedObject | None = None
        self._began_at, self._came = 0.0, 0  # of the message that arrives
        self._heard_at = 0.0  # when something of it came last
        self.silent_since = time.monotonic()
        self._over = False

    def begin(self, accepted: bytes, first: bytes) -> bool:
        """Send the A-ASSOCIATE-AC and serve, as `serve`. first: what came after the request."""
        try:
            wait_for_a_moment(self.connection, min(LINGER_S, self._store.bounds.stall_s))
            self._send(accepted)
            if first:
                self._stream.put(first)
        except OSError:
            self.end(End.ABORTED)
            return False
        return self.serve()

    def serve(self) -> bool:
        """Serve until the peer is silent between two messages (True) or the association is over (False)."""
        try:
            while not self._over:
                event = self._stream.next()
                match event:
                    case None:
                        if not self._receive():
                            self._stream.rest()
                            return True
                    case Command():
                        self._on_command(event)
                    case DataSetEnd():
                        self._on_data_set()
                    case Released():
                        self._send(pdus.released())
                        self.end(End.RELEASED, politely=True)
                    case Aborted():
                        self.end(End.ABORTED)
        except ProtocolError:
            self.abort(pdus.BY_PROVIDER, pdus.INVALID_PARAMETER)
        except OSError:  # includes the time-outs
            self.abort(pdus.BY_PROVIDER, pdus.NOT_SPECIFIED)
        except BaseException:
            self.end(End.ABORTED)
            raise
        return False

    def abort(self, source: int, reason: int) -> None:
        """Tell the peer that it is over, and end."""
        with contextlib.suppress(OSError, ValueError):
            self.connection.settimeout(_GOODBYE_S)
            self._send(pdus.abort(source, reason))
        self.end(End.ABORTED, politely=True)

    def cut(self) -> None:
        """End it from another thread: whoever waits for the peer sees the connection closed."""
        with contextlib.suppress(OSError):
            # Not SSLSocket's own: it drops the keys, and what is still to be read would be taken in cipher.
            socket.socket.shutdown(self.connection, socket.SHUT_RDWR)

    def end(self, how: End, *, politely: bool = False) -> None:
        """Leave nothing behind; a second time does nothing. politely: the peer is to close first."""
        if self._over:
            return
        self._over = True
        if self._object is not None:
            self._object.discard()
        self._ended(how)
        if politely:
            with contextlib.suppress(OSError):
                say_goodbye(self.connection)
        self.connection.close()

    def _receive(self) -> bool:
        """Wait for bytes; False when none came for a while and no message has begun."""
        stream, bounds = self._stream, self._store.bounds
        if stream.is_full and self._object is not None:
            self._object.write(stream.run())
        idle = stream.is_idle
        if idle:
            self._began_at = 0.0
        elif not self._began_at:
            self._began_at = self._heard_at = time.monotonic()
            self._came = 0
        elif time.monotonic() - self._began_at - bounds.stall_s > self._came / bounds.slowest:
            raise TimeoutError
        try:
            count = self.connection.recv_into(stream.room())
        except (TimeoutError, BlockingIOError):
            if idle:
                return False
            if time.monotonic() - self._heard_at > bounds.stall_s:
                raise TimeoutError from None
            return True
        if not count:
            raise ConnectionResetError
        stream.received(count)
        self._came += count
        if not idle:
            self._heard_at = time.monotonic()
        return True

    def _on_command(self, command: Command) -> None:
        if command.field == C_ECHO_RQ and not command.has_data_set:
            self._answer(command, SUCCESS)
            return
        if command.field != C_STORE_RQ:
            raise ProtocolError
        self._request = command
        if not command.has_data_set:
            self._store_it(None)
            return
        context, bounds = self._contexts[command.context_id], self._store.bounds
        wrong = None
        if command.sop_class != context.abstract_syntax:
            wrong = Unsupported("the object's SOP class is not the one that its presentation context is for")
        self._object = ReceivedObject(
            (command.sop_class, command.sop_instance),
            context.transfer_syntax,
            accepts=self._store.accepts,
            folder=self._store.folder,
            object_bytes=bounds.object_bytes,
            encoding=self._store.private_syntaxes.get(context.transfer_syntax, ""),
            problem=wrong,
        )

    def _on_data_set(self) -> None:
        received = self._object
        if received is not None:
            received.write(self._stream.run(), last=True)
            self._object = None
        self._store_it(received)

    def _store_it(self, received: ReceivedObject | None) -> None:
        request, self._request = self._request, None
        if request is None:
            raise ProtocolError
        answer = self._store.storing.answer(
            received, request.sop_instance, self.calling_ae, self._address, originator=request.originator
        )
        self._brought(answer.study_uid)
        self._answer(request, answer.status)

    def _answer(self, command: Command, status: int) -> None:
        try:
            message = pdus.command_message(command.context_id, response(command, status), self._maximum_length)
        except ValueError:
            raise ProtocolError from None
        self._send(message)
        self._began_at, self.silent_since = 0.0, time.monotonic()

    def _send(self, data: bytes) -> None:
        until, left = 0.0, memoryview(data)
        while True:
            try:
                left = left[self.connection.send(left) :]
            except (TimeoutError, BlockingIOError):  # the peer does not read
                # The first wait is over already.
                until = until or time.monotonic() + self._store.bounds.stall_s - LINGER_S
                if time.monotonic() > until:
                    raise TimeoutError from None
            if not left:
                return


def wait_for_a_moment(connection: socket.socket, seconds: float) -> None:
    """Let calls on a connection wait so long, and then raise TimeoutError or BlockingIOError.

    The system's own time-out where it can be: Python's asks the system before each call whether it would wait.
    """
    if isinstance(connection, ssl.SSLSocket):
        connection.settimeout(seconds)
        return
    connection.settimeout(None)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1e6)))


def say_goodbye(connection: socket.socket) -> None:
    """Wait for the peer to close, for a moment (PS3.8 9.2, state 13), and drop what it still says.

    A socket that is closed over unread bytes resets the connection, and takes back what was sent last.
    """
    until, left = time.monotonic() + _GOODBYE_S, _GOODBYE_BYTES
    while left > 0 and time.monotonic() < until:
        connection.settimeout(max(0.01, until - time.monotonic()))
        chunk = connection.recv(65536)
        if not chunk:
            return
        left -= len(chunk)
