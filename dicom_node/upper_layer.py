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
import ssl
import struct
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pynetdicom import Association, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.dimse_primitives import C_CANCEL, C_STORE
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import InvalidEventError
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.transport import AddressInformation, AssociationSocket

from dicom_node.bounds import Bounds
from dicom_node.incoming import BUFFER, DECODER_ERRORS, Incoming
from dicom_node.part10 import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION
from dicom_node.protocol_error import ProtocolError
from dicom_node.request_pdu import read_request
from dicom_node.session import Session

_A_ASSOCIATE_RQ, _P_DATA_TF = 0x01, 0x04
_ESTABLISHED, _AWAITING_CLOSE = "Sta6", "Sta13"  # PS3.8 9.2
_CLOSED, _ARTIM_EXPIRED, _INVALID_PDU = "Evt17", "Evt18", "Evt19"
_CANCELS = 10
_LOOK_S = 0.25  # how often timers are looked at when nothing happens


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

    def __init__(self, association: Association, beside: "Beside", first: bytes) -> None:
        super().__init__(association)
        self._bounds, self._first = beside.bounds, memoryview(first)
        self._incoming = Incoming(
            association,
            beside.bounds,
            beside.accepts,
            beside.folder,
            self._deliver,
            beside.private_syntaxes,
        )
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self.to_provider_queue = _WakingQueue(self._wake)
        self.to_user_queue = _WakingQueue(lambda: association.dimse.msg_queue.put((None, None)))

    def run_reactor(self) -> None:
        """Serve the connection until it ends; leave no file and nobody waiting behind."""
        self._idle_timer.start()
        self.assoc._dul_ready.set()  # noqa: SLF001 - as the reactor that this one replaces
        try:
            while not self._kill_thread:
                self._look_once()
        except InvalidEventError:
            self.assoc.kill()
        finally:
            if self.socket is not None and self.socket.socket is not None:
                self.socket.close()
            self._incoming.close()
            self.to_user_queue.put(None)  # whoever still waits for an A-ASSOCIATE-RQ need not time out
            self._waker.close()
            self._woken.close()

    def _look_once(self) -> None:
        if self.artim_timer.expired:
            self.event_queue.put(_ARTIM_EXPIRED)
        if not self._process_recv_primitive() and self._is_transport_event():
            self._idle_timer.restart()
        while not self.event_queue.empty() and not self._kill_thread:
            self.state_machine.do_action(self.event_queue.get())

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
            return bool(self.socket.socket.recv(BUFFER))
        except OSError:
            return False

    def _readable(self) -> bool:
        """Sleep until the peer, our own side or a timer wants something; tell whether it is the peer."""
        connection = self.socket.socket if self.socket else None
        if connection is None:
            return False
        if self._first:
            return True  # read before this association was made
        poller = select.poll()  # select.select() cannot watch descriptors beyond 1023
        if isinstance(connection, ssl.SSLSocket) and connection.pending():
            return True  # OpenSSL has read further than we have: the descriptor knows nothing of these bytes
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
        except ProtocolError:
            self.event_queue.put(_INVALID_PDU)

    def _read_control(self, kind: int, header: bytearray, length: int, deadline: float) -> None:
        if not 1 <= kind <= 7 or length > self._bounds.control_pdu:
            raise ProtocolError
        body = self._receive(length, deadline)
        try:
            if kind == _A_ASSOCIATE_RQ:
                read_request(bytes(body))
            pdu, event = self._decode_pdu(header + body)
        except DECODER_ERRORS:
            raise ProtocolError from None
        self.event_queue.put(event)
        self._recv_pdu.put(pdu)

    def _read_p_data(self, length: int, deadline: float) -> None:
        """Read presentation data values (PS3.8 9.3.5, annex E.2) without keeping the PDU."""
        if length > self._bounds.data_pdu:
            raise ProtocolError
        left = length
        while left:
            if left < 6:
                raise ProtocolError
            size, context_id, control = struct.unpack(">LBB", self._receive(6, deadline))
            left -= 4 + size
            if size < 2 or left < 0:
                raise ProtocolError
            if control & 1:
                self._incoming.command(context_id, control, size - 2, lambda n: self._receive(n, deadline))
            else:
                self._incoming.data(context_id, control, size - 2, lambda view: self._receive_into(view, deadline))

    def _deliver(self, context_id: int, request: Any) -> None:  # noqa: ANN401 - pynetdicom's primitives
        """Serve a C-STORE here and now; leave everything else to the association's own thread.

        A hand-over to another thread and back costs two waits for the processor for each instance, which on
        a busy machine is more than the disk takes.
        """
        association = self.assoc
        context = association._accepted_cx.get(context_id)  # noqa: SLF001 - no public way in by id
        if isinstance(request, C_STORE) and request.is_valid_request and context and association.is_established:
            StorageServiceClass(association).SCP(request, context)
        elif isinstance(request, C_CANCEL):
            # Of a request that the association's own thread is answering: put where that looks (PS3.7 9.3.2.3).
            if len(association.dimse.cancel_req) < _CANCELS:
                association.dimse.cancel_req[request.MessageIDBeingRespondedTo] = request
        else:
            association.dimse.msg_queue.put((context_id, request))

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
        if self._first:
            count = min(len(view), len(self._first))
            view[:count], self._first = self._first[:count], self._first[count:]
            return count
        count = int(self.socket.socket.recv_into(view))
        if count == 0:
            raise ConnectionResetError
        return count


class StorageAssociation(Association):  # type: ignore[misc]
    """An acceptor that sleeps until a message or an indication arrives.

    later: what handlers leave to be done here once the peer is silent. Called in this association's thread, with
    True while it is established, with False when it is over.
    """

    def __init__(self, beside: "Beside", session: Session, first: bytes, over: Callable[[], None]) -> None:
        super().__init__(beside.ae, "acceptor")
        # As Association.__init__ makes them, over our provider; the time-outs are set on the provider.
        self.dul = StreamingProvider(self, beside, first)
        self.acse_timeout, self.network_timeout = beside.ae.acse_timeout, beside.ae.network_timeout
        self.session, self._over_now = session, over
        self.later: deque[Callable[[bool], None]] = deque()

    def run(self) -> None:
        """Serve, and say so when it is over."""
        try:
            super().run()
        finally:
            self._over_now()

    def _run_reactor(self) -> None:
        while not self._kill:
            silent = False
            try:
                context_id, message = self.dimse.msg_queue.get(timeout=_LOOK_S)
                if message:
                    self._serve_request(message, context_id)
            except queue.Empty:
                silent = True
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
            elif silent and self.is_established and self.later:
                self.later.popleft()(True)
        while self.later:
            self.later.popleft()(False)

    def _end(self, event: Any, *, released: bool) -> None:  # noqa: ANN401 - pynetdicom's event type
        self.is_released, self.is_aborted = released, not released
        self.is_established = False
        evt.trigger(self, event, {})
        self.kill()


class BoundedEntity(ApplicationEntity):  # type: ignore[misc]
    """Our AE as pynetdicom's associations see it. How many there may be is decided before they are made."""

    @property
    def active_associations(self) -> list[Association]:
        """None: pynetdicom would count them against a limit of its own."""
        return []


@dataclass(frozen=True, slots=True)
class Beside:
    """Makes associations of pynetdicom's: those that have a context which is neither storage nor verification.

    contexts: all that is offered. handlers: of its events. accepts: says why no object can be taken now.
    private_syntaxes: see `ScpSettings`.
    """

    ae: ApplicationEntity
    contexts: Sequence[PresentationContext]
    handlers: Sequence[Sequence[Any]]
    bounds: Bounds
    accepts: Callable[[], str]
    folder: Path
    private_syntaxes: Mapping[str, str] = field(default_factory=dict)

    def begin(
        self, connection: socket.socket, session: Session, first: bytes, over: Callable[[], None]
    ) -> "StorageAssociation":
        """Start one in threads of its own. first: the bytes that were read from it. over: called at its end."""
        connection.settimeout(self.bounds.stall_s)
        association = StorageAssociation(self, session, first, over)
        association.name = f"AcceptorThread@{uuid.uuid4().hex}"
        association.set_socket(AssociationSocket(association, client_socket=connection))
        association.acceptor.maximum_length = self.ae.maximum_pdu_size
        association.acceptor.ae_title = self.ae.ae_title
        association.acceptor.address_info = AddressInformation.from_tuple(connection.getsockname())
        association.acceptor.implementation_class_uid = IMPLEMENTATION_UID
        association.acceptor.implementation_version_name = IMPLEMENTATION_VERSION
        association.acceptor.supported_contexts = list(self.contexts)
        association.requestor.address_info = AddressInformation.from_tuple(connection.getpeername())
        for handler in self.handlers:
            association.bind(*handler)
        association.start()
        return association
