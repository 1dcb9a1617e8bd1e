"""Who forks the receivers, whichever it is: the first zygote, and when it has died another one.

This process has threads by then and must not fork, so the other one is a fresh interpreter. Nothing else is
touched: associations stay where they are, and receivers that an earlier one forked go on.
"""

import threading
import time

import structlog

from dicom_node.channel import Channel, ChannelClosed
from dicom_node.pauses import LASTING_S, pause_s
from dicom_node.zygote import Begin, Serve, Zygote, begun_anew, forked

_ENDING_S = 2.0  # how long a stop waits: it kills one that hangs sooner

log = structlog.get_logger()


class Zygotes:
    """To be made before any thread is started. begin: see `zygote`; without it there is the first one alone."""

    def __init__(self, serve: Serve, begin: Begin | None = None) -> None:
        self._begin = begin
        self._last = forked(serve)  # the one that lives, is starting or was the last to do so
        self._ready: Zygote | None = self._last
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="zygote", daemon=True)

    def watch(self) -> None:
        """See it die, and start another; from now on this process has a thread."""
        self._thread.start()

    def fork(self) -> tuple[int, Channel, Zygote]:
        """Return a new process's ID, this end of its channel, and who can say how it ended.

        Raises OSError when the system refuses another process, ChannelClosed when nobody is there to fork.
        """
        zygote = self._ready
        if zygote is None:
            raise ChannelClosed
        try:
            return *zygote.fork(), zygote
        except ChannelClosed:
            with self._changed:
                if self._ready is zygote:  # that it is dead will be seen in a moment
                    self._ready = None
            raise

    def wait_for_another(self) -> bool:
        """Wait until somebody forks again, after ChannelClosed; False when nobody will."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready is not None or not self._comes_another())
            return self._ready is not None

    def begin_no_more(self) -> None:
        """Start no other one, and let nobody wait for it."""
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()

    def stop(self) -> None:
        """End it. What it has forked is not ended."""
        self.begin_no_more()
        self._last.close()
        self._thread.join(_ENDING_S)

    def _comes_another(self) -> bool:
        return self._begin is not None and not self._stopping.is_set()

    def _keep(self) -> None:
        zygote: Zygote | None = self._last
        quick_deaths, ready_at = 0, time.monotonic()
        while zygote is not None:
            zygote.wait()
            with self._changed:
                self._ready = None
                self._changed.notify_all()
            zygote.stop()
            quick_deaths = 0 if time.monotonic() - ready_at > LASTING_S else quick_deaths + 1
            if not self._stopping.is_set():
                log.error("who forks receiving processes has died", again_in_s=self._pause_s(quick_deaths))
            zygote = self._another(quick_deaths)
            ready_at = time.monotonic()

    def _pause_s(self, quick_deaths: int) -> float | None:
        return pause_s(quick_deaths) if self._begin is not None else None

    def _another(self, quick_deaths: int) -> Zygote | None:
        """Return another one that is ready; None when there is not to be one."""
        while self._begin is not None and not self._stopping.wait(pause_s(quick_deaths)):
            quick_deaths += 1
            zygote = self._started(self._begin, pause_s(quick_deaths))
            if zygote is None:
                continue
            if zygote.is_ready():
                with self._changed:
                    self._ready = zygote
                    self._changed.notify_all()
                log.info("who forks receiving processes was replaced")
                return zygote
            zygote.stop()
            if not self._stopping.is_set():
                log.error("who forks receiving processes did not start", again_in_s=pause_s(quick_deaths))
        return None

    def _started(self, begin: Begin, pause: float) -> Zygote | None:
        with self._changed:
            if self._stopping.is_set():
                return None
            try:
                self._last = begun_anew(begin)
            except OSError as error:
                log.error(  # noqa: TRY400
                    "who forks receiving processes did not start", why=error.strerror, again_in_s=pause
                )
                return None
            return self._last
