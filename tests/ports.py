"""Ports for peers that are started by their number."""

import secrets
import socket
from contextlib import suppress

_LOWEST, _HIGHEST = 20_000, 32_000


def free_port() -> int:
    """Return a port of loopback that is free now, and that the system gives to no connection meanwhile.

    Those above 32767 it gives to whoever connects, and keeps for a minute afterwards. Drawn by the system, for
    hypothesis seeds `random`, and all workers would try the same ports at the same time.
    """
    while True:
        port = _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
