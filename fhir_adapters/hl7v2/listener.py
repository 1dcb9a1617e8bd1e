"""The MLLP port: one thread that waits for all peers at once, one that stores what they sent.

A peer that says nothing costs a descriptor. When all places are taken the one that has been silent longest goes,
so that a newcomer is served. What several peers have sent meanwhile is stored together, with one flush for all.
"""

import asyncio
import contextlib
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from clinical.errors import ClinicalError
from fhir_adapters.hl7v2 import acknowledge
from fhir_adapters.hl7v2.errors import DATA_TYPE, RECORD_LOCKED, SEGMENT_SEQUENCE, TOO_LONG, MessageError
from fhir_adapters.hl7v2.intake import Answer, Incoming
from fhir_adapters.hl7v2.mllp import Frames, Trouble, framed

BATCH = 64
GATHER_S = 0.004
_ASKED_AT_ONCE = 16  # messages of one peer that wait for their answer, before we stop reading from it
_LINGER_S = 1.0
SAY_AGAIN_S = 60.0
_MOST_SAID = 256

log = structlog.get_logger()

_WORDS = {
    Trouble.NOT_MLLP: (SEGMENT_SEQUENCE, "expected a block that begins with 0x0B (MLLP)"),
    Trouble.TOO_LARGE: (TOO_LONG, "the message is larger than this server takes"),
    Trouble.TOO_SLOW: (DATA_TYPE, "the message did not end with 0x1C 0x0D, or not in time"),
    Trouble.NO_ROOM: (RECORD_LOCKED, "too much is being sent at once; send it again later"),
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bytes of one message and of all unfinished ones; peers at once, and from one address; seconds.

    frame_s: from a message's first byte to its last. idle_s: without a byte between messages.
    """

    message_bytes: int = 4 << 20
    unfinished_bytes: int = 64 << 20
    peers: int = 256
    peers_per_address: int = 64
    frame_s: float = 30.0
    handshake_s: float = 10.0
    idle_s: float = 3600.0


class Take(Protocol):
    """fhir_adapters.hl7v2.intake.Intake.take"""

    def __call__(self, batch: Sequence[Incoming]) -> list[Answer]: ...


class Watch(Protocol):
    """Who counts: each answer with the seconds that it took, who was refused and why, how many are connected."""

    def answered(self, answer: Answer, seconds: float) -> None: ...
    def refused(self, why: str) -> None: ...
    def connected(self, count: int) -> None: ...


class MllpListener:
    """Listens. take: stores a batch. may_come: whether an address may send. tls: the context of a handshake."""

    def __init__(
        self,
        take: Take,
        *,
        watch: Watch,
        now: Callable[[], datetime],
        may_come: Callable[[str], bool] = lambda _address: True,
        tls: Callable[[], ssl.SSLContext] | None = None,
        bounds: Bounds = Bounds(),
    ) -> None:
        self._take, self._watch, self._now, self._may_come, self._tls = take, watch, now, may_come, tls
        self._bounds = bounds
        self._peers: dict[_Peer, str] = {}  # in the order in which they last said something
        self._waiting: queue.SimpleQueue[tuple[_Peer, Incoming, float] | None] = queue.SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._unfinished = 0
        self._threads: list[threading.Thread] = []
        self._accepting: asyncio.Task[None] | None = None
        self._said: dict[tuple[str, str], float] = {}

    def start(self, host: str, port: int) -> int:
        """Listen and return the port. Raises OSError when the address is taken."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            sock.listen(256)
        except OSError:
            sock.close()
            raise
        sock.setblocking(False)
        for name, run in (("mllp-peers", lambda: self._serve(sock)), ("mllp-store", self._store)):
            thread = threading.Thread(target=run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
        return int(sock.getsockname()[1])

    def stop(self, within_s: float = 5.0) -> None:
        """Take no more, answer what was taken, and close."""
        self._loop.call_soon_threadsafe(self._close_door)
        self._waiting.put(None)
        for thread in reversed(self._threads):
            thread.join(within_s)

    def _close_door(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
        for peer in list(self._peers):
            peer.pause()

    def _serve(self, sock: socket.socket) -> None:
        asyncio.set_event_loop(self._loop)
        with sock:
            self._accepting = self._loop.create_task(self._accept(sock))
            self._loop.run_forever()  # until what was taken is answered
            for peer in list(self._peers):
                peer.abort()
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.wait({*left, self._loop.create_task(asyncio.sleep(0.01))}))
        self._loop.close()

    async def _accept(self, sock: socket.socket) -> None:
        handshakes: set[asyncio.Task[None]] = set()
        while True:
            try:
                connection, address = await self._loop.sock_accept(sock)
            except OSError as error:  # out of descriptors: those that go give some back
                log.warning("cannot accept", problem=error.strerror)
                await asyncio.sleep(0.1)
                continue
            host = str(address[0]).removeprefix("::ffff:")
            if not self._lets_in(host):
                connection.close()
                continue
            task = self._loop.create_task(self._welcome(connection, host))
            handshakes.add(task)
            task.add_done_callback(handshakes.discard)

    def _lets_in(self, host: str) -> bool:
        if not self._may_come(host):
            self._refuse(host, "address not allowed")
            return False
        if sum(1 for one in self._peers.values() if one == host) >= self._bounds.peers_per_address:
            self._refuse(host, "too many from one address")
            return False
        if len(self._peers) >= self._bounds.peers:
            silent = next((peer for peer in self._peers if peer.idle), None)
            if silent is None:
                self._refuse(host, "no place")
                return False
            silent.abort()
        return True

    async def _welcome(self, connection: socket.socket, host: str) -> None:
        peer = _Peer(self, host)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            secured = {"ssl": self._tls(), "ssl_handshake_timeout": self._bounds.handshake_s} if self._tls else {}
            await self._loop.connect_accepted_socket(lambda: peer, connection, **secured)  # type: ignore[arg-type]
        except (OSError, ssl.SSLError, ConnectionError, ClinicalError):
            self._refuse(host, "handshake failed")
            connection.close()

    # ------------------------------------------------------------------ what peers tell (in the loop's thread)
    def came(self, peer: "_Peer") -> None:
        """Note a peer that is connected."""
        self._peers[peer] = peer.host
        self._watch.connected(len(self._peers))

    def spoke(self, peer: "_Peer") -> None:
        """Note that it has said something: it is the last that would have to go."""
        if peer in self._peers:
            self._peers[peer] = self._peers.pop(peer)

    def went(self, peer: "_Peer", held: int) -> None:
        """Note that it has gone."""
        self._unfinished -= held
        self._peers.pop(peer, None)
        self._watch.connected(len(self._peers))

    def holds(self, change: int) -> bool:
        """Count bytes of unfinished messages; False when there is no room for them."""
        self._unfinished += change
        return self._unfinished <= self._bounds.unfinished_bytes

    def ask(self, peer: "_Peer", message: bytes) -> None:
        """Have a message stored."""
        self._waiting.put((peer, Incoming(message, peer.host), self._loop.time()))

    def _refuse(self, host: str, why: str) -> None:
        """Count, and say once a minute for each peer and reason: a scanner must not fill the log."""
        self._watch.refused(why)
        now = self._loop.time()
        if now - self._said.get((host, why), float("-inf")) < SAY_AGAIN_S:
            return
        if len(self._said) >= _MOST_SAID:
            self._said.clear()
        self._said[host, why] = now
        log.warning("HL7 peer not served", client=host, why=why)

    def reject(self, trouble: Trouble, host: str) -> bytes:
        """Return the answer to what is no message."""
        self._refuse(host, str(trouble))
        code, text = _WORDS[trouble]
        error = MessageError(code, text, rejected=True)
        return acknowledge.answers(acknowledge.Header(), error, str(trouble), self._now(), kept=False)[0]

    @property
    def bounds(self) -> Bounds:
        """What peers are held to."""
        return self._bounds

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the peers' thread."""
        return self._loop

    # ------------------------------------------------------------------ the storing thread
    def _store(self) -> None:
        ended, usual = False, 1
        while not ended:
            batch = self._gathered(usual)
            ended, usual = batch[-1] is None, len(batch)
            asked = [one for one in batch if one is not None]
            if asked:
                self._taken(asked)
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _taken(self, asked: "Sequence[tuple[_Peer, Incoming, float]]") -> None:
        try:
            answers = self._take([incoming for _, incoming, _ in asked])
        except Exception as error:  # noqa: BLE001 - one error must not leave a port that accepts and never answers
            log.error("messages not taken", error=type(error).__name__, count=len(asked))  # noqa: TRY400
            # Without an answer: who is cut off sends again (MLLP 1.0, 2.3).
            for peer in {peer for peer, _, _ in asked}:
                self._loop.call_soon_threadsafe(peer.abort)
            return
        self._loop.call_soon_threadsafe(self._tell, asked, answers)

    def _gathered(self, usual: int) -> "list[tuple[_Peer, Incoming, float] | None]":
        """Return what waits. Peers that were answered together send again together: so many are waited for."""
        batch = [self._waiting.get()]
        until = time.monotonic() + GATHER_S
        with contextlib.suppress(queue.Empty):
            while len(batch) < BATCH and batch[-1] is not None:
                left = until - time.monotonic() if len(batch) < usual else 0.0
                batch.append(self._waiting.get(timeout=left) if left > 0 else self._waiting.get_nowait())
        return batch

    def _tell(self, asked: "Sequence[tuple[_Peer, Incoming, float]]", answers: Sequence[Answer]) -> None:
        for (peer, _, since), answer in zip(asked, answers, strict=True):
            self._watch.answered(answer, self._loop.time() - since)
            peer.answer(answer.replies)


class _Peer(asyncio.Protocol):
    """One connection: cuts what arrives into messages and writes the answers, in the order of the questions."""

    def __init__(self, listener: MllpListener, host: str) -> None:
        self._listener, self.host = listener, host
        self._frames = Frames(listener.bounds.message_bytes)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._asked = 0
        self._held = 0
        self._done = False
        self._full = False  # it does not read our answers

    @property
    def idle(self) -> bool:
        """True when it waits for no answer and is in no message."""
        return not self._asked and not self._frames.inside

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport
        self._listener.came(self)
        self._expect(self._listener.bounds.idle_s)

    def connection_lost(self, _error: Exception | None) -> None:
        """End. What it has sent is stored all the same; nobody is there to be told."""
        self._done = True
        if self._timer:
            self._timer.cancel()
        self._listener.went(self, self._held)

    def data_received(self, data: bytes) -> None:
        """Take what has arrived."""
        if self._done:
            return
        self._listener.spoke(self)
        was_inside = self._frames.inside
        for found in self._frames.feed(data):
            if isinstance(found, Trouble):
                self._give_up(found)
                return
            self._asked += 1
            self._listener.ask(self, found)
            was_inside = False
        room = self._listener.holds(self._frames.held - self._held)
        self._held = self._frames.held
        if not room:
            self._give_up(Trouble.NO_ROOM)
        elif self._frames.inside and not was_inside:
            self._expect(self._listener.bounds.frame_s)
        elif not self._frames.inside:
            self._expect(self._listener.bounds.idle_s)
        if self._asked >= _ASKED_AT_ONCE:
            self.pause()

    def eof_received(self) -> bool:
        """Answer what a peer has sent that sends no more, and then close."""
        if not self._done and self._frames.inside:
            self._give_up(Trouble.TOO_SLOW)
        self._done = True
        return bool(self._asked)  # True keeps the way back open (not with TLS, which has none)

    def answer(self, replies: Sequence[bytes]) -> None:
        """Write the answers to one message."""
        self._asked -= 1
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(b"".join(map(framed, replies)))
        if self._done and not self._asked:
            self._transport.close()
        elif not self._done and not self._full and self._asked < _ASKED_AT_ONCE:
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Read no more from a peer that does not read our answers."""
        self._full = True
        self.pause()

    def resume_writing(self) -> None:
        """Read on."""
        self._full = False
        if self._transport is not None and not self._done and self._asked < _ASKED_AT_ONCE:
            self._transport.resume_reading()

    def pause(self) -> None:
        """Read no more for now."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def abort(self) -> None:
        """End the connection at once."""
        self._done = True
        if self._transport is not None:
            self._transport.abort() if self._asked else self._transport.close()

    def _expect(self, seconds: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._listener.loop.call_later(seconds, self._too_late)

    def _too_late(self) -> None:
        if self._frames.inside:
            self._give_up(Trouble.TOO_SLOW)
        elif not self._asked:
            self.abort()
        else:
            self._expect(self._listener.bounds.idle_s)

    def _give_up(self, trouble: Trouble) -> None:
        """Answer what is no message, and close: after it nothing that follows could be told apart."""
        self._done = True
        if self._timer:
            self._timer.cancel()
        reply = framed(self._listener.reject(trouble, self.host))
        if self._transport is None:
            return
        self._transport.write(reply)
        if not self._asked:
            # The answer would be lost if we closed on bytes that nobody has read (RFC 2525 2.17).
            self._listener.loop.call_later(_LINGER_S, self._transport.close)
            if self._transport.can_write_eof():
                self._transport.write_eof()
