"""A PgBouncer of the tests' own before the PostgreSQL server, on a free port of loopback."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from getpass import getuser
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.ports import free_port

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
# Each transaction gets another server process than the one before, as on a busy day.
CONFIGURATION = """[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
server_round_robin = 1
"""


@contextmanager
def pooler(folder: Path, url: str, mode: str) -> Iterator[str]:
    """Yield the URL by which a database is reached through PgBouncer in that mode."""
    if PROGRAM is None:
        pytest.skip("no pgbouncer; apt-get install pgbouncer")
    server, own = make_url(url), free_port()
    file = folder / f"{mode}.ini"
    file.write_text(
        CONFIGURATION.format(
            host=server.host, port=server.port, user=server.username or getuser(), own=own, mode=mode
        )
    )
    # It refuses to be root, and is somebody else once it has read its configuration.
    become = ["-u", "nobody"] if os.getuid() == 0 else []
    with (folder / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, *become, str(file)], stdout=log, stderr=log)
    try:
        _wait_for(own, process)
        yield server.set(host="127.0.0.1", port=own).render_as_string(hide_password=False)
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("PgBouncer does not listen; see pgbouncer.log")
