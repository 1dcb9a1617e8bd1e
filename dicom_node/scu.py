"""Send objects by C-STORE and keep what the peer said of each of them.

A sender that looks only at the association loses objects: a refused presentation context is no error of the
association (`dcmsend` ends with 0 then), and a failure status is an answer like any other.
"""

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, Association, evt

from dicom_node.peer_library import prepare_pynetdicom
from dicom_node.status import in_words, is_taken, is_transient
from dicom_node.uids import uid_digest

_MOST_CONTEXTS = 128  # PS3.8 9.3.2.2: odd numbers up to 255
_NO_CONTEXT = "the peer accepts no presentation context for this object"
_PLAIN = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Destination:
    """A peer that takes objects. name: how settings call it."""

    name: str
    host: str
    port: int
    ae_title: str


@dataclass(frozen=True, slots=True)
class SendTimeouts:
    """connect: TCP. acse: association. dimse: an answer. network: silence in between."""

    connect_s: float = 5.0
    acse_s: float = 10.0
    dimse_s: float = 60.0
    network_s: float = 60.0


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """What became of one object.

    status: the peer's DIMSE status, None when it gave none. problem: why the peer does not hold the object,
    None when it does.
    """

    sop_instance_uid: str
    status: int | None
    problem: str | None

    @property
    def taken(self) -> bool:
        """True when the peer holds the object."""
        return self.problem is None

    @property
    def may_pass(self) -> bool:
        """True when trying again may help: no answer, or an answer that says so."""
        return not self.taken and (self.status is None or is_transient(self.status))


def send(
    objects: Sequence[Path], destination: Destination, calling_ae: str, *, timeouts: SendTimeouts | None = None
) -> list[SendOutcome]:
    """Send Part 10 files over one association and return an outcome for each, in their order.

    Every SOP class is proposed with explicit and implicit little endian; a compressed object with its own
    transfer syntax. A warning and 0x0111 count as taken (status.is_taken). Never raises for what a peer or a
    network does. Objects beyond 128 presentation contexts are not sent and say so.
    """
    prepare_pynetdicom()
    loaded = [_load(path) for path in objects]
    wanted = _contexts([one for one in loaded if isinstance(one, FileDataset)])
    if not wanted:
        return [one if isinstance(one, SendOutcome) else _unsent(one, "nothing to send") for one in loaded]
    ae = _entity(calling_ae, wanted, timeouts or SendTimeouts())
    connected: list[bool] = []
    association = ae.associate(
        destination.host,
        destination.port,
        ae_title=destination.ae_title,
        max_pdu=0,
        evt_handlers=[(evt.EVT_CONN_OPEN, _on_connection, [connected])],
    )
    if not association.is_established:
        problem = _why_not(association) if connected else "no connection"
        log.warning("destination not reached", destination=destination.name, problem=problem)
        return [one if isinstance(one, SendOutcome) else _unsent(one, problem) for one in loaded]
    try:
        outcomes = [one if isinstance(one, SendOutcome) else _send_one(association, one) for one in loaded]
    finally:
        if association.is_established:
            association.release()
    for outcome in outcomes:
        log.info(
            "object sent" if outcome.taken else "object not taken",
            destination=destination.name,
            instance=uid_digest(outcome.sop_instance_uid),
            status=None if outcome.status is None else f"0x{outcome.status:04X}",
            problem=outcome.problem,
        )
    return outcomes


def _load(path: Path) -> FileDataset | SendOutcome:
    try:
        return dcmread(path)
    except (InvalidDicomError, OSError):
        return SendOutcome("", None, "the object cannot be read")


def _contexts(datasets: Sequence[FileDataset]) -> list[tuple[UID, list[UID]]]:
    wanted: dict[tuple[str, bool, str], tuple[UID, list[UID]]] = {}
    for ds in datasets:
        syntax = ds.file_meta.TransferSyntaxUID
        plain = syntax in _PLAIN
        key = (str(ds.SOPClassUID), plain, "" if plain else str(syntax))
        wanted.setdefault(key, (ds.SOPClassUID, _PLAIN if plain else [syntax]))
    return list(wanted.values())[:_MOST_CONTEXTS]


def _entity(calling_ae: str, wanted: list[tuple[UID, list[UID]]], timeouts: SendTimeouts) -> Any:  # noqa: ANN401
    ae = AE(ae_title=calling_ae)
    ae.connection_timeout = timeouts.connect_s
    ae.acse_timeout = timeouts.acse_s
    ae.dimse_timeout = timeouts.dimse_s
    ae.network_timeout = timeouts.network_s
    for sop_class, syntaxes in wanted:
        ae.add_requested_context(sop_class, syntaxes)
    return ae


def _send_one(association: Association, ds: FileDataset) -> SendOutcome:
    uid = str(ds.SOPInstanceUID)
    if not association.is_established:
        return SendOutcome(uid, None, "the association ended before this object")
    try:
        answer = association.send_c_store(ds)
    except ValueError:  # pynetdicom's word for "no accepted context", and for what it cannot encode
        return SendOutcome(uid, None, _NO_CONTEXT)
    except RuntimeError:
        return SendOutcome(uid, None, "the association ended before this object")
    finally:
        _let_the_reactor_pass(association)
    if "Status" not in answer:
        return SendOutcome(uid, None, "the peer did not answer")
    status = int(answer.Status)
    return SendOutcome(uid, status, None if is_taken(status) else in_words(status))


def _let_the_reactor_pass(association: Association) -> None:
    """Wait until pynetdicom's own thread has noticed that this answer has been taken.

    Were the next object sent while that thread still wakes up, it could take the next answer for itself, and
    we would wait for it until the time-out.
    """
    until = time.monotonic() + 1.0
    while association._is_paused and association.is_established and time.monotonic() < until:  # noqa: SLF001
        time.sleep(0.0005)


def _unsent(ds: FileDataset, problem: str) -> SendOutcome:
    return SendOutcome(str(ds.SOPInstanceUID), None, problem)


def _why_not(association: Association) -> str:
    if association.is_rejected:
        answer = association.acceptor.primitive
        words = {
            (1, 3): "calling AE title not recognised",
            (1, 7): "called AE title not recognised",
            (3, 1): "temporary congestion",
            (3, 2): "too many associations",
        }
        key = (getattr(answer, "result_source", None), getattr(answer, "diagnostic", None))
        return f"association rejected: {words.get(key, 'no reason given')}"  # type: ignore[arg-type]
    # pynetdicom aborts an association of which the peer accepted no context at all.
    return _NO_CONTEXT if association.rejected_contexts else "association aborted"


def _on_connection(event: evt.Event, connected: list[bool]) -> None:
    connected.append(True)
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
