"""Processes that receive objects for the one that listens: one interpreter would serve one processor.

The listening process accepts connections, counts, judges and refuses (`door`); an association for storage alone
is then handed over with its socket, and only told of: the first object of each study, and its end. So limits,
audit and evidence stay in one place. A receiver that dies takes its associations with it, which are told as
aborted, and another comes instead of it; while none is ready the listening process receives itself.
"""

import contextlib
import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import count

import structlog

from dicom_node.channel import Channel, ChannelClosed, Message
from dicom_node.direct import End
from dicom_node.negotiation import ContextResult
from dicom_node.pauses import LASTING_S, pause_s
from dicom_node.storing import why_of
from dicom_node.zygote import Begin, Zygote
from dicom_node.zygotes import Zygotes

READY_WITHIN_S = 1.0  # an association waits so long for a process that starts, while there is no other
# How long a stop waits for what is told of associations after their process has ended: a few rows of the database.
_TELLING_S = 2.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ReceiversSeen:
    """How many processes are ready to receive. died: how one has just ended that was not told to, or nothing."""

    ready: int
    died: str = ""


@dataclass(frozen=True, slots=True)
class Totals:
    """What an association brought. taken: instances by Study Instance UID."""

    taken: Mapping[str, int] = field(default_factory=dict)
    not_taken: int = 0


@dataclass(slots=True, eq=False)
class Handed:
    """An established association that another process is to serve.

    accepted: the A-ASSOCIATE-AC, which is not sent yet. first: what came after the request. contexts: the accepted
    ones. brought: told of a study when its first object is taken. ended: told once, with None for what it brought
    when the process has died that knew it. cut: ends it.
    """

    calling_ae: str
    address: str
    maximum_length: int
    contexts: Sequence[ContextResult]
    accepted: bytes
    first: bytes
    brought: Callable[[str], None]
    ended: Callable[[End, Totals | None], None]
    cut: Callable[[], None] = lambda: None


@dataclass(slots=True, eq=False)
class _Process:
    """One of them. zygote: who forked it. open: its associations by number."""

    pid: int
    channel: Channel
    zygote: Zygote
    open: dict[int, Handed] = field(default_factory=dict)
    is_alive: bool = True

    def cut(self, number: int) -> None:
        """End an association."""
        self.tell({"cut": number})

    def tell(self, message: Message) -> None:
        """Send it a message, unless it is dead."""
        with contextlib.suppress(ChannelClosed):
            self.channel.send(message)


class _State(Enum):
    READY = auto()
    COMING = auto()  # in a moment
    AWAY = auto()  # until a pause is over


@dataclass(slots=True, eq=False)
class _Place:
    """Where a process is, and others after it. quick_deaths: how many in a row died at once."""

    process: _Process
    state: _State = _State.READY
    ready_at: float | None = field(default_factory=time.monotonic)
    quick_deaths: int = 0

    def empty(self) -> float:
        """Note that the process has died; return how long nobody is to come instead of it."""
        lasted = self.ready_at is not None and time.monotonic() - self.ready_at > LASTING_S
        self.quick_deaths = 0 if lasted else self.quick_deaths + 1
        pause = pause_s(self.quick_deaths)
        self.state, self.ready_at = _State.AWAY if pause else _State.COMING, None
        return pause


class Receivers:
    """All of them. serve: what a process does with its end of the channel until that is closed.

    To be made before any thread is started: the processes are copies of what this one is now, also those that come
    later. seen: told how many are ready, at the start and when that changes. begin: see `zygote`; processes that
    come when whoever forks them has died are copies of what it starts.
    """

    def __init__(
        self,
        number: int,
        serve: Callable[[Channel], None],
        seen: Callable[[ReceiversSeen], None] = lambda _seen: None,
        begin: Begin | None = None,
    ) -> None:
        # What is there stays as it is: looking through it for garbage costs each process a copy of all its pages.
        gc.freeze()
        self._zygotes = Zygotes(serve, begin)
        self._places = [_Place(_Process(*self._zygotes.fork())) for _ in range(number)]
        self._seen = seen
        self._changed = threading.Condition()  # held for what is said of places and processes
        self._numbers = count()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep, args=(place,), name="receivers", daemon=True)
            for place in self._places
        ]
        seen(ReceiversSeen(number))
        self._zygotes.watch()
        for thread in self._threads:
            thread.start()

    @property
    def pids(self) -> Sequence[int]:
        """The processes that are ready."""
        return [place.process.pid for place in self._ready()]

    def _ready(self) -> Sequence[_Place]:
        return [place for place in self._places if place.state is _State.READY]

    def _is_decided(self) -> bool:
        """True unless one is coming and none is ready."""
        return bool(self._ready()) or all(place.state is not _State.COMING for place in self._places)

    def take(self, connection: socket.socket, handed: Handed) -> bool:
        """Give an association to the process that has fewest; False when there is none to take it.

        The connection is closed here when it was taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stopping.is_set() or self._is_decided(), READY_WITHIN_S)
            ready = self._ready()
            if not ready or self._stopping.is_set():
                return False
            place, number = min(ready, key=lambda one: len(one.process.open)), next(self._numbers)
            receiver = place.process
            receiver.open[number] = handed
        handed.cut = lambda: receiver.cut(number)
        try:
            receiver.channel.send(_as_message(number, handed), handed.accepted + handed.first, connection)
        except ChannelClosed:  # it has just died
            with self._changed:
                is_told = receiver.open.pop(number, None) is None  # that it was aborted
                if receiver.is_alive:  # that it is not will be seen in a moment
                    place.state = _State.COMING
            receiver.channel.close()  # whatever could not be sent: half a message may have been
            if not is_told:
                return self.take(connection, handed)
        connection.close()
        return True

    def stop(self, within_s: float) -> None:
        """End the processes: what they are storing is stored, or not answered."""
        until = time.monotonic() + within_s
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()
            for place in self._places:
                place.process.tell({"stop": True})
        self._zygotes.begin_no_more()
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        with self._changed:
            for place in self._places:
                if place.process.is_alive:
                    with contextlib.suppress(ProcessLookupError):  # it has just ended
                        os.kill(place.process.pid, signal.SIGKILL)
        self._zygotes.stop()
        for thread in self._threads:  # what the processes said last is told before this returns
            thread.join(_TELLING_S)
        for place in self._places:
            place.process.channel.close()

    def _keep(self, place: _Place) -> None:
        """Listen to the process of a place, and to each that comes instead of it, until a stop."""
        pause = self._listen(place)
        while not self._stopping.wait(pause):
            with self._changed:
                place.state = _State.COMING
            try:
                process = _Process(*self._zygotes.fork())
            except OSError as error:
                pause = self._empty(place)
                log.error("no receiving process started", why=error.strerror, again_in_s=pause)  # noqa: TRY400
            except ChannelClosed:
                if not self._is_another_there(place):
                    return
                pause = 0.0
            else:
                with self._changed:
                    place.process = process
                    if self._stopping.is_set():
                        process.tell({"stop": True})
                pause = self._listen(place)

    def _listen(self, place: _Place) -> float:
        """Listen to a process until it has died; return how long none is to come instead of it."""
        receiver = place.process
        with contextlib.suppress(ChannelClosed):
            while True:
                message = receiver.channel.receive().message
                with _told_of():
                    self._hear(place, message)
        with self._changed:
            receiver.is_alive = False
            left, receiver.open = receiver.open, {}
        pause = self._empty(place)
        receiver.channel.close()
        how = receiver.zygote.how_ended(receiver.pid)
        if not self._stopping.is_set():
            log.error("a receiving process has died", how=how, associations=len(left), again_in_s=pause)
            with _told_of():
                self._seen(ReceiversSeen(len(self._ready()), how))
        for handed in left.values():
            with _told_of():
                handed.ended(End.ABORTED, None)
        return pause

    def _empty(self, place: _Place) -> float:
        with self._changed:
            pause = place.empty()
            self._changed.notify_all()
        return pause

    def _is_another_there(self, place: _Place) -> bool:
        """Wait, without letting an association wait, until somebody forks again; False when nobody will."""
        with self._changed:
            place.state = _State.AWAY
            self._changed.notify_all()
        is_there = self._zygotes.wait_for_another()
        if not is_there and not self._stopping.is_set():
            log.error("a receiving process is not replaced before the next start: who forks them is dead")
        return is_there

    def _hear(self, place: _Place, message: Message) -> None:
        receiver = place.process
        if "ready" in message:
            self._is_ready(place)
        elif "brought" in message:
            receiver.open[message["brought"]].brought(message["study"])
        else:
            with self._changed:
                handed = receiver.open.pop(message["ended"])
            handed.ended(End(message["how"]), Totals(message["taken"], message["not_taken"]))

    def _is_ready(self, place: _Place) -> None:
        with self._changed:
            is_new = place.state is not _State.READY
            place.state, place.ready_at = _State.READY, time.monotonic()
            self._changed.notify_all()
        if is_new:
            log.info("a receiving process was replaced")
            self._seen(ReceiversSeen(len(self._ready())))


@contextlib.contextmanager
def _told_of() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the edge: others are told of all the same
        log.error("an association was not told of", why=why_of(error))  # noqa: TRY400


def _as_message(number: int, handed: Handed) -> Message:
    return {
        "serve": number,
        "calling_ae": handed.calling_ae,
        "address": handed.address,
        "maximum_length": handed.maximum_length,
        "contexts": [[one.context_id, one.abstract_syntax, one.transfer_syntax] for one in handed.contexts],
        "accepted_bytes": len(handed.accepted),
    }
