"""What hostile or broken peers cost a node: C-ECHO meanwhile, memory, processor time at rest.

    python -m benchmarks.dicom_abuse --json

One receiving process with its default settings, one kind of abuse after the other, each from one address unless it
says otherwise.
While it lasts somebody verifies ten times a second over associations of its own. "At rest" is two seconds in which
nobody does: the silent and idle connections are still open then, the floods are over.
"""

import argparse
import json
import math
import resource
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.dicom_receivers import ours, running, used
from benchmarks.raw_peer import (
    EXPLICIT,
    IMPLICIT,
    VERIFICATION,
    ConnectionEnded,
    RawPeer,
    association_request,
    echo,
    pdu,
)
from benchmarks.timing import machine

CT = {1: ("1.2.840.10008.5.1.4.1.1.2", (EXPLICIT,)), 3: (VERIFICATION, (IMPLICIT,))}
REST_S = 2.0
# Not where the verifications come from: the 28,000 ports of one address are used up in five seconds.
FLOODING = "127.0.0.7"
MANY = tuple(f"127.0.0.{number}" for number in range(2, 7))  # addresses of loopback, by Linux
Abuse = Callable[[int], Iterator[None]]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one kind of abuse cost. failed: verifications that were not answered with Success."""

    echoes: int
    failed: int
    echo_median_s: float
    echo_worst_s: float
    rss_growth_mb: float
    cpu_at_rest: float


def silent_sockets(port: int, count: int = 1000) -> Iterator[None]:
    """Open connections that never say anything."""
    with ExitStack() as open_:
        for _ in range(count):
            open_.enter_context(closing(socket.create_connection(("127.0.0.1", port), timeout=30)))
        yield


def idle_associations(port: int, count: int = 300) -> Iterator[None]:
    """Negotiate associations over which nothing goes; every one of them must be accepted."""
    with ExitStack() as open_:
        for _ in range(count):
            open_.enter_context(RawPeer(port)).associate(CT, calling="IDLE")
        yield


def association_flood(port: int, senders: int = 4, source: str = FLOODING) -> Iterator[None]:
    """Negotiate and abort as fast as it goes."""

    def one() -> None:
        with RawPeer(port, source=source) as peer:
            peer.associate(CT, calling="FLOOD")
            peer.send(pdu(7, bytes(4)))

    yield from _again_and_again(one, senders)


def connection_flood(port: int, senders: int = 4, source: str = FLOODING) -> Iterator[None]:
    """Connect and close as fast as it goes, as checks of load balancers do."""

    def one() -> None:
        with RawPeer(port, source=source, answer_within_s=2):
            pass

    yield from _again_and_again(one, senders)


def floods_of_many(port: int) -> Iterator[None]:
    """Hold 1,500 connections of five addresses, 300 of them associations, while two more flood with both kinds."""
    with ExitStack() as held:
        for address in MANY:
            for _ in range(240):
                held.enter_context(RawPeer(port, source=address))
            for _ in range(60):
                held.enter_context(RawPeer(port, source=address)).associate(CT, calling="IDLE")
        for flood, source in ((association_flood, "127.0.0.12"), (connection_flood, "127.0.0.13")):
            held.enter_context(contextmanager(flood)(port, 2, source))
        yield


def overfull(port: int) -> Iterator[None]:
    """Open 2,400 silent connections of five addresses, which is more than the node holds."""
    with ExitStack() as open_:
        for address in MANY:
            for _ in range(480):
                open_.enter_context(RawPeer(port, source=address))
        yield


def trickles(port: int, count: int = 100) -> Iterator[None]:
    """Send requests a byte at a time, ten seconds apart."""
    said = association_request(CT, calling="TRICKLE")
    over = threading.Event()

    def drip(peers: list[RawPeer]) -> None:
        for at in range(len(said)):
            for peer in peers:
                with suppress(OSError):
                    peer.socket.send(said[at : at + 1])
            if over.wait(10):
                return

    with ExitStack() as open_:
        peers = [open_.enter_context(RawPeer(port)) for _ in range(count)]
        dripping = threading.Thread(target=drip, args=(peers,))
        dripping.start()
        try:
            yield
        finally:
            over.set()
            dripping.join()


def huge_requests(port: int, count: int = 5) -> Iterator[None]:
    """Claim PDUs of 4 GiB before an association and send 50 MB of each, as far as they are taken."""
    for _ in range(count):
        with RawPeer(port) as peer:
            _pour(peer, pdu(1, b"", length=0xFFFFFFFF))
    yield


def huge_data(port: int, count: int = 5) -> Iterator[None]:
    """Claim PDUs of 4 GiB on established associations, likewise."""
    for _ in range(count):
        with RawPeer(port) as peer:
            peer.associate(CT)
            _pour(peer, pdu(4, b"", length=0xFFFFFFFF))
    yield


ABUSES: Mapping[str, Abuse] = {
    "1,000 silent sockets": silent_sockets,
    "300 idle associations": idle_associations,
    "100 requests of a byte in 10 s": trickles,
    "association flood": association_flood,
    "connection flood": connection_flood,
    "floods beyond 1,024 descriptors": floods_of_many,
    "2,400 silent sockets of five addresses": overfull,
    "4 GiB PDUs before an association": huge_requests,
    "4 GiB PDUs on an association": huge_data,
}
FLOODS = (association_flood, connection_flood, floods_of_many)


def cost_of(abuse: Abuse, port: int, pid: int, *, seconds: float, rest: bool = True) -> Cost:
    """Verify for so long while the abuse lasts, then look at the node at rest (not a number without `rest`)."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    echo(port)
    before = used(pid)
    times, failed, at_rest = [], 0, math.nan
    with contextmanager(abuse)(port):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.monotonic()
            try:
                echo(port)
            except (OSError, ConnectionEnded, AssertionError):
                failed += 1
            times.append(time.monotonic() - began)
            time.sleep(0.1)
        if rest and abuse not in FLOODS:
            at_rest = cpu_at_rest(pid)
    if rest and abuse in FLOODS:
        at_rest = cpu_at_rest(pid)
    growth = used(pid).now_mb - before.now_mb
    return Cost(len(times), failed, round(median(times), 4), round(max(times), 4), round(growth, 1), at_rest)


def cpu_at_rest(pid: int) -> float:
    """Return the share of a processor that a node uses while nobody asks for anything."""
    time.sleep(1.5)  # what has just been said may still be worked on, and threads linger for a second
    busy = cpu_s(pid)
    time.sleep(REST_S)
    return round((cpu_s(pid) - busy) / REST_S, 4)


def cpu_s(pid: int) -> float:
    """Return the processor time of a process in seconds, finer than /proc tells it (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def _again_and_again(act: Callable[[], None], senders: int) -> Iterator[None]:
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            with suppress(OSError, ConnectionEnded):
                act()

    threads = [threading.Thread(target=run) for _ in range(senders)]
    for one in threads:
        one.start()
    try:
        yield
    finally:
        over.set()
        for one in threads:
            one.join()


def _pour(peer: RawPeer, header: bytes) -> None:
    with suppress(OSError):
        peer.socket.sendall(header)
        for _ in range(50):
            peer.socket.sendall(bytes(1 << 20))
            time.sleep(0.001)


def main() -> None:
    """Try every abuse on one node and print what each cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each lasts")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as name, running(ours("ours", {}), Path(name) / "node") as (port, pid):
        for what, abuse in ABUSES.items():
            found[what] = asdict(cost_of(abuse, port, pid, seconds=given.seconds))
            print(f"{what}: {json.dumps(found[what])}", flush=True)
    print(machine(), flush=True)
    if given.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
