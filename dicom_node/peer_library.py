"""pynetdicom as we need it: it logs nothing, closes its sockets and loses no answer. Applied before first use."""

import contextlib
import logging
import queue
import socket
import time
from collections.abc import Iterator
from typing import Any

from pynetdicom import _config
from pynetdicom.acse import ACSE
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.transport import AssociationSocket

_STEP_S = 0.1
_get_as_it_is = DIMSEServiceProvider.get_msg
_receive_as_it_is = DULServiceProvider.receive_pdu
_negotiate_as_it_is = ACSE._negotiate_as_requestor  # noqa: SLF001
_react_as_it_is = DULServiceProvider.run_reactor


def prepare_pynetdicom() -> None:
    """Keep identifiers of patients out of the logs, sockets from leaking, answers from getting lost.

    Any number of calls is one. Its log prints command sets and quotes what decoders could not read; what matters
    of an association we log ourselves.
    """
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    AssociationSocket._shutdown_socket = _shutdown_socket  # noqa: SLF001 - see there
    DIMSEServiceProvider.get_msg = _get_msg
    DULServiceProvider.receive_pdu = _receive_pdu
    DULServiceProvider.run_reactor = _run_reactor
    ACSE._negotiate_as_requestor = _negotiate_as_requestor  # noqa: SLF001


def _shutdown_socket(self: AssociationSocket) -> None:
    # 3.0.4 closes only what it could shut down first: a socket whose peer has gone, or never answered,
    # stays open until the garbage collector comes.
    if self.socket is not None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def _run_reactor(self: DULServiceProvider) -> None:
    # 3.0.4 also ends it with the connection open: after an error, after an answer that is none to a request for an
    # association. Nobody else reads from it, and the peer would wait for its own time-out.
    try:
        _react_as_it_is(self)
    finally:
        if self.socket is not None and self.socket.socket is not None:
            self.socket._shutdown_socket()  # noqa: SLF001


def _negotiate_as_requestor(self: ACSE) -> None:
    # On a busy machine 3.0.4 looks whether it has been connected when the peer has already rejected it and the
    # connection is closed: it says "aborted" then, and leaves why where it came.
    _negotiate_as_it_is(self)
    answer = self.dul.receive_pdu(wait=False) if self.assoc.is_aborted else None
    if isinstance(answer, A_ASSOCIATE) and answer.result:
        self.acceptor.primitive = answer
        self.assoc.is_aborted, self.assoc.is_rejected = False, True


def _get_msg(self: DIMSEServiceProvider, block: bool = False) -> Any:  # noqa: ANN401 - pynetdicom's
    # Only its own thread of an association does not block. On a busy machine that may still be behind the
    # checkpoint at which a sender believes it to stand; it takes the answer then, and the sender waits for it
    # until the time-out (3.0.4: 15 of 64 associations with 250 C-STOREs, eight at a time; 0 of 32 so).
    if not block and not self.assoc._reactor_checkpoint.is_set():  # noqa: SLF001
        return None, None
    for seconds in _while_connected(self.assoc.dul, self.dimse_timeout) if block else ():
        with contextlib.suppress(queue.Empty):
            return self.msg_queue.get(timeout=seconds)
    return _get_as_it_is(self)


def _receive_pdu(self: DULServiceProvider, wait: bool = False, timeout: float | None = None) -> Any:  # noqa: ANN401
    for seconds in _while_connected(self, timeout) if wait else ():
        if (received := _receive_as_it_is(self, wait=True, timeout=seconds)) is not None:
            return received
    return _receive_as_it_is(self)


def _while_connected(provider: DULServiceProvider, timeout: float | None) -> Iterator[float]:
    """Yield how long to wait next, until the time is over or the connection.

    3.0.4 tells one thread of an association that the connection has ended. Where that is not the one which waits
    for an answer, or is about to, this one waits for all of its time-out: a sender of which the peer was killed
    took thirty seconds.
    """
    until = float("inf") if timeout is None else time.monotonic() + timeout
    while provider.is_alive() and (left := until - time.monotonic()) > 0:
        yield min(left, _STEP_S)
