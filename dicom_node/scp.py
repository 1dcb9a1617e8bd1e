"""The Storage SCP: Success means that the object is durable and its study is queued (DESIGN promise 2).

From the wire to a `*.part` file on the store's file system (upper_layer.py), header read (header.py), UIDs
checked, content-addressed blob (fsync, rename, fsync of the folder), one committed transaction with instance,
study and audit; only then 0x0000. No file name comes from the wire.
"""

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import structlog
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
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
from clinical.errors import ClinicalError
from clinical.identity import IssuerTable
from dicom_node.acceptor import Acceptor
from dicom_node.bearers import Bearers, BearersEnd
from dicom_node.bounds import Bounds
from dicom_node.callers import Callers
from dicom_node.direct import DirectAssociation, Store
from dicom_node.door import Door, Told
from dicom_node.gate import Gate
from dicom_node.intake import Intake, Restore, as_it_came
from dicom_node.peer_library import prepare_pynetdicom
from dicom_node.receiving import ReceivedObject
from dicom_node.service import Service, bound, offered, preparing
from dicom_node.session import Session
from dicom_node.storing import StoreSeen, Storing
from dicom_node.syntaxes import ENCAPSULATED_NATIVE
from dicom_node.tls import TlsContexts, why_failed
from dicom_node.upper_layer import Beside, BoundedEntity, StorageAssociation
from record_store.blobs import Blobs
from record_store.database import Database
from record_store.exchanges import Note, Party, unnoted
from record_store.taking import Flush

__all__ = [
    "IMAGE_CLASSES",
    "AssociationSeen",
    "RefusalSeen",
    "ScpSettings",
    "StorageScp",
    "StoreSeen",
    "presentation_contexts",
]

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

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScpSettings:
    """How the node presents itself.

    port, tls_port: 0 lets the system choose, None does not listen. calling: see `callers`; an empty table lets
    every AE call, or nobody when it is `closed`. storage_classes: "images" is IMAGE_CLASSES.
    low_water_bytes: below this much free space objects are refused with 0xA700. flush: what is on the disk before
    the answer.
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
    flush: Flush = Flush.FILES
    acse_timeout_s: float = 10.0
    dimse_timeout_s: float = 30.0
    network_timeout_s: float = 30.0


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
        self._blobs, self._observe, self._tls = blobs, observe, tls
        self._intake = Intake(db, blobs, issuers, now, fault, restore, settings.flush)
        self._storing = Storing(self._intake, settings.ae_title, observe, fault)
        callers = Callers(settings.calling, closed=settings.closed)
        self._gate = Gate(settings.ae_title, callers, note, lambda why: observe(RefusalSeen(why)))
        self._bearers = Bearers(ended)
        self._acceptors: list[Acceptor] = []
        self._door: Door | None = None
        self.ports: list[int] = []  # that we listen on: the plain one first

    def start(self) -> int:
        """Listen, in threads of our own, and return the plain port, or the secured one when there is no other.

        Raises OSError when an address is taken.
        """
        settings = self._settings
        prepare_pynetdicom()
        self._intake.start()
        self._door = self._make_door()
        try:
            if settings.port is not None:
                self._listen(self._door, settings.port, None)
            if settings.tls_port is not None and self._tls is not None:
                self._listen(self._door, settings.tls_port, self._tls)
        except OSError:
            self.stop()
            raise
        return self.ports[0]

    def _make_door(self) -> Door:
        settings = self._settings
        contexts, beside = presentation_contexts(settings.storage_classes), offered(self._services)
        return Door(
            {str(one.abstract_syntax): frozenset(map(str, one.transfer_syntax or ())) for one in contexts},
            frozenset(str(one.abstract_syntax) for one in beside),
            gate=self._gate,
            store=Store(self._storing, self._room, self._blobs.staging, settings.bounds),
            beside=Beside(
                ae=self._entity(),
                contexts=[*contexts, *beside],
                handlers=[
                    *bound(self._services),
                    (evt.EVT_REQUESTED, _prefer_the_peers_order),
                    *preparing(self._services),
                    (evt.EVT_C_STORE, self._on_store),
                    (evt.EVT_ACCEPTED, self._on_event, ["accepted"]),
                    (evt.EVT_REJECTED, self._on_event, ["rejected"]),
                    (evt.EVT_RELEASED, self._on_event, ["released"]),
                    (evt.EVT_ABORTED, self._on_event, ["aborted"]),
                ],
                bounds=settings.bounds,
                accepts=self._room,
                folder=self._blobs.staging,
            ),
            told=Told(self._on_association, self._on_brought),
        )

    def _entity(self) -> BoundedEntity:
        settings = self._settings
        ae = BoundedEntity(ae_title=settings.ae_title)
        ae.maximum_pdu_size = settings.bounds.data_pdu
        ae.acse_timeout = settings.acse_timeout_s
        ae.dimse_timeout = settings.dimse_timeout_s
        ae.network_timeout = settings.network_timeout_s
        return ae

    def _listen(self, door: Door, port: int, tls: TlsContexts | None) -> None:
        settings = self._settings
        listener = socket.create_server((settings.host, port), family=_family(settings.host))
        acceptor = Acceptor(
            listener,
            settings.bounds,
            asked=lambda arrived: door.ask(arrived, acceptor),
            artim_s=settings.acse_timeout_s,
            idle_s=settings.network_timeout_s,
            secured=tls.context if tls else None,
            not_secured=lambda address, error: self._gate.refuse(Party("", address), why_failed(error)),
        )
        acceptor.start()
        self._acceptors.append(acceptor)
        self.ports.append(int(listener.getsockname()[1]))
        log.info("dicom listening", ae_title=settings.ae_title, port=self.ports[-1], tls=tls is not None)

    @property
    def active_associations(self) -> Sequence[DirectAssociation | StorageAssociation]:
        """The associations that have been asked for and are not over."""
        return self._door.open_associations() if self._door else ()

    def stop(self, grace_s: float = 5.0) -> None:
        """Stop listening and end the associations; a C-STORE being written is finished or not answered."""
        for acceptor in self._acceptors:
            acceptor.stop()
        self._acceptors, self.ports = [], []
        for association in self.active_associations:
            if isinstance(association, DirectAssociation):
                association.cut()
            else:
                association.abort(block=False)
        deadline = time.monotonic() + grace_s
        while self.active_associations and time.monotonic() < deadline:
            time.sleep(0.005)
        self._intake.stop()

    def _room(self) -> str:
        """Return why no object can be taken now, or nothing."""
        try:
            return "the store is almost full" if self._blobs.free_bytes() < self._settings.low_water_bytes else ""
        except ClinicalError:
            return "the store is away"

    def _on_association(self, session: Session, outcome: str) -> None:
        log.debug("association", calling_ae=session.calling_ae, outcome=outcome)
        self._observe(AssociationSeen(session.calling_ae, outcome))
        if outcome in ("released", "aborted"):
            self._gate.ended(session, outcome)
            self._bearers.ends(session, session.calling_ae, released=outcome == "released")

    def _on_brought(self, session: Session, study_uid: str) -> None:
        if study_uid:
            session.taken[study_uid] += 1
            self._bearers.brings(session, study_uid)
        else:
            session.not_taken += 1

    def _on_event(self, event: evt.Event, outcome: str) -> None:
        self._on_association(event.assoc.session, outcome)

    def _on_store(self, event: evt.Event) -> int:
        """Answer a C-STORE on an association of pynetdicom's."""
        session: Session = event.assoc.session
        received: ReceivedObject | None = getattr(event.request, "received", None)
        named = str(event.request.AffectedSOPInstanceUID)
        answer = self._storing.answer(received, named, session.calling_ae)
        self._on_brought(session, answer.study_uid)
        return answer.status


def _prefer_the_peers_order(event: evt.Event) -> None:
    """Put each class's transfer syntaxes in the order in which the peer proposes them.

    pynetdicom takes the acceptor's first; a peer's first is what its objects are in, so nothing is transcoded
    on the way to us. One order serves all contexts of a class: between two that are first somewhere, the
    compressed one, because its context is the one in which both stand.
    """
    association = event.assoc
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


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
