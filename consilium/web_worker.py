"""A gunicorn gthread worker that gives a thread only to a request that has arrived whole.

gunicorn's own worker reads in its threads and without a limit of time: as many clients as it has threads, each
sending a byte now and then or nothing at all, or not reading its answer, end the service for everybody; and it
waits in its main loop, two seconds each, for clients to close what it has closed (tests/e2e/test_cds_abuse.py).
Here the main loop collects what comes and sends what is left, and nothing in it waits for anybody.
"""

import contextlib
import errno
import selectors
import socket
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import takewhile
from typing import Any

import structlog
from gunicorn import util
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

from consilium.connection import PIECES, RECEIVE_BYTES, Connection
from consilium.refusals import refusal, status_of
from consilium.shares import Shares
from consilium.threads import Threads
from fhir_adapters.strict_json import MAX_BYTES

MAX_HELD_BYTES = 64 << 20  # of one worker: requests that arrive or wait for a thread, answers nobody reads
SEND_S = 30.0  # within which a client must have read a whole answer
LINGER_S = 2.0
AFTER_YOU_S = 0.0005  # in which a worker with fewer connections takes the next one
MAX_LINGERING = 256
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

log = structlog.get_logger()


class WholeRequestWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """See the module."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - gunicorn's
        super().__init__(*args, **kwargs)
        # Within which a request must have arrived whole, else it is a 408.
        self._request_seconds: float = self.app.request_seconds
        self._keepalive_s: float = self.cfg.keepalive
        self._shares: Shares = self.app.shares
        # Each in the order of `ends_at`, because all wait equally long.
        self._arriving: dict[Connection, None] = {}
        self._lingering: dict[Connection, None] = {}
        self._sending: dict[Connection, bool] = {}
        self._held: dict[Connection, int] = {}

    def get_thread_pool(self) -> Threads[Connection]:
        """Return the threads that answer."""
        return Threads(self.cfg.threads, self._answer, partial(self.method_queue.defer, self.finish_request))

    def _answer(self, conn: Connection) -> bool:
        """Answer a request, and those that come at its heels while nobody waits for the thread.

        A busy client asks again within a fraction of a millisecond. To the main loop and back, two threads and a
        pipe had to take turns for that, and cost as much as the request.
        """
        try:
            kept = self._handled(conn)
            while kept and self.alive and not conn.sock.unsent and not self.tpool.has_waiting:
                if not conn.next_is_here(time.monotonic() + self._request_seconds):
                    break
                conn.hand_over()
                kept = self._handled(conn)
        except OSError:
            return False
        return kept

    def _handled(self, conn: Connection) -> bool:
        conn.sock.hold()
        kept = bool(self.handle(conn))
        conn.sock.release()
        return kept

    def accept(self, listener: socket.socket) -> None:
        """Take a new client; when there is no room, in place of the one that has waited longest."""
        # Not in a flood of connections: there the main loop has better things to do.
        if self.nr_conns <= self.cfg.threads and self._shares.others_have_fewer(self.age, self.nr_conns):
            time.sleep(AFTER_YOU_S)
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno in _NO_ROOM:
                self._make_room()
            elif error.errno not in {errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK}:
                raise
            return
        self.nr_conns += 1
        self._shares.tell(self.age, self.nr_conns)
        self.enqueue_req(Connection(self.cfg, sock, client, listener.getsockname(), self.linger))
        if self.nr_conns >= self.worker_connections:
            self._make_room()

    def enqueue_req(self, conn: Connection) -> None:
        """gunicorn's one door to the threads: nothing passes that has not arrived whole."""
        self._forget(conn)
        conn.begin(time.monotonic() + self._request_seconds)
        self._arriving[conn] = None
        if not (self._settled(conn) if conn.framing.data else self._received(conn)):
            self._watch(conn, self._received)

    def finish_request(self, conn: Connection, kept: bool) -> None:
        """Take the connection back from its thread. kept: the answer said that it stays open."""
        self._held.pop(conn, None)
        try:
            if conn.sock.unsent:
                self._send_rest(conn, kept)
            elif not kept:
                self.nr_conns -= 1
                conn.close(graceful=True)
            elif conn.begun:
                self._go_on(conn)
            elif conn.parser.unreader.buf.getvalue() or conn.has_more():
                self.enqueue_req(conn)  # the next request is here already
            else:
                self._keep(conn)
        except (OSError, ValueError):
            self._give_up(conn)

    def _keep(self, conn: Connection) -> None:
        """Await the next request on a connection that has been answered."""
        # A stopping worker keeps it briefly: a request may be under way (RFC 9112 9.6).
        stays_s = self._keepalive_s if self.alive else min(self._keepalive_s, STOP_KEEPALIVE_LINGER)
        conn.timeout = time.monotonic() + stays_s
        self.keepalived_conns.append(conn)
        self._watch(conn, self._asks_again)

    def _go_on(self, conn: Connection) -> None:
        """Await the rest of a request of which a thread has taken the beginning."""
        conn.begun = False
        conn.ends_at = time.monotonic() + self._request_seconds
        self._arriving[conn] = None
        if not self._settled(conn):
            self._watch(conn, self._received)

    def _asks_again(self, conn: Connection) -> None:
        self.keepalived_conns.remove(conn)
        self.enqueue_req(conn)

    def murder_pending(self) -> None:
        """End what has waited too long; gunicorn calls this every second or more often."""
        self._shares.tell(self.age, self.nr_conns)
        now = time.monotonic()
        # A stopping worker waits as long for a request as gunicorn does on a kept connection.
        late = now if self.alive else now + self._request_seconds - STOP_KEEPALIVE_LINGER
        for conn in _until(self._arriving, late):
            self._end(conn, 408)
        for conn in _until(self._sending, now):
            self._give_up(conn)
        for conn in _until(self._lingering, now):
            self._end_linger(conn)

    def handle_error(self, req: object, client: socket.socket, addr: object, exc: BaseException) -> None:  # noqa: ARG002
        """Word what the parser refuses. gunicorn would answer in HTML and repeat what was sent."""
        status = status_of(exc)
        if status >= 500:
            log.error("request failed", kind=type(exc).__name__)
        else:
            log.info("request refused", status=status, kind=type(exc).__name__)
        try:
            util.write_nonblock(client, refusal(status))
        except OSError:
            log.debug("refusal not taken", status=status)

    def linger(self, conn: Connection) -> None:
        """Close towards the client and let it read to the end (RFC 9112 9.6), while the main loop goes on."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            self._watch(conn, self._drain)
        except (OSError, ValueError):
            self._unregister(conn)
            util.close(conn.sock)
            return
        conn.ends_at = time.monotonic() + LINGER_S
        self._lingering[conn] = None
        if len(self._lingering) > MAX_LINGERING:
            self._end_linger(next(iter(self._lingering)))

    def _send_rest(self, conn: Connection, kept: bool) -> None:
        """Go on sending an answer that the client has not read; its next request is not looked at before."""
        conn.ends_at = time.monotonic() + SEND_S
        self._sending[conn] = kept
        self._held[conn] = len(conn.sock.unsent)
        self._watch(conn, self._writable, selectors.EVENT_WRITE)
        self._stay_within_memory()

    def _writable(self, conn: Connection) -> None:
        try:
            done = conn.sock.flush()
        except OSError:
            self._give_up(conn)
            return
        if done:
            self.finish_request(conn, self._sending.pop(conn))

    def _give_up(self, conn: Connection) -> None:
        self._unregister(conn)
        self._sending.pop(conn, None)
        self._held.pop(conn, None)
        self.nr_conns -= 1
        conn.close()

    def _received(self, conn: Connection) -> bool:
        """Take what has arrived. True when the connection need not be waited for any more."""
        for _ in range(PIECES):
            try:
                piece = conn.sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                return False
            except OSError:
                piece = b""
                conn.framing.data.clear()
            if not piece:
                self._end(conn, 400)
                return True
            conn.framing.feed(piece)
            if self._settled(conn):
                return True
        return False

    def _settled(self, conn: Connection) -> bool:
        """Pass a whole request to a thread. True when the connection need not be waited for any more."""
        framing = conn.framing
        self._held[conn] = len(framing.data)
        if framing.refused is not None:
            self._end(conn, framing.refused)
            return True
        if framing.end is not None:
            self._unregister(conn)  # what comes next is the thread's to look for
            del self._arriving[conn]
            conn.hand_over()
            self.tpool.submit(conn)
            return True
        if framing.awaits_continue and not conn.told_to_go_on:
            conn.told_to_go_on = True
            self._send(conn, _CONTINUE)
        self._stay_within_memory()
        return conn not in self._arriving

    def _stay_within_memory(self) -> None:
        # The largest goes first: a small call is never refused for what others have sent or do not read.
        while sum(self._held.values()) > MAX_HELD_BYTES and (self._arriving or self._sending):
            conn = max((*self._arriving, *self._sending), key=self._size)
            if conn in self._sending:
                self._give_up(conn)
            else:
                self._end(conn, 503)

    def _size(self, conn: Connection) -> int:
        return self._held.get(conn, 0)

    def _make_room(self) -> None:
        """End the oldest client that is not being answered: half a request, else a connection kept open."""
        if self._arriving:
            self._end(next(iter(self._arriving)), 503)
        elif self.keepalived_conns:
            conn = self.keepalived_conns.popleft()
            self._unregister(conn)
            self.nr_conns -= 1
            conn.close()
        else:
            time.sleep(0.01)  # every descriptor is at work: trying again at once would take the processor

    def _end(self, conn: Connection, status: int) -> None:
        """End a connection that is being waited for, with an answer when a request had begun."""
        self._unregister(conn)
        self._forget(conn)
        self.nr_conns -= 1
        if conn.framing.data:
            log.info("request refused", status=status)
            self._send(conn, refusal(status))
            conn.framing.data.clear()  # nobody counts what a connection holds that is only being closed
            self.linger(conn)
        else:
            conn.close()

    def _send(self, conn: Connection, data: bytes) -> None:
        try:
            conn.sock.send(data)
        except OSError:
            log.debug("client gone")

    def _drain(self, conn: Connection) -> None:
        try:
            piece = conn.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        conn.drained += len(piece)
        if not piece or conn.drained > MAX_BYTES:
            self._end_linger(conn)

    def _end_linger(self, conn: Connection) -> None:
        self._lingering.pop(conn, None)
        self._unregister(conn)
        util.close(conn.sock)

    def _forget(self, conn: Connection) -> None:
        self._arriving.pop(conn, None)
        self._held.pop(conn, None)

    def _watch(
        self, conn: Connection, happened: Callable[[Connection], object], events: int = selectors.EVENT_READ
    ) -> None:
        """Do `happened` whenever the client has sent something, or can be sent to."""
        conn.happened = happened
        if conn.watched == events:
            return
        tell = self.poller.modify if conn.watched else self.poller.register
        tell(conn.fd, events, partial(_dispatch, conn))
        conn.watched = events

    def _unregister(self, conn: Connection) -> None:
        """Look no more."""
        if conn.watched:
            conn.watched = 0
            with contextlib.suppress(KeyError, ValueError, OSError):
                self.poller.unregister(conn.fd)


def _dispatch(conn: Connection, _fd: object) -> None:
    conn.happened(conn)


def _until(waiting: Iterable[Connection], moment: float) -> list[Connection]:
    """Return those whose time is up; `waiting` is in the order of `ends_at`."""
    return list(takewhile(lambda conn: conn.ends_at <= moment, waiting))
