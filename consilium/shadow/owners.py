"""Who reads: a process by its machine and number, so that one that is gone can be told from one that is slow."""

import os
import socket

from clinical.clock import Clock
from consilium.processes import lives
from record_store import shadows
from record_store.database import Database


def this_process() -> str:
    """Return the name under which this process takes studies."""
    return f"{socket.gethostname()[:48]}:{os.getpid()}"


def is_gone(owner: str) -> bool:
    """Tell whether a process of this machine has ended; of other machines nobody knows."""
    host, _, number = owner.rpartition(":")
    if host != socket.gethostname()[:48] or not number.isdecimal():
        return False
    return not lives(int(number))


def free_what_is_left(db: Database, now: Clock) -> int:
    """Let what processes of this machine had taken when they ended be taken at once; return the studies."""
    with db.read() as conn:
        gone = [owner for owner in shadows.owners(conn) if is_gone(owner)]
    if not gone:
        return 0
    with db.write(durable=False) as conn:
        return sum(shadows.end_of(conn, owner, now()) for owner in gone)
