"""pynetdicom's acceptor with bounds, a streaming receive path and no polling.

pynetdicom 3.0.4 believes the length of a PDU (up to 4 GiB) and keeps all of it, counts sockets that never
asked for an association against its limit, and looks for work a thousand times a second in two threads for
each association. Its state machine, negotiation and services stay as they are; what is replaced here is how
bytes are read: a data set goes from the socket to a `*.part` file through one small buffer.
"""

import contextlib
import queue
import select
import socket
import struct
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from socketserver import BaseServer
from typing import Any

from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID
from pynetdicom import Association, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dsutils import create_file_meta
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from dicom_node.uids import derived_uid

# These stand in every file we store, so they never change: the same object must give the same bytes.
IMPLEMENTATION_UID = UID(derived_uid("consilium", "implementation"))
IMPLEMENTATION_VERSION = "CONSILIUM"

_P_DATA_TF = 0x04
_ESTABLISHED, _AWAITING_REQUEST, _AWAITING_CLOSE = "Sta6", "Sta2", "Sta13"  # PS3.8 9.2
_CLOSED, _INVALID_PDU = "Evt17", "Evt19"
_LOOK_S = 0.25  # how often timers are looked at when nothing happens
_BUFFER = 256 * 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a peer may make us hold. Sizes in bytes, times in seconds.

    control_pdu: longest PDU other than P-DATA. command_set: longest DIMSE command.
    object_bytes: longest data set. associations: established at once.
    connections, connections_per_host: open sockets, whatever their state.
    stall_s: longest silence within a PDU. slowest: bytes a second below which a PDU is given up.
    """

    control_pdu: int = 256 * 1024
    command_set: int = 16 * 1024
    object_bytes: int = 8 * 1024**3
    associations: int = 64
    connections: int = 256
    connections_per_host: int = 128
    stall_s: float = 30.0
    slowest: float = 10_000.0


@dataclass(slots=True)
class ReceivedDataSet:
    """A data set as it came: a Part 10 file, complete and closed, or the reason why there is none.

    path: None when it could not be kept. offset: where the data set begins, after the file meta group.
    """

    path: Path | None
    offset: int = 0
    refused: str = ""

    def take(self) -> Path | None:
        """Return the file; from now on it is the caller's to store or to remove."""
        path, self.path = self.path, None
        return path

    def discard(self) -> None:
        """Remove the file, unless somebody has taken it."""
        path = self.take()
        if path is not None:
            path.unlink(missing_ok=True)


class _ProtocolError(Exception):
    """The peer broke PS3.8; the association is aborted."""


class _WakingQueue(queue.Queue[Any]):
    """A queue whose reader sleeps on something else, so each put wakes it."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self._wake = wake

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: ANN401
        super().put(item, block, timeout)
        self._wake()


class StreamingProvider(DULServiceProvider):  # type: ignore[misc]
    """The upper layer provider of one acceptor: bounded, streaming, sleeping until something happens."""

    def __init__(self, association: Association, bounds: Bounds, accepts: Callable[[], str], folder: Path) -> None:
        super().__init__(association)
        self._bounds = bounds
        self._incoming = _Incoming(association, bounds, accepts, folder)
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._run_loop_delay = 0
        self.to_provider_queue = _WakingQueue(self._wake)
        self.to_user_queue = _WakingQueue(lambda: association.dimse.msg_queue.put((None, None)))

    def run_reactor(self) -> None:
        """Serve the connection until it ends; leave no file and nobody waiting behind."""
        try:
            super().run_reactor()
        finally:
            self._incoming.close()
            self.to_user_queue.put(None)  # whoever still waits for an A-ASSOCIATE-RQ need not time out
            self._waker.close()
            self._woken.close()

    def kill_dul(self) -> None:
        """End the reactor now and not at its next look."""
        super().kill_dul()
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake anyway; closed: it is gone
            self._waker.send(b"\0")

    def _is_transport_event(self) -> bool:
        if self.state_machine.current_state == _AWAITING_CLOSE:
            # We have sent an abort: what the peer still says is of no interest, and never parsed.
            if not self.artim_timer.expired and self._readable() and self._skip():
                return False
            self.socket.close()
            return True
        if not self._readable():
            return False
        self._read_pdu_data()
        return True

    def _skip(self) -> bool:
        try:
            return bool(self.socket.socket.recv(_BUFFER))
        except OSError:
            return False

    def _readable(self) -> bool:
        """Sleep until the peer, our own side or a timer wants something; tell whether it is the peer."""
        connection = self.socket.socket if self.socket else None
        if connection is None:
            return False
        poller = select.poll()  # select.select() cannot watch descriptors beyond 1023
        try:
            poller.register(connection, select.POLLIN)
            poller.register(self._woken, select.POLLIN)
            ready = dict(poller.poll(0 if not self.event_queue.empty() else _LOOK_S * 1000))
            if self._woken.fileno() in ready:
                self._woken.recv(4096)
            return connection.fileno() in ready
        except (OSError, ValueError):
            self.event_queue.put(_CLOSED)
            return False

    def _read_pdu_data(self) -> None:
        try:
            header = self._receive(6, time.monotonic() + self._bounds.stall_s)
            kind, length = header[0], struct.unpack(">L", header[2:])[0]
            deadline = time.monotonic() + self._bounds.stall_s + length / self._bounds.slowest
            if kind == _P_DATA_TF and self.state_machine.current_state == _ESTABLISHED:
                self._read_p_data(length, deadline)
            else:
                self._read_control(kind, header, length, deadline)
        except OSError:  # includes the time-outs
            self.event_queue.put(_CLOSED)
        except _ProtocolError:
            self.event_queue.put(_INVALID_PDU)

    def _read_control(self, kind: int, header: bytearray, length: int, deadline: float) -> None:
        if not 1 <= kind <= 7 or length > self._bounds.control_pdu:
            raise _ProtocolError
        body = self._receive(length, deadline)
        try:
            pdu, event = self._decode_pdu(header + body)
        except Exception:  # noqa: BLE001 - pynetdicom's decoder raises whatever a broken PDU leads to
            raise _ProtocolError from None
        self.event_queue.put(event)
        self._recv_pdu.put(pdu)

    def _read_p_data(self, length: int, deadline: float) -> None:
        """Read presentation data values (PS3.8 9.3.5, annex E.2) without keeping the PDU."""
        left = length
        while left:
            if left < 6:
                raise _ProtocolError
            size, context_id, control = struct.unpack(">LBB", self._receive(6, deadline))
            left -= 4 + size
            if size < 2 or left < 0:
                raise _ProtocolError
            if control & 1:
                self._incoming.command(context_id, control, size - 2, lambda n: self._receive(n, deadline))
            else:
                self._incoming.data(context_id, control, size - 2, lambda view: self._receive_into(view, deadline))

    def _receive(self, count: int, deadline: float) -> bytearray:
        buffer = bytearray(count)
        view, filled = memoryview(buffer), 0
        while filled < count:
            filled += self._receive_into(view[filled:], deadline)
        return buffer

    def _receive_into(self, view: memoryview, deadline: float) -> int:
        """Fill some of the view; OSError when the peer has gone, is silent or too slow."""
        if time.monotonic() > deadline or self.socket is None or self.socket.socket is None:
            raise TimeoutError
        count: int = self.socket.socket.recv_into(view)
        if count == 0:
            raise ConnectionResetError
        return count


class _Incoming:
    """The DIMSE message that is being received on one association."""

    def __init__(self, association: Association, bounds: Bounds, accepts: Callable[[], str], folder: Path) -> None:
        self._association = association
        self._bounds = bounds
        self._accepts = accepts
        self._folder = folder
        self._buffer = memoryview(bytearray(0))
        self._message: Any = None
        self._command_bytes = 0
        self._received: ReceivedDataSet | None = None
        self._file: FileIO | None = None
        self._size = 0
        self._waiting: list[ReceivedDataSet] = []

    def command(self, context_id: int, control: int, size: int, receive: Callable[[int], bytearray]) -> None:
        """Take a fragment of a command set; pynetdicom decodes it when it is whole."""
        self._command_bytes += size
        if self._received is not None or self._command_bytes > self._bounds.command_set:
            raise _ProtocolError
        if self._message is None:
            self._message = DIMSEMessage()
        primitive = P_DATA()
        primitive.presentation_data_value_list.append((context_id, bytes([control]) + bytes(receive(size))))
        try:
            whole = self._message.decode_msg(primitive, self._association)
        except Exception:  # noqa: BLE001 - whatever a broken command set leads to inside the decoder
            raise _ProtocolError from None
        if whole:
            self._hand_over()
        elif control & 2:
            if not isinstance(self._message, C_STORE_RQ):
                raise _ProtocolError  # nothing else that we offer carries a data set
            self._received = self._begin(context_id)

    def data(self, context_id: int, control: int, size: int, receive: Callable[[memoryview], int]) -> None:
        """Take a fragment of a data set: from the socket to the file."""
        if self._received is None or context_id != self._message.context_id:
            raise _ProtocolError
        if not self._buffer:
            self._buffer = memoryview(bytearray(_BUFFER))
        while size:
            count = receive(self._buffer[: min(size, _BUFFER)])
            self._write(self._buffer[:count])
            size -= count
        if control & 2:
            self._finish()

    def close(self) -> None:
        """Forget everything: the association is over. What a handler has taken is not touched."""
        if self._file is not None:
            self._file.close()
            self._file = None
        for received in (*self._waiting, *((self._received,) if self._received else ())):
            received.discard()
        self._waiting.clear()

    def _begin(self, context_id: int) -> ReceivedDataSet:
        context = self._association._accepted_cx.get(context_id)  # noqa: SLF001 - no public way in by id
        if context is None:
            raise _ProtocolError
        refused = self._accepts()
        if refused:
            return ReceivedDataSet(None, refused=refused)
        command = self._message.command_set
        path = self._folder / f"{uuid.uuid4().hex}.part"
        received = ReceivedDataSet(path)
        try:
            self._file = FileIO(path, "xb")
            self._file.write(b"\0" * 128 + b"DICM")
            meta = create_file_meta(
                sop_class_uid=command.AffectedSOPClassUID,
                sop_instance_uid=command.AffectedSOPInstanceUID,
                transfer_syntax=context.transfer_syntax[0],
                implementation_uid=IMPLEMENTATION_UID,
                implementation_version=IMPLEMENTATION_VERSION,
            )
            write_file_meta_info(self._file, meta)  # type: ignore[arg-type]  # any binary file does
            received.offset = self._file.tell()
        except OSError:
            self._give_up(received, "the object cannot be written")
        except (AttributeError, TypeError, ValueError):
            raise _ProtocolError from None  # a command set without the UIDs that it must have
        return received

    def _write(self, view: memoryview) -> None:
        self._size += len(view)
        received = self._received
        if self._file is None or received is None:
            return  # refused: the rest is read and dropped, so that the association lives on
        if self._size > self._bounds.object_bytes:
            self._give_up(received, "the object is too large")
            return
        try:
            while view:
                view = view[self._file.write(view) or 0 :]
        except OSError:
            self._give_up(received, "the object cannot be written")

    def _give_up(self, received: ReceivedDataSet, why: str) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        received.discard()
        received.refused = why

    def _finish(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._hand_over()

    def _hand_over(self) -> None:
        message, received = self._message, self._received
        self._message, self._received, self._command_bytes, self._size = None, None, 0, 0
        try:
            primitive = message.message_to_primitive()
        except (AttributeError, TypeError, ValueError):
            if received is not None:
                received.discard()
            raise _ProtocolError from None
        if received is not None:
            self._waiting = [one for one in self._waiting if one.path is not None]
            self._waiting.append(received)
            primitive.received = received
        self._association.dimse.msg_queue.put((message.context_id, primitive))


class StorageAssociation(Association):  # type: ignore[misc]
    """An acceptor that sleeps until a message or an indication arrives."""

    def __init__(self, ae: ApplicationEntity, bounds: Bounds, accepts: Callable[[], str], folder: Path) -> None:
        super().__init__(ae, "acceptor")
        # As Association.__init__ makes them, over our provider; the time-outs are set on the provider.
        self.dul = StreamingProvider(self, bounds, accepts, folder)
        self.acse_timeout, self.network_timeout = ae.acse_timeout, ae.network_timeout

    def _run_reactor(self) -> None:
        while not self._kill:
            with contextlib.suppress(queue.Empty):
                context_id, message = self.dimse.msg_queue.get(timeout=_LOOK_S)
                if message:
                    self._serve_request(message, context_id)
            if self.is_established and self.acse.is_release_requested():
                self.acse.send_release(is_response=True)
                self._end(evt.EVT_RELEASED, released=True)
            elif self.acse.is_aborted():
                self.dul.receive_pdu(wait=False)
                self._end(evt.EVT_ABORTED, released=False)
            elif not self.dul.is_alive():
                self.kill()
            elif self.dul.idle_timer_expired():
                self.abort()
                self.kill()

    def _end(self, event: Any, *, released: bool) -> None:  # noqa: ANN401 - pynetdicom's event type
        self.is_released, self.is_aborted = released, not released
        self.is_established = False
        evt.trigger(self, event, {})
        self.kill()


class StorageServer(ThreadedAssociationServer):  # type: ignore[misc]
    """Accepts connections within the bounds, and makes a StorageAssociation of each."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(
        self,
        ae: ApplicationEntity,
        address: tuple[str, int],
        ae_title: str,
        contexts: Any,  # noqa: ANN401
        ssl_context: Any = None,  # noqa: ANN401
        evt_handlers: Any = None,  # noqa: ANN401
        *,
        bounds: Bounds,
        accepts: Callable[[], str],
        folder: Path,
    ) -> None:
        self.bounds, self.accepts, self.folder = bounds, accepts, folder
        super().__init__(ae, address, ae_title, contexts, ssl_context, evt_handlers, _Handler)

    def shutdown(self) -> None:
        """Stop accepting and close the listening socket."""
        BaseServer.shutdown(self)
        self.server_close()

    def verify_request(self, request: socket.socket, client_address: tuple[str, int]) -> bool:
        """Close a connection at once when too many are open, in all or from this host."""
        del request
        hosts = Counter(one.requestor.address for one in self.active_associations)
        return (
            hosts.total() < self.bounds.connections and hosts[client_address[0]] < self.bounds.connections_per_host
        )


class _Handler(RequestHandler):  # type: ignore[misc]
    server: StorageServer

    def _create_association(self) -> StorageAssociation:
        server = self.server
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request.settimeout(server.bounds.stall_s)
        association = StorageAssociation(server.ae, server.bounds, server.accepts, server.folder)
        association._server = server  # noqa: SLF001 - as RequestHandler does
        association.name = f"AcceptorThread@{uuid.uuid4().hex}"
        association.set_socket(AssociationSocket(association, client_socket=self.request))
        association.acceptor.maximum_length = server.ae.maximum_pdu_size
        association.acceptor.ae_title = server.ae_title
        association.acceptor.address_info = self.local
        association.acceptor.implementation_class_uid = IMPLEMENTATION_UID
        association.acceptor.implementation_version_name = IMPLEMENTATION_VERSION
        association.acceptor.supported_contexts = server.contexts
        association.requestor.address_info = self.remote
        for event, bound in server._handlers.items():  # noqa: SLF001
            for handler in [bound] if event.is_intervention else bound:
                if handler:
                    association.bind(event, *handler)
        return association


class BoundedEntity(ApplicationEntity):  # type: ignore[misc]
    """An AE whose association limit counts peers that have asked for an association, and no others."""

    @property
    def active_associations(self) -> list[Association]:
        """The associations for which an A-ASSOCIATE-RQ has arrived."""
        everything: list[Association] = super().active_associations
        return [
            one for one in everything if one.dul.state_machine.current_state not in {"Sta1", _AWAITING_REQUEST}
        ]


def serve_in_background(server: StorageServer) -> threading.Thread:
    """Run the accept loop in a thread of its own and return the thread."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, name="dicom-accept")
    thread.daemon = True
    thread.start()
    return thread
