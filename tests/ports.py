"""Ports for peers that are started by their number."""

import os
import secrets
import socket
from contextlib import suppress

# A port is bound seconds after it was drawn. Until then it must not be drawn again: neither by another process of
# pytest-xdist, of which each has its own share, nor in this one.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
_PORTS = range(20_000 + int(_WORKER) % 16, 32_000, 16) if _WORKER else range(20_000, 32_000)
_given: set[int] = set()


def free_port() -> int:
    """Return a port of loopback that is free now, and that the system gives to no connection meanwhile.

    Those above 32767 it gives to whoever connects, and keeps for a minute afterwards. Drawn by the system, for
    hypothesis seeds `random`, and all workers would try the same ports at the same time.
    """
    while True:
        port = secrets.choice(_PORTS)
        if port in _given:
            continue
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            _given.add(port)
            return port
