"""What a receiving process does: serves the associations that the listening process hands over (`receivers`)."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from dicom_node.acceptor import Acceptor
from dicom_node.channel import Channel, ChannelClosed, Received
from dicom_node.direct import DirectAssociation, End, Store
from dicom_node.negotiation import ContextResult

log = structlog.get_logger()


@dataclass(slots=True)
class _Tally:
    """What one association has brought so far."""

    taken: Counter[str] = field(default_factory=Counter)
    not_taken: int = 0


class Receiver:
    """Serves until its channel is closed or says stop. idle_s: a silent association is aborted after it."""

    def __init__(self, channel: Channel, store: Store, idle_s: float) -> None:
        self._channel, self._store = channel, store
        self._lot = Acceptor(None, store.bounds, asked=lambda _arrived: None, artim_s=idle_s, idle_s=idle_s)
        self._open: dict[int, DirectAssociation] = {}
        self._lock = threading.Lock()

    def serve(self, grace_s: float) -> None:
        """Do it. At the end every association is ended; a C-STORE being written is finished or not answered."""
        self._lot.start()
        self._tell({"ready": True})
        with contextlib.suppress(ChannelClosed):
            while self._obey(self._channel.receive()):
                pass
        self._lot.stop()
        for association in self._associations():
            association.cut()
        until = time.monotonic() + grace_s
        while self._associations() and time.monotonic() < until:
            time.sleep(0.005)

    def _associations(self) -> list[DirectAssociation]:
        with self._lock:
            return list(self._open.values())

    def _obey(self, received: Received) -> bool:
        message = received.message
        if "serve" in message:
            self._begin(received)
        elif "cut" in message:
            with self._lock:
                association = self._open.get(message["cut"])
            if association is not None:
                association.cut()
        return "stop" not in message

    def _begin(self, received: Received) -> None:
        message, number, tally = received.message, received.message["serve"], _Tally()
        if received.connection is None:  # this process had no descriptor left for it
            log.error("no descriptor for an association")
            self._tell({"ended": number, "how": str(End.ABORTED), "taken": {}, "not_taken": 0})
            return
        association = DirectAssociation(
            received.connection,
            message["calling_ae"],
            message["maximum_length"],
            {one[0]: ContextResult(*one) for one in message["contexts"]},
            self._store,
            brought=self._bringing(number, tally),
            ended=lambda how: self._end(number, tally, how),
            address=message["address"],
        )
        with self._lock:
            self._open[number] = association
        accepted = received.data[: message["accepted_bytes"]]
        first = received.data[message["accepted_bytes"] :]

        def run() -> None:
            if association.begin(accepted, first):
                self._lot.park(association)

        try:
            threading.Thread(target=run, name="association", daemon=True).start()
        except RuntimeError:  # the system has no thread left
            log.error("no thread for an association")  # noqa: TRY400
            association.end(End.ABORTED)

    def _bringing(self, number: int, tally: _Tally) -> Callable[[str], None]:
        def brought(study_uid: str) -> None:
            if not study_uid:
                tally.not_taken += 1
                return
            tally.taken[study_uid] += 1
            if tally.taken[study_uid] == 1:
                self._tell({"brought": number, "study": study_uid})

        return brought

    def _end(self, number: int, tally: _Tally, how: End) -> None:
        with self._lock:
            del self._open[number]
        self._tell({"ended": number, "how": str(how), "taken": tally.taken, "not_taken": tally.not_taken})

    def _tell(self, message: dict[str, object]) -> None:
        with contextlib.suppress(ChannelClosed):  # the listening process is dead, and so are we in a moment
            self._channel.send(message)
