"""A process with one thread that forks others: whoever has threads must not.

A copy of a process has the locks that its threads held, and none of the threads that would release them. So one
copy is made while there are no threads yet. It does nothing but fork, hand the other end of each channel back
(SCM_RIGHTS), and wait for what it forked; it ends when the channel to it is closed. Another one, after it has
died, is a fresh interpreter that has come to the same point (`zygotes.py`).
"""

import contextlib
import errno
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from dicom_node.channel import Channel, ChannelClosed, Message, channels
from dicom_node.storing import why_of

if TYPE_CHECKING:
    import subprocess

# How long a process whose channel is closed may take to be gone; nothing of it is left to wait for.
_ENDING_S = 1.0

log = structlog.get_logger()

Serve = Callable[[Channel], None]


# Starts a fresh interpreter that is to `serve_forks` at this descriptor.
Begin = Callable[[int], "subprocess.Popen[bytes]"]


class Zygote:
    """The process that forks, as another one sees it. reap: waits for its end."""

    def __init__(self, channel: Channel, reap: Callable[[], None]) -> None:
        self._channel, self._reap = channel, reap
        self._lock = threading.Lock()  # from a question to its answer

    def fork(self) -> tuple[int, Channel]:
        """Return a new process's ID and this end of its channel.

        Raises OSError when the system refuses another process, ChannelClosed when the zygote is dead.
        """
        with self._lock:
            self._channel.send({"fork": True})
            answer = self._channel.receive()
        message = answer.message
        if answer.connection is not None:
            return message["pid"], Channel(answer.connection)
        if "pid" in message:  # the system had no descriptor left in this process for the channel, which is closed
            self.how_ended(message["pid"])
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        raise OSError(*message["refused"])

    def how_ended(self, pid: int) -> str:
        """Say how a process ended whose channel is closed; until it is asked, its ID is not used again."""
        with contextlib.suppress(ChannelClosed), self._lock:
            self._channel.send({"ended": pid})
            return str(self._channel.receive().message["how"])
        return "unknown"

    def is_ready(self) -> bool:
        """Wait for a fresh interpreter to be one; False when it has ended before."""
        with contextlib.suppress(ChannelClosed):
            return "ready" in self._channel.receive().message
        return False

    def wait(self) -> None:
        """Wait until it is dead, or this end of its channel is closed."""
        self._channel.wait_until_closed()

    def close(self) -> None:
        """Let it end, and whoever waits for it here go on. What it has forked is not ended."""
        self._channel.close()

    def stop(self) -> None:
        """End it, once."""
        self.close()
        self._reap()


def forked(serve: Serve) -> Zygote:
    """Make one that forks copies of this process as it is now: before any thread is started.

    serve: what each copy does with its end of a channel, until that is closed.
    """
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:  # inherited: nobody could say how a process ended
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    here, there = channels()

    def obey() -> None:
        here.close_here()
        _obey(there, serve)

    pid = _copy(obey)
    there.close_here()

    def reap() -> None:
        _wait_for(pid)

    return Zygote(here, reap)


def begun_anew(begin: Begin) -> Zygote:
    """Start one that is a fresh interpreter; it may be asked when it `is_ready`. Raises OSError."""
    here, there = channels()
    try:
        process = begin(there.connection.fileno())
    except OSError:
        here.close_here()
        raise
    finally:
        there.close_here()

    def reap() -> None:
        process.returncode = _wait_for(process.pid)  # what waits for it by itself is told that nothing is left to

    return Zygote(here, reap)


def serve_forks(descriptor: int, serve: Serve) -> None:
    """Fork copies of this process, which has one thread, for the one that began it, until that has had enough."""
    channel = Channel(socket.socket(fileno=descriptor))
    with contextlib.suppress(ChannelClosed):
        channel.send({"ready": True})
        _obey(channel, serve)
    channel.close_here()


def leave_signals_alone() -> None:
    """Let the listening process say when to end: what a terminal or a service manager sends goes to all."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _copy(run: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        leave_signals_alone()
        run()
        code = 0
    except Exception as error:  # noqa: BLE001 - the edge of this process
        log.error("a receiving process failed", why=why_of(error))  # noqa: TRY400
    finally:
        os._exit(code)


def _obey(channel: Channel, serve: Serve) -> None:
    with contextlib.suppress(ChannelClosed):
        while True:
            asked = channel.receive().message
            if "fork" in asked:
                _fork(channel, serve)
            else:
                channel.send({"how": _how(_wait_for(asked["ended"]))})


def _fork(channel: Channel, serve: Serve) -> None:
    try:
        here, there = channels()
    except OSError as error:
        channel.send(_refused(error))
        return

    def run() -> None:
        # Else the zygote, or this one, would look alive to the listening process for as long as the other lives.
        for one in (channel, here):
            one.close_here()
        serve(there)

    try:
        channel.send({"pid": _copy(run)}, connection=here.connection)
    except OSError as error:
        channel.send(_refused(error))
    finally:
        for one in (here, there):
            one.close_here()


def _refused(error: OSError) -> Message:
    return {"refused": [error.errno, error.strerror]}


def _wait_for(pid: int) -> int:
    """Return a process's exit code, or minus the signal; one that does not end in time is killed."""
    until = time.monotonic() + _ENDING_S
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            until = float("inf")
        time.sleep(0.005)


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # one of real time
        return f"signal {-code}"
