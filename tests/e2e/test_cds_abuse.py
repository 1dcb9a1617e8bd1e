"""A running `consilium web` under abuse on the wire: no failure of ours, no hang, and others are served meanwhile.

Every refusal is an OperationOutcome that repeats nothing of what was sent, also of bytes that are no request.
"""

import json
import os
import re
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from cds.testing import hook_body

pytestmark = pytest.mark.slow

REQUEST_S = 2.0
SOON_S = 1.5  # within which others must be answered while the abuse runs, on a machine that does other things too
WORD = "Zzcanary"
HOOK = b"POST /cds-services/diabetes-risk HTTP/1.1\r\nHost: x\r\n"
AS_JSON = b"Content-Type: application/json\r\nAuthorization: Bearer zzcanary.quillon.token\r\n"
GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
CHUNKED = HOOK + AS_JSON + b"Transfer-Encoding: chunked\r\n\r\n"


@dataclass
class Web:
    """A running web process. ehr: the base URL of an EHR that takes calls and never answers."""

    port: int
    pid: int
    log: Path
    ehr: str

    def connect(self, timeout_s: float = 8.0) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def say(self, *pieces: bytes, timeout_s: float = 8.0, pause_s: float = 0.0) -> bytes:
        """Send the pieces and return everything until the server closes."""
        with self.connect(timeout_s) as client:
            for piece in pieces:
                client.sendall(piece)
                time.sleep(pause_s)
            return everything(client)

    def call(self, **more: object) -> tuple[int, float]:
        """Make one good hook call; return its status (412: it has no prefetch) and the seconds it took."""
        body = json.dumps(hook_body("zzcanary-1", prefetch={}, **more)).encode()
        began = time.monotonic()
        said = self.say(HOOK + AS_JSON + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        return status_of(said), time.monotonic() - began

    def workers(self) -> list[str]:
        return Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()


def everything(client: socket.socket) -> bytes:
    said = b""
    with suppress(ConnectionResetError):
        while piece := client.recv(65536):
            said += piece
    return said


def status_of(said: bytes) -> int:
    return int(said.split(b" ", 2)[1]) if said else 0


def wait_for(condition: Callable[[], object], within_s: float = 60.0) -> object:
    ends_at = time.monotonic() + within_s
    while time.monotonic() < ends_at:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


@pytest.fixture(scope="module")
def hanging_ehr() -> Iterator[str]:
    """An EHR that lets everybody in and says nothing."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:

        def hold() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=hold, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/fhir"
    for connection in held:
        connection.close()


@pytest.fixture(scope="module")
def descriptors() -> Iterator[None]:
    """As many as a server on a real machine has; the server inherits them."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[1], 8192), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, hanging_ehr: str, descriptors: None) -> Iterator[Web]:
    folder = tmp_path_factory.mktemp("abuse")
    log = folder / "web.log"
    settings = {
        "WEB_WORKERS": "2",
        "WEB_THREADS": "8",
        "REQUEST_SECONDS": str(REQUEST_S),
        "LOG_LEVEL": "DEBUG",
        "HOOK_BUDGET_MS": "1500",
        "FHIR_SERVERS": json.dumps([hanging_ehr]),
    }
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CONSILIUM_")}
    command = [sys.executable, "-m", "consilium", "web", "--http-port", "0", "--data-dir", str(folder / "data")]
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command, env=clean | {f"CONSILIUM_{k}": v for k, v in settings.items()}, stderr=stderr
        )
    try:
        found = wait_for(lambda: re.search(r'"port": ?(\d+), ?"event": ?"web listening"', log.read_text()))
        running = Web(int(found[1]), process.pid, log, hanging_ehr)  # type: ignore[index]
        wait_for(lambda: status_of(running.say(LAST)) == 200)
        wait_for(lambda: len(running.workers()) == 2)
        # Models are loaded in the background; on two processors that would be taken for a slow answer.
        wait_for(lambda: running.call()[1] < 0.1)
        yield running
    finally:
        process.terminate()
        process.wait(20)


def refused(said: bytes) -> str:
    """Return what is wrong with a refusal: one answer, an OperationOutcome, nothing repeated."""
    head, _, body = said.partition(b"\r\n\r\n")
    if said.count(b"HTTP/1.1 ") != 1:
        return f"{said.count(b'HTTP/1.1 ')} answers"
    if WORD.lower().encode() in said.lower():
        return "it repeats what was sent"
    if b"Content-Type: application/fhir+json" not in head:
        return f"no OperationOutcome: {said[:200]!r}"
    return "" if json.loads(body)["resourceType"] == "OperationOutcome" else "no OperationOutcome"


# Bytes that are no request, or more than one: name -> (what is sent, the status).
BEHIND = b"GET /cds-services/zzcanary HTTP/1.1\r\nHost: x\r\n\r\n"  # smuggled, if anybody takes it for a request
FRAMING: dict[str, tuple[bytes, int]] = {
    "length and chunks": (
        HOOK + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + BEHIND,
        400,
    ),
    "chunks and length": (
        HOOK + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + BEHIND,
        400,
    ),
    "two lengths": (HOOK + b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n" + BEHIND, 400),
    "the same length twice": (HOOK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}" + BEHIND, 400),
    "a list of lengths": (HOOK + b"Content-Length: 0, 44\r\n\r\n" + BEHIND, 400),
    "a signed length": (HOOK + b"Content-Length: +2\r\n\r\n{}" + BEHIND, 400),
    "a negative length": (HOOK + b"Content-Length: -1\r\n\r\n" + BEHIND, 400),
    "a hexadecimal length": (HOOK + b"Content-Length: 0x2\r\n\r\n{}" + BEHIND, 400),
    "a length of other digits": (HOOK + "Content-Length: \u00b2\r\n\r\n".encode("latin-1") + BEHIND, 400),
    "a length of 5000 digits": (HOOK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
    "an empty length": (HOOK + b"Content-Length:\r\n\r\n" + BEHIND, 400),
    "another coding": (HOOK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + BEHIND, 400),
    "chunks twice": (HOOK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + BEHIND, 400),
    "chunks, then identity": (HOOK + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + BEHIND, 400),
    "identity": (HOOK + b"Transfer-Encoding: identity\r\n\r\n" + BEHIND, 400),
    "gzip alone": (HOOK + b"Transfer-Encoding: gzip\r\n\r\n" + BEHIND, 400),
    "two codings": (HOOK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n" + BEHIND, 400),
    "a coding with a control": (HOOK + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + BEHIND, 400),
    "a coding in quotes": (HOOK + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n' + BEHIND, 400),
    "a coding behind a space": (HOOK + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + BEHIND, 400),
    "chunks in HTTP/1.0": (CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n" + BEHIND, 400),
    "a chunk of 0x3": (CHUNKED + b"0x3\r\n{ }\r\n0\r\n\r\n" + BEHIND, 400),
    "a chunk of +3": (CHUNKED + b"+3\r\n{ }\r\n0\r\n\r\n" + BEHIND, 400),
    "a chunk of -1": (CHUNKED + b"-1\r\n{}\r\n0\r\n\r\n" + BEHIND, 400),
    "a chunk of nothing": (CHUNKED + b"\r\n{}\r\n0\r\n\r\n" + BEHIND, 400),
    "a chunk beyond numbers": (CHUNKED + b"f" * 300 + b"\r\n{}\r\n0\r\n\r\n" + BEHIND, 400),
    "a chunk of an exabyte": (CHUNKED + b"fffffffffffffff\r\n{}\r\n0\r\n\r\n" + BEHIND, 413),
    "a chunk that is longer than it says": (CHUNKED + b"2\r\n{}}}\r\n0\r\n\r\n" + BEHIND, 400),
    "a chunk line that ends with LF": (CHUNKED + b"2\n{}\r\n0\r\n\r\n" + BEHIND, 400),
    "a chunk extension with CR": (CHUNKED + b"2;a=\rb\r\n{}\r\n0\r\n\r\n" + BEHIND, 400),
    "a length as trailer": (CHUNKED + b"2\r\n{}\r\n0\r\nContent-Length: 44\r\n\r\n" + BEHIND, 400),
    "a folded header": (HOOK + b"X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + BEHIND, 400),
    "a header without a colon": (HOOK + b"Zzcanary\r\n\r\n" + BEHIND, 400),
    "a header without a name": (HOOK + b": zzcanary\r\n\r\n" + BEHIND, 400),
    "a header name with a space": (HOOK + b"Zz canary: x\r\n\r\n" + BEHIND, 400),
    "a header with NUL": (HOOK + b"X-A: zz\x00canary\r\n\r\n" + BEHIND, 400),
    "a header with CR": (HOOK + b"X-A: zz\rcanary: x\r\n\r\n" + BEHIND, 400),
    "a header line that ends with LF": (HOOK + b"X-A: zzcanary\nContent-Length: 9\r\n\r\n" + BEHIND, 400),
    "two hosts": (HOOK + b"Host: zzcanary\r\nContent-Length: 0\r\n\r\n" + BEHIND, 400),
    "two media types": (HOOK + AS_JSON + AS_JSON + b"Content-Length: 0\r\n\r\n" + BEHIND, 400),
    "lines that end with LF": (b"GET /livez HTTP/1.1\nHost: zzcanary\n\n", 400),
    "no version": (b"GET /zzcanary\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /zzcanary HTTP/0.9\r\n\r\n", 400),
    "HTTP/2.0": (b"GET /zzcanary HTTP/2.0\r\n\r\n", 400),
    "HTTP/1.1 and more": (b"GET /zzcanary HTTP/1.1 HTTP/1.1\r\n\r\n", 400),
    "a version of words": (b"GET /livez ZZCANARY/1.1\r\n\r\n", 400),
    "two spaces": (b"GET  /zzcanary HTTP/1.1\r\n\r\n", 400),
    "a tab": (b"GET\t/zzcanary\tHTTP/1.1\r\n\r\n", 400),
    "a method in lower case": (b"get /zzcanary HTTP/1.1\r\n\r\n", 400),
    "a method of one letter": (b"Z /zzcanary HTTP/1.1\r\n\r\n", 400),
    "a method of 3000 letters": (b"Z" * 3000 + b" /zzcanary HTTP/1.1\r\n\r\n", 400),
    "an address with a control": (b"GET /zz\x01canary HTTP/1.1\r\n\r\n", 400),
    "an address that is not ASCII": (b"GET /zzcanary\xff HTTP/1.1\r\n\r\n", 400),
    "an address without a path": (b"GET zzcanary:80 HTTP/1.1\r\n\r\n", 400),
    "an asterisk": (b"GET * HTTP/1.1\r\n\r\n", 400),
    "nothing but empty lines": (b"\r\n\r\n\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03zzcanary", 400),
    "SSH": (b"ssh-2.0-zzcanary\r\n", 400),
    "HTTP/2 with prior knowledge": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "a proxy's line": (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "Redis": (b"*1\r\n$4\r\nPING\r\n", 400),
    "NULs": (b"\x00" * 4096, 400),
    "an address of 9 kB": (b"GET /" + b"z" * 9000 + b" HTTP/1.1\r\n\r\n", 414),
    "an address without an end": (b"GET /" + b"z" * 140_000, 414),
    "a header of 20 kB": (HOOK + b"X-A: " + b"z" * 20_000 + b"\r\n\r\n", 431),
    "100 headers": (HOOK + b"".join(b"X-%d: z\r\n" % n for n in range(100)) + b"\r\n", 431),
    "headers without an end": (HOOK + b"X-A: zzcanary\r\n" * 10_000, 431),
    "trailers without an end": (CHUNKED + b"2\r\n{}\r\n0\r\n" + b"X-A: zzcanary\r\n" * 10_000, 431),
    "an expectation": (HOOK + b"Expect: zzcanary\r\nContent-Length: 2\r\n\r\n{}", 417),
    "a body that is announced too large": (HOOK + AS_JSON + b"Content-Length: 5242881\r\n\r\n", 413),
    "the same, asking first": (HOOK + AS_JSON + b"Expect: 100-continue\r\nContent-Length: 9999999\r\n\r\n", 413),
    "chunks that become too large": (
        CHUNKED + (b"100000\r\n" + b" " * 0x100000 + b"\r\n") * 6 + b"0\r\n\r\n",
        413,
    ),
    "20,000 crumbs": (CHUNKED + b"1\r\n \r\n" * 20_000 + b"0\r\n\r\n", 400),
}


def test_bytes_that_are_no_request_are_refused_in_our_own_words_and_nothing_behind_them_is_read(web: Web) -> None:
    def answer(name: str) -> str | None:
        sent, status = FRAMING[name]
        said = web.say(sent).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        return refused(said) if status_of(said) == status else f"{said[:120]!r}"

    with ThreadPoolExecutor(8) as threads:
        wrong = {name: said for name, said in zip(FRAMING, threads.map(answer, FRAMING), strict=True) if said}
    assert len(FRAMING) >= 70
    assert not wrong


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET http://zzcanary/cds-services HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200),
        (b"CONNECT zzcanary:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        (b"TRACE /livez HTTP/1.1\r\nHost: x\r\nX: zzcanary\r\nConnection: close\r\n\r\n", 405),
        (
            b"GET /livez HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\nConnection: close\r\n\r\n",
            200,
        ),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nSCRIPT_NAME: /zzcanary\r\nConnection: close\r\n\r\n", 200),
        (b"GET /cds-services/../livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        (b"\r\nGET /livez HTTP/1.0\r\n\r\n", 200),
    ],
)
def test_unusual_requests_reach_nothing_but_us(web: Web, sent: bytes, status: int) -> None:
    said = web.say(sent)
    assert status_of(said) == status
    assert b"zzcanary" not in said.lower()
    assert b"Location:" not in said


def test_a_chunked_call_is_read_as_a_whole_one_is_even_byte_by_byte(web: Web) -> None:
    body = json.dumps(hook_body("zzcanary-1", prefetch={})).encode()
    half = len(body) // 2
    parts = (body[:half], body[half:])
    chunks = b"".join(b"%x;x=y\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\nX-T: y\r\n\r\n"
    sent = CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + chunks
    said = [web.say(sent), web.say(*(sent[at : at + 1] for at in range(len(sent))))]
    assert [status_of(one) for one in said] == [412, 412]


def slow(web: Web, *pieces: bytes, then: bytes = b"", every_s: float = 0.2) -> Callable[[], tuple[int, float]]:
    """Return a client that sends the pieces, and `then` again and again; -> the status and when it came."""

    def run() -> tuple[int, float]:
        began = time.monotonic()
        with web.connect(REQUEST_S + 6) as client:
            client.sendall(b"".join(pieces))
            client.settimeout(every_s)
            while time.monotonic() - began < REQUEST_S + 5:
                try:
                    return status_of(client.recv(65536)), time.monotonic() - began
                except TimeoutError:
                    client.sendall(then)
        return -1, time.monotonic() - began

    return run


SLOW = {
    "a head that never ends": (b"POST /cds-services/diabetes-risk HTTP/1.1\r\nHost: ", b""),
    "a head that trickles": (b"POST /cds-services/diabetes-risk HTTP/1.1\r\nHost: ", b"z"),
    "headers that trickle": (HOOK, b"X-A: zzcanary\r\n"),
    "a body that never comes": (HOOK + AS_JSON + b"Content-Length: 9000\r\n\r\n{", b""),
    "a body that trickles": (HOOK + AS_JSON + b"Content-Length: 9000\r\n\r\n{", b" "),
    "chunks that trickle": (CHUNKED, b"1\r\n \r\n"),
    "a large body that stops": (HOOK + AS_JSON + b"Content-Length: 5000000\r\n\r\n" + b" " * 900_000, b""),
}


@pytest.mark.timed
def test_slow_clients_are_ended_in_time_and_others_are_served_at_once_meanwhile(web: Web) -> None:
    runs = [slow(web, sent, then=then) for sent, then in SLOW.values() for _ in range(8)]
    with ThreadPoolExecutor(len(runs)) as threads:
        waiting = [threads.submit(run) for run in runs]
        time.sleep(0.3)
        others = [web.call() for _ in range(20)]
        ended = [one.result() for one in waiting]
    assert {status for status, _ in others} == {412}
    assert max(took for _, took in others) < SOON_S
    assert {status for status, _ in ended} == {408}
    assert max(when for _, when in ended) < REQUEST_S + 3


@pytest.mark.timed
def test_large_bodies_that_do_not_end_fill_no_memory_and_small_calls_are_answered(web: Web) -> None:
    def memory_kb() -> int:
        status = [Path(f"/proc/{pid}/status").read_text() for pid in web.workers()]
        return sum(int(re.search(r"VmRSS:\s+(\d+)", text)[1]) for text in status)  # type: ignore[index]

    before, head = memory_kb(), HOOK + AS_JSON + b"Content-Length: 5000000\r\n\r\n"
    with ExitStack() as held:
        clients = [held.enter_context(web.connect()) for _ in range(60)]
        for client in clients:
            with suppress(ConnectionError):
                client.sendall(head + b" " * 4_900_000)
        others = [web.call() for _ in range(5)]
        grown = memory_kb() - before
        ended = [status_of(everything(client)) for client in clients]
    assert {status for status, _ in others} == {412}
    assert max(took for _, took in others) < SOON_S
    assert set(ended) == {408, 503}
    assert grown < 250_000  # of 300 MB that were sent, two workers keep 64 MiB each, and what the allocator keeps


@pytest.mark.timed
def test_clients_that_say_nothing_take_nobody_s_place_however_many(web: Web) -> None:
    with ExitStack() as idle:
        for _ in range(2100):  # more than both workers hold together
            idle.enter_context(web.connect())
        others = [web.call() for _ in range(10)]
    assert {status for status, _ in others} == {412}
    assert max(took for _, took in others) < SOON_S


@pytest.mark.timed
def test_clients_that_do_not_read_or_close_take_nobody_s_place(web: Web) -> None:
    with ExitStack() as held:
        for _ in range(40):
            client = held.enter_context(web.connect())
            client.sendall(b"get / HTTP/1.1\r\n\r\n")  # refused, closed by the server, and not by the client
        for _ in range(32):
            client = held.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", web.port))
            client.settimeout(0.2)
            with suppress(TimeoutError):  # it is not read from any more either
                client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 400)
        others = []
        for _ in range(16):  # the answers fill the buffers between us after a second or two
            others.append(web.call())
            time.sleep(0.25)
    assert {status for status, _ in others} == {412}
    assert max(took for _, took in others) < SOON_S


def test_clients_that_leave_early_break_nothing(web: Web) -> None:
    body = json.dumps(hook_body("zzcanary-1", prefetch={})).encode()
    whole = HOOK + AS_JSON + b"Content-Length: %d\r\n\r\n" % len(body) + body
    for at in range(0, len(whole) + 1, 2):
        with web.connect() as client:
            client.sendall(whole[:at])
            if at % 4:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert web.call()[0] == 412


def test_a_client_that_has_said_everything_and_closes_its_side_is_answered(web: Web) -> None:
    for sent, status in ((LAST, 200), (GET, 200), (HOOK + b"Content-Length: 9\r\n\r\n{", 400), (HOOK, 400)):
        with web.connect() as client:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            assert status_of(everything(client)) == status


def test_requests_behind_each_other_are_answered_in_their_order_until_one_is_bad(web: Web) -> None:
    said = web.say(GET * 50 + b"GET /cds-services/none HTTP/1.1\r\nHost: x\r\n\r\n" + LAST + BEHIND)
    assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"200"] * 50 + [b"404", b"200"]
    said = web.say(GET, b"zzcanary / HTTP/1.1\r\n\r\n" + BEHIND, pause_s=0.05)
    assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"200", b"400"]


def test_a_request_that_is_begun_at_the_heels_of_another_is_waited_for_and_not_for_ever(web: Web) -> None:
    for rest, expected in ((LAST[20:], b"200"), (b"", b"408")):
        with web.connect() as client:
            client.sendall(GET)
            said = client.recv(65536)
            while not said.endswith(b"}"):
                said += client.recv(65536)
            client.sendall(LAST[:20])
            time.sleep(0.1)
            client.sendall(rest)
            said += everything(client)
        assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"200", expected]


@pytest.mark.timed
def test_clients_that_never_stop_asking_share_with_the_others(web: Web) -> None:
    ends_at = time.monotonic() + 1.5

    def ask_on(_number: int) -> int:
        answered = 0
        with web.connect() as client:
            while time.monotonic() < ends_at:
                client.sendall(GET)
                said = client.recv(65536)
                while not said.endswith(b"}"):
                    said += client.recv(65536)
                answered += status_of(said) == 200
        return answered

    with ThreadPoolExecutor(40) as threads:
        greedy = [threads.submit(ask_on, number) for number in range(40)]
        time.sleep(0.2)
        others = [web.call() for _ in range(5)]
        answered = [one.result() for one in greedy]
    assert {status for status, _ in others} == {412}
    assert max(took for _, took in others) < SOON_S
    assert min(answered) > 0


def test_a_body_that_nobody_reads_is_not_the_next_request(web: Web) -> None:
    unread = b"POST /cds-services/none HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BEHIND) + BEHIND
    assert re.findall(rb"HTTP/1.1 (\d+)", web.say(unread + LAST)) == [b"404", b"200"]


@pytest.mark.timed
def test_an_ehr_that_hangs_holds_up_those_who_named_it_and_nobody_else(web: Web) -> None:
    def name_it(_number: int) -> tuple[int, float]:
        return web.call(fhirServer=web.ehr)

    with ThreadPoolExecutor(40) as threads:
        waiting = [threads.submit(name_it, number) for number in range(40)]
        time.sleep(0.2)
        others = [web.call() for _ in range(10)]
        named = [one.result() for one in waiting]
    assert {status for status, _ in others} == {412}
    assert {status for status, _ in named} <= {412, 503}
    assert max(took for _, took in others) < 2 * SOON_S
    assert max(took for _, took in named) < 8.0


def test_after_all_this_the_same_workers_run_and_the_log_knows_nobody(web: Web) -> None:
    """Runs last: it looks back."""
    assert web.call()[0] == 412
    log = web.log.read_text()
    assert not re.search(r"zzcanary|quillon", log, re.IGNORECASE)
    assert '"level": "error"' not in log, [line for line in log.splitlines() if '"error"' in line][:5]
    assert "exited" not in log
    assert len(web.workers()) == 2
