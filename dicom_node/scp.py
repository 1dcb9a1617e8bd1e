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
from ipaddress import ip_address, ip_network
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
from dicom_node.header import Header, read_header
from dicom_node.incoming import Bounds, ReceivedDataSet
from dicom_node.intake import Intake, NotCommitted, Sender, check_uids
from dicom_node.peer_library import prepare_pynetdicom
from dicom_node.request_pdu import APPLICATION_CONTEXT
from dicom_node.service import Service, bound, offered
from dicom_node.status import CANNOT_UNDERSTAND, DIMSE_STATUS, DUPLICATE_SOP_INSTANCE, SUCCESS
from dicom_node.upper_layer import BoundedEntity, StorageServer, serve_in_background
from record_store.blobs import Blobs
from record_store.database import Database
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
_REJECTED_PERMANENTLY, _BY_USER = 0x01, 0x01  # PS3.8 9.3.4
_NO_SUCH_CONTEXT, _CALLING_AE = 0x02, 0x03
_UNCOMPRESSED = frozenset((ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian))
_STATUS_OF = {Taken.NEW: SUCCESS, Taken.SAME: SUCCESS, Taken.DIFFERENT: DUPLICATE_SOP_INSTANCE}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScpSettings:
    """How the node presents itself.

    port: 0 lets the system choose. calling: AE title -> addresses or CIDR ranges it may call from (none:
    from anywhere); an empty table lets every AE call. storage_classes: "images" is IMAGE_CLASSES.
    low_water_bytes: below this much free space objects are refused with 0xA700.
    """

    ae_title: str = "CONSILIUM"
    host: str = "127.0.0.1"
    port: int = 11112
    calling: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
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


Observer = Callable[[StoreSeen | AssociationSeen], None]


def presentation_contexts(storage_classes: Literal["images", "all"]) -> list[PresentationContext]:
    """Return what the node offers: Verification and the storage classes, every standard transfer syntax.

    Deflated data is taken as well: its header is read from a bounded prefix (header.py).
    """
    known = [context.abstract_syntax for context in AllStoragePresentationContexts]
    classes = IMAGE_CLASSES if storage_classes == "images" else known
    return [build_context(Verification), *(build_context(one, ALL_TRANSFER_SYNTAXES) for one in classes)]


class StorageScp:
    """A Storage and Verification SCP over one database and one blob store.

    observe: called after each answer and association event (metrics). fault: called with the named points
    "after-receive", "before-commit", "after-commit", "before-response", for tests that crash there.
    services: what is offered besides storage; nothing else is negotiated. ended: told when no association
    brings some studies any more, and how the last one ended.
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
        ended: Callable[[BearersEnd], None] = lambda _end: None,
    ) -> None:
        self._settings, self._services = settings, tuple(services)
        self._blobs = blobs
        self._intake = Intake(db, blobs, issuers, now, fault)
        self._observe, self._fault = observe, fault
        self._bearers = Bearers(ended)
        self._networks = {
            title: tuple(ip_network(one, strict=False) for one in ranges)
            for title, ranges in settings.calling.items()
        }
        self._server: StorageServer | None = None

    def start(self) -> int:
        """Listen, in threads of our own, and return the port. OSError when the address is taken."""
        settings = self._settings
        prepare_pynetdicom()
        ae = BoundedEntity(ae_title=settings.ae_title)
        ae.maximum_pdu_size = 0  # unlimited: a PDU is streamed and never kept
        ae.maximum_associations = settings.bounds.associations
        ae.require_called_aet = True
        ae.acse_timeout = settings.acse_timeout_s
        ae.dimse_timeout = settings.dimse_timeout_s
        ae.network_timeout = settings.network_timeout_s
        contexts = [*presentation_contexts(settings.storage_classes), *offered(self._services)]
        self._server = StorageServer(
            ae,
            (settings.host, settings.port),
            settings.ae_title,
            contexts,
            evt_handlers=[
                *bound(self._services),
                (evt.EVT_REQUESTED, self._on_requested),
                (evt.EVT_C_STORE, self._on_store),
                (evt.EVT_ACCEPTED, self._on_association, ["accepted"]),
                (evt.EVT_REJECTED, self._on_association, ["rejected"]),
                (evt.EVT_RELEASED, self._on_association, ["released"]),
                (evt.EVT_ABORTED, self._on_association, ["aborted"]),
            ],
            bounds=settings.bounds,
            accepts=self._room,
            folder=self._blobs.staging,
        )
        serve_in_background(self._server)
        port = int(self._server.server_address[1])
        log.info("dicom listening", ae_title=settings.ae_title, port=port)
        return port

    def stop(self, grace_s: float = 5.0) -> None:
        """Stop listening and end the associations; a C-STORE being written is finished or not answered."""
        if self._server is None:
            return
        self._server.shutdown()
        open_now = self._server.active_associations
        for association in open_now:
            association.abort(block=False)
        deadline = time.monotonic() + grace_s
        for association in open_now:
            # One that was accepted this instant may not run yet, and an unstarted thread cannot be joined.
            while association.ident is None and time.monotonic() < deadline:
                time.sleep(0.005)
            if association.is_alive():
                association.join(max(0.0, deadline - time.monotonic()))
        self._server = None

    def _room(self) -> str:
        """Return why no object can be taken now, or nothing."""
        try:
            return "the store is almost full" if self._blobs.free_bytes() < self._settings.low_water_bytes else ""
        except ClinicalError:
            return "the store is away"

    def _on_requested(self, event: evt.Event) -> None:
        """Offer what the peer prefers; refuse calling AEs that the table does not know from their address."""
        _prefer_the_peers_order(event.assoc)
        title = _calling(event)
        if event.assoc.requestor.primitive.application_context_name != APPLICATION_CONTEXT:
            self._reject(event, _NO_SUCH_CONTEXT, "another application context than DICOM's")
            return
        if not self._networks:
            return
        ranges = self._networks.get(title)
        address = ip_address(event.assoc.requestor.address)
        if ranges is not None and (not ranges or any(address in one for one in ranges)):
            return
        self._reject(event, _CALLING_AE, "calling AE or its address is not in the table")

    def _reject(self, event: evt.Event, reason: int, why: str) -> None:
        log.warning("association refused", calling_ae=_calling(event), why=why)
        event.assoc.acse.send_reject(_REJECTED_PERMANENTLY, _BY_USER, reason)
        evt.trigger(event.assoc, evt.EVT_REJECTED, {})
        event.assoc.kill()

    def _on_association(self, event: evt.Event, outcome: str) -> None:
        title = _calling(event)
        log.debug("association", calling_ae=title, outcome=outcome)
        self._observe(AssociationSeen(title, outcome))
        if outcome in {"released", "aborted"}:
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
        self._observe(StoreSeen(_calling(event), outcome, status, size, time.monotonic() - started))
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
        sender = Sender(_calling(event), self._settings.ae_title)
        taken = self._intake.take(path, header, syntax, sender)
        self._bearers.brings(event.assoc, header.study_uid)
        return taken

    def _refused(self, event: evt.Event, outcome: str, why: str, *, audited: bool = True) -> None:
        sender = Sender(_calling(event), self._settings.ae_title)
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


def _calling(event: evt.Event) -> str:
    requestor = event.assoc.requestor
    title = requestor.primitive.calling_ae_title if requestor.primitive else requestor.ae_title
    return str(title or "").strip()[:16]


def _where(error: Exception) -> str:
    """Return file and line of an error: its text may quote the object, so that is left out."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{os.path.basename(frame.filename)}:{frame.lineno}"  # noqa: PTH119 - a name, not a path
