"""To some destinations patients go under pseudonyms, and what comes back from there is theirs again.

Before a copy leaves, its pseudonyms are committed: whatever comes back can be traced. What cannot be de-identified
is not sent, and its delivery is dead with the reason.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from clinical.destination_pseudonyms import Pseudonyms
from clinical.errors import Category, Denied, IncorrectInput, Unsupported
from clinical.uids import uid_digest
from dicom_node.confidentiality.actions import Options
from dicom_node.confidentiality.files import disguise, write
from dicom_node.confidentiality.reidentify import reidentify, uids_in
from dicom_node.destinations import Destination
from dicom_node.header import Header, read_stored_header
from dicom_node.incoming import DECODER_ERRORS
from dicom_node.intake import Sender
from dicom_node.scu import SendOutcome
from dicom_node.status import DIMSE_STATUS
from record_store import pseudonyms
from record_store.blobs import Blobs
from record_store.database import Database
from record_store.instances import instances_of

Send = Callable[[Sequence[Path], Destination, str], Iterable[SendOutcome]]
_FINAL = DIMSE_STATUS[Category.DENIED]
NOT_SENT_THERE = "the study is none that was sent to this sender"
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Disguise:
    """How one destination sees patients. returns_as: AE titles under which it sends results back."""

    names: Pseudonyms
    options: Options
    returns_as: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Egress:
    """A way to send, before which copies are de-identified for the destinations that have a disguise."""

    db: Database
    folder: Path
    disguises: Mapping[str, Disguise]
    send: Send

    def __call__(
        self, objects: Sequence[Path], destination: Destination, calling_ae: str
    ) -> Iterator[SendOutcome]:
        """Send, and yield an outcome for each object under its own UID. Never raises for what a peer does."""
        known = self.disguises.get(destination.name)
        if known is None:
            yield from self.send(objects, destination, calling_ae)
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self.folder, prefix="egress-") as folder:
            copies, ours = [], {}
            for path in objects:
                try:
                    made = disguise(path, Path(folder), known.names, known.options)
                except Unsupported as error:
                    log.warning("object not sent", destination=destination.name, problem=error.message)
                    yield SendOutcome(_uid_of(path), _FINAL, f"not de-identified: {error.message}")
                    continue
                with self.db.write() as conn:
                    pseudonyms.remember(conn, destination.name, made.uids)
                copies.append(made.path)
                ours[made.sop_instance_uid] = made.original
            for outcome in self.send(copies, destination, calling_ae) if copies else ():
                original = ours.get(outcome.sop_instance_uid, "")
                yield SendOutcome(original, outcome.status, outcome.problem)


@dataclass(frozen=True, slots=True)
class Homecoming:
    """Gives objects that come back under our pseudonyms their own names, before they are stored.

    any_sender: the sender name of STOW-RS, whose clients have no AE title: what they send is looked up, and is
    an object like any other when it names no pseudonym of ours.
    """

    db: Database
    blobs: Blobs
    disguises: Mapping[str, Disguise]
    any_sender: str
    _by_ae: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Know who sends back as whom."""
        self._by_ae.update({ae: name for name, one in self.disguises.items() for ae in one.returns_as})

    def __call__(self, path: Path, header: Header, sender: Sender) -> Header | None:
        """Rewrite a file that came from a disguised destination and return its new header; None: it is no such.

        Raises Denied when it is of no study that was sent there or of another patient, IncorrectInput when it
        cannot be read.
        """
        with self.db.read() as conn:
            if sender.calling == self.any_sender:
                name = pseudonyms.destination_of(conn, header.study_uid)
            else:
                name = self._by_ae.get(sender.calling)
            if name is None or name not in self.disguises:
                return None
            study = pseudonyms.originals(conn, name, [header.study_uid]).get(header.study_uid)
            first = instances_of(conn, study)[:1] if study else []
        if not first:
            raise Denied(NOT_SENT_THERE)
        with self.blobs.local_path(first[0].sha256) as source:
            self._rewrite(path, source, name)
        log.info("result came home", destination=name, study=uid_digest(str(study)))
        return read_stored_header(path)

    def _rewrite(self, path: Path, source: Path, name: str) -> None:
        try:
            returned = dcmread(path)
            with self.db.read() as conn:
                known = pseudonyms.originals(conn, name, list(uids_in(returned)))
            original = dcmread(source, stop_before_pixels=True)
            made = reidentify(returned, known, original, self.disguises[name].names)
            beside = path.with_suffix(".home")
            write(made, returned.file_meta.TransferSyntaxUID, beside)
        except (OSError, *DECODER_ERRORS):
            raise IncorrectInput("the object cannot be given its own names again") from None
        beside.replace(path)


def sweep(folder: Path, older_than_s: float) -> None:
    """Remove the copies that a killed process left."""
    for one in folder.glob("egress-*"):
        with suppress(OSError):
            if time.time() - one.stat().st_mtime > older_than_s:
                shutil.rmtree(one)


def _uid_of(path: Path) -> str:
    try:
        return str(dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
    except (InvalidDicomError, OSError, AttributeError):
        return ""
