"""Send objects by C-STORE and keep what the peer said of each of them.

A sender that looks only at the association loses objects: a refused presentation context is no error of the
association (`dcmsend` ends with 0 then), and a failure status is an answer like any other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import Association

from clinical.uids import uid_digest
from dicom_node.associating import NO_CONTEXT, associated
from dicom_node.compressing import in_syntax, smaller_syntax
from dicom_node.destinations import Destination, SendTimeouts
from dicom_node.status import CLASS_NOT_SUPPORTED, in_words, is_taken, is_transient

_MOST_CONTEXTS = 128  # PS3.8 9.3.2.2: odd numbers up to 255
_PLAIN = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]

__all__ = ["Destination", "SendOutcome", "SendTimeouts", "log_outcome", "send", "send_each"]
log = structlog.get_logger()


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

    @property
    def class_refused(self) -> bool:
        """True when the peer takes no objects of this SOP class, so that another form may be taken."""
        return self.problem == NO_CONTEXT or self.status == CLASS_NOT_SUPPORTED


def send(
    objects: Sequence[Path], destination: Destination, calling_ae: str, *, timeouts: SendTimeouts | None = None
) -> list[SendOutcome]:
    """Send Part 10 files over one association and return an outcome for each, in their order; see `send_each`."""
    return list(send_each(objects, destination, calling_ae, timeouts=timeouts))


def send_each(
    objects: Sequence[Path], destination: Destination, calling_ae: str, *, timeouts: SendTimeouts | None = None
) -> Iterator[SendOutcome]:
    """Send Part 10 files over one association; yield what became of each, in their order, as soon as it is known.

    Every SOP class is proposed with explicit and implicit little endian; a compressed object with its own
    transfer syntax; with `compress`, what can be made smaller (compressing.py) also in that syntax, in which it
    goes where the peer accepts it. A warning and 0x0111 count as taken (status.is_taken). Never raises for what a
    peer or a network does. Objects beyond 128 presentation contexts are not sent and say so. The association is
    released when the iterator ends or is closed.
    """
    loaded = [_load(path) for path in objects]
    wanted = _contexts([one for one in loaded if isinstance(one, FileDataset)], compress=destination.compress)
    if not wanted:
        yield from (one for one in loaded if isinstance(one, SendOutcome))
        return
    with associated(destination, calling_ae, wanted, timeouts or SendTimeouts()) as (association, problem):
        if association is None:
            log.warning("destination not reached", destination=destination.name, problem=problem)
        for one in loaded:
            if isinstance(one, SendOutcome):
                yield one
            elif association is None:
                yield SendOutcome(str(one.SOPInstanceUID), None, problem or "no association")
            else:
                outcome = _send_one(association, _as_taken(association, one))
                log_outcome(destination, outcome)
                yield outcome


def log_outcome(destination: Destination, outcome: SendOutcome) -> None:
    """Log what became of an object."""
    log.info(
        "object sent" if outcome.taken else "object not taken",
        destination=destination.name,
        instance=uid_digest(outcome.sop_instance_uid),
        status=None if outcome.status is None else f"0x{outcome.status:04X}",
        problem=outcome.problem,
    )


def _load(path: Path) -> FileDataset | SendOutcome:
    try:
        return dcmread(path)
    except (InvalidDicomError, OSError):
        return SendOutcome("", None, "the object cannot be read")


def _as_taken(association: Association, ds: FileDataset) -> FileDataset:
    """Return the object in the smaller syntax where the peer has accepted that for its class."""
    syntax = smaller_syntax(ds)
    accepted = {(one.abstract_syntax, *one.transfer_syntax) for one in association.accepted_contexts}
    return in_syntax(ds, syntax) if syntax is not None and (ds.SOPClassUID, syntax) in accepted else ds


def _contexts(datasets: Sequence[FileDataset], *, compress: bool) -> list[tuple[UID, list[UID]]]:
    wanted: dict[tuple[str, bool, str], tuple[UID, list[UID]]] = {}
    for ds in datasets:
        syntax = ds.file_meta.TransferSyntaxUID
        plain = syntax in _PLAIN
        key = (str(ds.SOPClassUID), plain, "" if plain else str(syntax))
        wanted.setdefault(key, (ds.SOPClassUID, _PLAIN if plain else [syntax]))
        if compress and (smaller := smaller_syntax(ds)) is not None:
            wanted.setdefault((str(ds.SOPClassUID), False, str(smaller)), (ds.SOPClassUID, [smaller]))
    return list(wanted.values())[:_MOST_CONTEXTS]


def _send_one(association: Association, ds: FileDataset) -> SendOutcome:
    uid = str(ds.SOPInstanceUID)
    if not association.is_established:
        return SendOutcome(uid, None, "the association ended before this object")
    try:
        answer = association.send_c_store(ds)
    except ValueError:  # pynetdicom's word for "no accepted context", and for what it cannot encode
        return SendOutcome(uid, None, NO_CONTEXT)
    except RuntimeError:
        return SendOutcome(uid, None, "the association ended before this object")
    if "Status" not in answer:
        return SendOutcome(uid, None, "the peer did not answer")
    status = int(answer.Status)
    return SendOutcome(uid, status, None if is_taken(status) else in_words(status))
