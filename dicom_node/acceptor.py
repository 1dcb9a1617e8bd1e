"""The accept loop of one listening socket: it holds every connection that has nothing to do.

One thread and one epoll for all connections that have not sent a whole A-ASSOCIATE-RQ yet (with TLS: not finished
their handshake), all associations whose peer is silent, and all that were refused and are read to their end. A
connection costs a thread only while somebody acts on it. When there are too many, the longest silent connection
that has not asked for anything gives way: of the same address, or of the one that has most of them.
"""

import contextlib
import selectors
import socket
import ssl
import struct
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from dicom_node import pdus
from dicom_node.bounds import Bounds

_BACKLOG = 4096  # or what the system has at most (net.core.somaxconn)
_AT_ONCE = 64  # connections accepted in one go, so that those which wait are looked at too
_LOOK_S = 1.0
_GOODBYE_S = 1.0
_CHUNK, _CHUNKS = 16 * 1024, 16  # read of one connection before the others have their turn
_MOST_HEARD = 16 * 1024 * 1024  # of all requests that are not whole yet

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Arrived:
    """A connection whose request is here. body: the A-ASSOCIATE-RQ without its header; after: what followed it."""

    connection: socket.socket
    address: str
    body: bytes
    after: bytes


class Parked(Protocol):
    """An association that waits for its peer. silent_since: when its last message was whole."""

    connection: socket.socket
    silent_since: float

    def serve(self) -> bool:
        """Serve what has come; True to be parked again."""

    def abort(self, source: int, reason: int) -> None:
        """End it: the peer was silent for too long."""


@dataclass(slots=True, eq=False)
class _Silent:
    """A connection that has asked for nothing yet. is_leaving: it was refused and is only read to its end."""

    connection: socket.socket
    address: str
    until: float
    is_secure: bool
    heard: bytearray = field(default_factory=bytearray)
    is_leaving: bool = False


class Acceptor:
    """Accepts on a bound socket; without one it only keeps the associations that are parked.

    asked: called with each connection that asks for an association, in a thread of its own; whoever takes the
        connection calls `gone` when it is closed.
    secured: returns the context for the next handshake; None for a plain port.
    not_secured: told the address and the error of a handshake that failed.
    artim_s: from connection to the whole request, absolute. idle_s: a parked association is aborted after it.
    """

    def __init__(
        self,
        listener: socket.socket | None,
        bounds: Bounds,
        *,
        asked: Callable[[Arrived], None],
        artim_s: float,
        idle_s: float,
        secured: Callable[[], ssl.SSLContext] | None = None,
        not_secured: Callable[[str, OSError], None] = lambda _address, _error: None,
    ) -> None:
        self._listener, self._bounds, self._asked = listener, bounds, asked
        self._artim_s, self._idle_s = artim_s, idle_s
        self._secured, self._not_secured = secured, not_secured
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        self._lock = threading.Lock()
        self._open: Counter[str] = Counter()  # sockets by address
        self._silent: OrderedDict[_Silent, None] = OrderedDict()  # the longest silent first
        self._silent_of: Counter[str] = Counter()
        self._heard = 0  # bytes of their requests
        self._leaving: OrderedDict[_Silent, None] = OrderedDict()
        self._parked: dict[Parked, float] = {}
        self._to_park: deque[Parked] = deque()
        self._to_leave: deque[tuple[socket.socket, str]] = deque()
        self._stopping = False
        self._over = False  # the loop has ended: what comes now is closed where it stands
        self._thread = threading.Thread(target=self._run, name="dicom-accept", daemon=True)

    def start(self) -> None:
        """Listen, and accept in a thread of our own."""
        for one in (self._woken, self._waker):
            one.setblocking(False)
        if self._listener is not None:
            self._listener.listen(_BACKLOG)
            self._listener.setblocking(False)
            self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread.start()

    def stop(self) -> None:
        """Stop accepting, close what has not asked for anything and abort what is parked."""
        self._stopping = True
        self._wake()
        self._thread.join()

    def park(self, association: Parked) -> None:
        """Watch a silent association; it is served again, in a thread, when its peer says something."""
        if self._keep(self._to_park, association):
            self._wake()
        else:
            association.abort(pdus.BY_PROVIDER, pdus.NOT_SPECIFIED)

    def leave(self, connection: socket.socket, address: str) -> None:
        """Take back a connection that was refused: read to its end for a moment, without a thread, and closed."""
        if self._keep(self._to_leave, (connection, address)):
            self._wake()
        else:
            connection.close()
            self.gone(address)

    def _keep(self, waiting: deque[Any], one: object) -> bool:
        """Put one where the loop takes it up; False when there is no loop any more."""
        with self._lock:
            if not self._over:
                waiting.append(one)
            return not self._over

    def gone(self, address: str) -> None:
        """Count a connection out whose `Arrived` was taken."""
        with self._lock:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]

    def _run(self) -> None:
        try:
            while not self._stopping:
                for key, _ in self._selector.select(self._patience()):
                    if key.fileobj in self._selector.get_map():  # not given way to another one meanwhile
                        self._on_ready(key)
                self._take_parked()
                self._take_leaving()
                self._expire(time.monotonic())
        finally:
            self._close_all()

    def _patience(self) -> float | None:
        return _LOOK_S if self._silent or self._leaving or self._parked else None

    def _on_ready(self, key: selectors.SelectorKey) -> None:
        if self._listener is not None and key.fileobj is self._listener:
            self._accept(self._listener)
        elif key.fileobj is self._woken:
            with contextlib.suppress(OSError):
                self._woken.recv(4096)
        elif isinstance(key.data, _Silent):
            self._hear(key.data)
        else:
            self._selector.unregister(key.fileobj)
            association: Parked = key.data
            self._parked.pop(association)
            if not self._in_a_thread(lambda: self.serve(association)):
                association.abort(pdus.BY_PROVIDER, pdus.NOT_SPECIFIED)

    def serve(self, association: Parked) -> None:
        """Serve an association in this thread, and park it when its peer is silent."""
        if association.serve():
            self.park(association)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, peer = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # Out of descriptors, or the peer has gone already.
                log.warning("connection not accepted", problem=error.strerror)
                if not self._give_way(None):
                    time.sleep(0.05)
                return
            self._admit(connection, str(peer[0]))

    def _admit(self, connection: socket.socket, address: str) -> None:
        bounds = self._bounds
        crowded = self._open[address] >= bounds.connections_per_host
        if (crowded and not self._give_way(address)) or (
            self._open.total() >= bounds.connections and not self._give_way(None)
        ):
            connection.close()
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._secured is not None:
            try:
                connection = self._secured().wrap_socket(
                    connection, server_side=True, do_handshake_on_connect=False
                )
            except (OSError, ValueError):
                connection.close()
                return
        with self._lock:
            self._open[address] += 1
        silent = _Silent(connection, address, time.monotonic() + self._artim_s, self._secured is None)
        self._silent[silent] = None
        self._silent_of[address] += 1
        self._selector.register(connection, selectors.EVENT_READ, silent)

    def _give_way(self, address: str | None) -> bool:
        """Close the longest silent connection of an address, or of the one that has most; tell if there was."""
        if address is None:
            most = self._silent_of.most_common(1)
            address = most[0][0] if most else ""
        longest = next((one for one in self._silent if one.address == address), None)
        if longest is None:
            return False
        self._drop(longest)
        return True

    def _hear(self, silent: _Silent) -> None:
        try:
            if not silent.is_secure:
                self._shake(silent)
            for _ in range(_CHUNKS):
                chunk = silent.connection.recv(_CHUNK)
                if not chunk:
                    self._drop(silent)
                    return
                if not silent.is_leaving:
                    silent.heard += chunk
                    self._heard += len(chunk)
                    if self._judge(silent):
                        return
            self._make_room()
        except (ssl.SSLWantReadError, BlockingIOError):
            self._watch(silent, selectors.EVENT_READ)
            self._make_room()
        except ssl.SSLWantWriteError:
            self._watch(silent, selectors.EVENT_WRITE)
        except OSError as error:
            if not silent.is_secure:
                self._not_secured(silent.address, error)
            self._drop(silent)

    def _make_room(self) -> None:
        """Drop what holds most of the bytes of requests that are not whole, until they are few enough."""
        while self._heard > _MOST_HEARD:
            self._drop(max(self._silent, key=lambda one: len(one.heard)))

    def _shake(self, silent: _Silent) -> None:
        if isinstance(silent.connection, ssl.SSLSocket):
            silent.connection.do_handshake()
        silent.is_secure = True

    def _watch(self, silent: _Silent, events: int) -> None:
        self._selector.modify(silent.connection, events, silent)

    def _judge(self, silent: _Silent) -> bool:
        """Look at what has come; True when the connection is no longer ours to read."""
        if len(silent.heard) < pdus.HEADER_BYTES:
            return False
        kind, _, length = struct.unpack_from(">BBL", silent.heard)
        if kind == pdus.A_ABORT:
            self._drop(silent)
            return True
        if kind != pdus.A_ASSOCIATE_RQ:
            self._refuse(silent, pdus.UNEXPECTED_PDU if 1 <= kind <= 7 else pdus.UNRECOGNIZED_PDU)
            return False
        if length > self._bounds.control_pdu:
            self._refuse(silent, pdus.INVALID_PARAMETER)
            return False
        whole = pdus.HEADER_BYTES + length
        if len(silent.heard) < whole:
            return False
        self._forget(silent)
        heard = bytes(silent.heard)
        arrived = Arrived(silent.connection, silent.address, heard[pdus.HEADER_BYTES : whole], heard[whole:])
        if not self._in_a_thread(lambda: self._asked(arrived)):
            silent.connection.close()
            self.gone(silent.address)
        return True

    def _refuse(self, silent: _Silent, reason: int) -> None:
        """Send an A-ABORT, and read on for a moment: closing over unread bytes would take it back."""
        self._uncount(silent)
        silent.is_leaving, silent.until = True, time.monotonic() + _GOODBYE_S
        silent.heard.clear()
        self._leaving[silent] = None
        with contextlib.suppress(OSError, ValueError):
            silent.connection.send(pdus.abort(pdus.BY_PROVIDER, reason))

    def _forget(self, silent: _Silent) -> None:
        self._selector.unregister(silent.connection)
        if silent in self._silent:
            self._uncount(silent)
        self._leaving.pop(silent, None)

    def _uncount(self, silent: _Silent) -> None:
        self._silent.pop(silent)
        self._heard -= len(silent.heard)
        self._silent_of[silent.address] -= 1
        if not self._silent_of[silent.address]:
            del self._silent_of[silent.address]

    def _drop(self, silent: _Silent) -> None:
        self._forget(silent)
        silent.connection.close()
        self.gone(silent.address)

    def _take_leaving(self) -> None:
        while self._to_leave:
            connection, address = self._to_leave.popleft()
            leaving = _Silent(connection, address, time.monotonic() + _GOODBYE_S, is_secure=True, is_leaving=True)
            try:
                connection.setblocking(False)
                self._selector.register(connection, selectors.EVENT_READ, leaving)
            except (OSError, ValueError):  # cut meanwhile
                connection.close()
                self.gone(address)
            else:
                self._leaving[leaving] = None

    def _take_parked(self) -> None:
        while self._to_park:
            association = self._to_park.popleft()
            # Woken by what is no message (of TLS, a piece of a record), it has no more time than it had.
            until = association.silent_since + self._idle_s
            if until <= time.monotonic():
                self._abort(association)
                continue
            try:
                self._selector.register(association.connection, selectors.EVENT_READ, association)
            except (OSError, ValueError):  # cut meanwhile
                self._in_a_thread(lambda one=association: self.serve(one))  # type: ignore[misc]
                continue
            self._parked[association] = until

    def _expire(self, now: float) -> None:
        for waiting in (self._silent, self._leaving):
            while waiting:
                first = next(iter(waiting))
                if first.until > now:
                    break
                if not first.is_secure:
                    self._not_secured(first.address, TimeoutError("the handshake took too long"))
                self._drop(first)
        # Not in the order of their ends: one that was woken by what is no message stands behind younger ones.
        for association in [one for one, until in self._parked.items() if until <= now]:
            self._release(association)

    def _release(self, association: Parked) -> None:
        self._parked.pop(association)
        self._selector.unregister(association.connection)
        self._abort(association)

    def _abort(self, association: Parked) -> None:
        self._in_a_thread(lambda: association.abort(pdus.BY_PROVIDER, pdus.NOT_SPECIFIED))

    def _close_all(self) -> None:
        with self._lock:
            self._over = True
        self._take_parked()
        self._take_leaving()
        for silent in [*self._silent, *self._leaving]:
            self._drop(silent)
        for association in list(self._parked):
            self._release(association)
        self._selector.close()
        for one in (self._listener, self._woken, self._waker):
            if one is not None:
                one.close()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake anyway; closed: it is gone
            self._waker.send(b"\0")

    def _in_a_thread(self, call: Callable[[], object]) -> bool:
        try:
            threading.Thread(target=call, name="dicom-association", daemon=True).start()
        except RuntimeError:  # the system has no thread left
            log.error("no thread for a connection")  # noqa: TRY400
            return False
        return True
