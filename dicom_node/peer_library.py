"""pynetdicom as we need it: without its own logging, and with its sockets closed. Applied before first use."""

import contextlib
import logging
import socket

from pynetdicom import _config
from pynetdicom.transport import AssociationSocket


def prepare_pynetdicom() -> None:
    """Keep identifiers of patients out of the logs, and sockets from leaking. Any number of calls is one.

    Its log prints command sets and quotes what decoders could not read; what matters of an association we
    log ourselves.
    """
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    AssociationSocket._shutdown_socket = _shutdown_socket  # noqa: SLF001 - see there


def _shutdown_socket(self: AssociationSocket) -> None:
    # 3.0.4 closes only what it could shut down first: a socket whose peer has gone, or never answered,
    # stays open until the garbage collector comes.
    if self.socket is not None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
