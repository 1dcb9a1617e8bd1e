"""The Storage SCP: Success means that the object is durable and its study is queued (DESIGN promise 2).

From the wire to a `*.part` file on the store's file system (upper_layer.py), header read (header.py), UIDs
checked, content-addressed blob (fsync, rename, fsync of the folder), one committed transaction with instance,
study and audit; only then 0x0000. No file name comes from the wire.
"""

import os
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import structlog
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, Association, evt
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import (
    BreastTomosynthesisImageStorage,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    MRImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    Verification,
)

from clinical.clock import Clock
from clinical.errors import Busy, ClinicalError, IncorrectInput
from clinical.identity import IssuerTable
from dicom_node.bearers import Bearers, BearersEnd
from dicom_node.callers import Callers
from dicom_node.gate import Gate, calling
from dicom_node.header import Header, read_header
from dicom_node.incoming import Bounds, ReceivedDataSet
from dicom_node.intake import Intake, NotCommitted, Restore, Sender, as_it_came, check_uids
from dicom_node.peer_library import prepare_pynetdicom
from dicom_node.service import Service, bound, offered, preparing
from dicom_node.status import CANNOT_UNDERSTAND, DIMSE_STATUS, DUPLICATE_SOP_INSTANCE, SUCCESS
from dicom_node.syntaxes import ENCAPSULATED_NATIVE
from dicom_node.tls import TlsContexts
from dicom_node.upper_layer import BoundedEntity, StorageServer, serve_in_background
from record_store.blobs import Blobs
from record_store.database import Database
from record_store.exchanges import Note, Party, unnoted
from record_store.instances import Taken

IMAGE_CLASSES = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    BreastTomosynthesisImageStorage,
    CTImageStorage,
    EnhancedCTImageStorage,
    MRImageStorage,
    EnhancedMRImageStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    SecondaryCaptureImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
)
# pynetdicom has no name for the second.
_SYNTAXES = [*ALL_TRANSFER_SYNTAXES, ENCAPSULATED_NATIVE]
_UNCOMPRESSED = frozenset((ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian))
_STATUS_OF = {Taken.NEW: SUCCESS, Taken.SAME: SUCCESS, Taken.DIFFERENT: DUPLICATE_SOP_INSTANCE}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScpSettings:
    """How the node presents itself.

    port, tls_port: 0 lets the system choose, None does not listen. calling: see `callers`; an empty table lets
    every AE call, or nobody when it is `closed`. storage_classes: "images" is IMAGE_CLASSES.
    low_water_bytes: below this much free space objects are refused with 0xA700.
    """

    ae_title: str = "CONSILIUM"
    host: str = "127.0.0.1"
    port: int | None = 11112
    tls_port: int | None = None
    calling: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    closed: bool = False
    storage_classes: Literal["images", "all"] = "images"
    low_water_bytes: int = 1024**3
    bounds: Bounds = field(default_factory=Bounds)
    acse_timeout_s: float = 5.0
    dimse_timeout_s: float = 30.0
    network_timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class StoreSeen:
    """One C-STORE answered. outcome: "new", "same", "different", or the error's category."""

    calling_ae: str
    outcome: str
    status: int
    size: int
    took_s: float


@dataclass(frozen=True, slots=True)
class AssociationSeen:
    """What became of an association: "accepted", "rejected", "released" or "aborted"."""

    calling_ae: str
    outcome: str


@dataclass(frozen=True, slots=True)
class RefusalSeen:
    """Somebody was not let in. why: one of a few phrases, of `callers.Refusal` or `tls.why_failed`."""

    why: str


Observer = Callable[[StoreSeen | AssociationSeen | RefusalSeen], None]


def presentation_contexts(storage_classes: Literal["images", "all"]) -> list[PresentationContext]:
    """Return what the node offers: Verification and the storage classes, every standard transfer syntax.

    Deflated data is taken as well: its header is read from a bounded prefix (header.py).
    """
    known = [context.abstract_syntax for context in AllStoragePresentationContexts]
    classes = IMAGE_CLASSES if storage_classes == "images" else known
    return [build_context(Verification), *(build_context(one, _SYNTAXES) for one in classes)]


class StorageScp:
    """A Storage and Verification SCP over one database and one blob store.

    observe: called after each answer and association event (metrics). fault: called with the named points
    "after-receive", "before-commit", "after-commit", "before-response", for tests that crash there.
    services: what is offered besides storage; nothing else is negotiated. tls: how the secured port is secured.
    note: told of every association, transfer and refusal (audit). ended: told when no association brings some
    studies any more, and how the last one ended. restore: see `Intake`.
    """

    def __init__(
        self,
        settings: ScpSettings,
        *,
        db: Database,
        blobs: Blobs,
        issuers: IssuerTable,
        now: Clock,
        observe: Observer = lambda _seen: None,
        fault: Callable[[str], None] = lambda _point: None,
        services: Sequence[Service] = (),
        tls: TlsContexts | None = None,
        note: Note = unnoted,
        restore: Restore = as_it_came,
        ended: Callable[[BearersEnd], None] = lambda _end: None,
    ) -> None:
        self._settings, self._services = settings, tuple(services)
        self._blobs = blobs
        self._intake = Intake(db, blobs, issuers, now, fault, restore)
        self._observe, self._fault = observe, fault
        callers = Callers(settings.calling, closed=settings.closed)
        self._gate = Gate(settings.ae_title, callers, note, lambda why: observe(RefusalSeen(why)))
        self._tls = tls
        self._servers: list[StorageServer] = []
        self._bearers = Bearers(ended)

    def start(self) -> int:
        """Listen, in threads of our own, and return the plain port, or the secured one when there is no other.

        Raises OSError when an address is taken.
        """
        settings = self._settings
        prepare_pynetdicom()
        ae = BoundedEntity(ae_title=settings.ae_title)
        ae.maximum_pdu_size = 0  # unlimited: a PDU is streamed and never kept
        ae.maximum_associations = settings.bounds.associations
        ae.acse_timeout = settings.acse_timeout_s
        ae.dimse_timeout = settings.dimse_timeout_s
        ae.network_timeout = settings.network_timeout_s
        try:
            if settings.port is not None:
                self._servers.append(self._listen(ae, settings.port, None))
            if settings.tls_port is not None and self._tls is not None:
                self._servers.append(self._listen(ae, settings.tls_port, self._tls))
        except OSError:
            self.stop()
            raise
        return self.ports[0]

    @property
    def ports(self) -> list[int]:
        """The ports that we listen on: the plain one first."""
        return [int(server.server_address[1]) for server in self._servers]

    @property
    def active_associations(self) -> list[Association]:
        """The associations that have been asked for and are not over."""
        return [one for server in self._servers for one in server.active_associations]

    def _listen(self, ae: BoundedEntity, port: int, tls: TlsContexts | None) -> StorageServer:
        settings = self._settings
        server = StorageServer(
            ae,
            (settings.host, port),
            settings.ae_title,
            [*presentation_contexts(settings.storage_classes), *offered(self._services)],
            evt_handlers=[
                *bound(self._services),
                (evt.EVT_REQUESTED, self._on_requested),
                *preparing(self._services),
                (evt.EVT_C_STORE, self._on_store),
                (evt.EVT_ACCEPTED, self._on_association, ["accepted"]),
                (evt.EVT_REJECTED, self._on_association, ["rejected"]),
                (evt.EVT_RELEASED, self._on_association, ["released"]),
                (evt.EVT_ABORTED, self._on_association, ["aborted"]),
            ],
            bounds=settings.bounds,
            accepts=self._room,
            folder=self._blobs.staging,
            tls=tls,
            not_secured=lambda address, why: self._gate.refuse(Party("", address), why),
        )
        serve_in_background(server)
        secured = tls is not None
        log.info("dicom listening", ae_title=settings.ae_title, port=server.server_address[1], tls=secured)
        return server

    def stop(self, grace_s: float = 5.0) -> None:
        """Stop listening and end the associations; a C-STORE being written is finished or not answered."""
        servers, self._servers = self._servers, []
        open_now: list[Association] = []
        for server in servers:
            server.shutdown()
            open_now += server.active_associations
        for association in open_now:
            association.abort(block=False)
        deadline = time.monotonic() + grace_s
        for association in open_now:
            # One that was accepted this instant may not run yet, and an unstarted thread cannot be joined.
            while association.ident is None and time.monotonic() < deadline:
                time.sleep(0.005)
            if association.is_alive():
                association.join(max(0.0, deadline - time.monotonic()))

    def _room(self) -> str:
        """Return why no object can be taken now, or nothing."""
        try:
            return "the store is almost full" if self._blobs.free_bytes() < self._settings.low_water_bytes else ""
        except ClinicalError:
            return "the store is away"

    def _on_requested(self, event: evt.Event) -> None:
        """Offer what the peer prefers, and only to whom the table knows."""
        _prefer_the_peers_order(event.assoc)
        self._gate.admits(event)

    def _on_association(self, event: evt.Event, outcome: str) -> None:
        title = calling(event.assoc)
        log.debug("association", calling_ae=title, outcome=outcome)
        self._observe(AssociationSeen(title, outcome))
        if outcome in ("released", "aborted"):
            self._gate.ended(event.assoc, outcome)
            self._bearers.ends(event.assoc, title, released=outcome == "released")

    def _on_store(self, event: evt.Event) -> int:
        """Answer one C-STORE request: the outer edge, where every error becomes a status."""
        started = time.monotonic()
        received: ReceivedDataSet | None = getattr(event.request, "received", None)
        path = received.take() if received else None
        size = 0
        try:
            size = path.stat().st_size if path else 0
            taken = self._store(event, path, received)
            outcome, status = str(taken), _STATUS_OF[taken]
        except ClinicalError as error:
            outcome, status = str(error.category), DIMSE_STATUS[error.category]
            self._refused(event, outcome, error.message, audited=not isinstance(error, NotCommitted))
        except Exception as error:  # noqa: BLE001 - the association handler's edge: never an empty success
            outcome, status = "fault", CANNOT_UNDERSTAND
            self._refused(event, outcome, f"{type(error).__name__} at {_where(error)}")
        finally:
            if path is not None:
                path.unlink(missing_ok=True)  # it was adopted, or it is refused
        self._observe(StoreSeen(calling(event.assoc), outcome, status, size, time.monotonic() - started))
        self._fault("before-response")
        return status

    def _store(self, event: evt.Event, path: Path | None, received: ReceivedDataSet | None) -> Taken:
        if received is None:
            raise IncorrectInput("the request carries no data set")
        if path is None:
            raise Busy(received.refused or "the object could not be kept")
        self._fault("after-receive")
        syntax = str(event.context.transfer_syntax)
        header = read_header(path, received.offset, syntax)
        _check(header, event.request)
        sender = Sender(calling(event.assoc), self._settings.ae_title)
        taken = self._intake.take(path, header, syntax, sender)
        if taken is Taken.DIFFERENT:
            self._gate.not_stored(event.assoc)
        else:
            self._gate.stored(event.assoc, header.study_uid)
            self._bearers.brings(event.assoc, header.study_uid)
        return taken

    def _refused(self, event: evt.Event, outcome: str, why: str, *, audited: bool = True) -> None:
        self._gate.not_stored(event.assoc)
        sender = Sender(calling(event.assoc), self._settings.ae_title)
        self._intake.refused(str(event.request.AffectedSOPInstanceUID), sender, outcome, why, audited=audited)


def _prefer_the_peers_order(association: Association) -> None:
    """Put each class's transfer syntaxes in the order in which the peer proposes them.

    pynetdicom takes the acceptor's first; a peer's first is what its objects are in, so nothing is transcoded
    on the way to us. One order serves all contexts of a class: between two that are first somewhere, the
    compressed one, because its context is the one in which both stand.
    """
    supported = {context.abstract_syntax: context for context in association.acceptor.supported_contexts}
    offered = {uid: context.transfer_syntax for uid, context in supported.items()}
    ranks: dict[str, dict[str, int]] = {}
    for context in association.requestor.primitive.presentation_context_definition_list:
        mine = ranks.setdefault(context.abstract_syntax, {})
        for rank, syntax in enumerate(context.transfer_syntax):
            if syntax in offered.get(context.abstract_syntax, ()):
                mine[syntax] = min(rank, mine.get(syntax, rank))
    ordered = []
    for one, mine in ranks.items():
        if mine:
            context = build_context(one, sorted(mine, key=lambda syntax: (mine[syntax], syntax in _UNCOMPRESSED)))
            context.scu_role, context.scp_role = supported[one].scu_role, supported[one].scp_role
            ordered.append(context)
    association.acceptor.supported_contexts = ordered


def _check(header: Header, request: Any) -> None:  # noqa: ANN401 - pynetdicom's C_STORE
    """Raise IncorrectInput unless the data set's UIDs are UIDs and those of the command (PS3.7 9.1.1.1)."""
    check_uids(header)
    named = (str(request.AffectedSOPInstanceUID), str(request.AffectedSOPClassUID))
    if (header.sop_instance_uid, header.sop_class_uid) != named:
        raise IncorrectInput("the data set is not the instance that the command names")


def _where(error: Exception) -> str:
    """Return file and line of an error: its text may quote the object, so that is left out."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{os.path.basename(frame.filename)}:{frame.lineno}"  # noqa: PTH119 - a name, not a path
