"""The Storage SCP: Success means that the object is durable and its study is queued (DESIGN promise 2).

From the wire to a `*.part` file on the store's file system (upper_layer.py), header read (header.py), UIDs
checked, content-addressed blob (fsync, rename, fsync of the folder), one committed transaction with instance,
study and audit; only then 0x0000. No file name comes from the wire.
"""

import gc
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Literal

import structlog

from clinical.clock import Clock
from clinical.errors import ClinicalError
from clinical.identity import IssuerTable
from clinical.uids import uid_digest
from dicom_node.acceptor import Acceptor
from dicom_node.bearers import Bearers, BearersEnd
from dicom_node.bounds import Bounds
from dicom_node.callers import Callers
from dicom_node.channel import Channel
from dicom_node.direct import DirectAssociation, Store
from dicom_node.door import Door, Negotiated, Told
from dicom_node.gate import Gate
from dicom_node.intake import Intake, Restore, as_it_came
from dicom_node.receiver import Receiver
from dicom_node.receivers import Handed, Receivers, ReceiversSeen
from dicom_node.receiving import ReceivedObject
from dicom_node.rehearsal import rehearse
from dicom_node.service import Offer, classes_of
from dicom_node.session import Session
from dicom_node.sop_classes import VERIFICATION, storage_classes
from dicom_node.storing import SetAside, StoreSeen, Storing
from dicom_node.syntaxes import NATIVE, OFFERED
from dicom_node.tls import TlsContexts, why_failed
from dicom_node.zygote import Begin, serve_forks
from record_store.blobs import Blobs
from record_store.database import Database
from record_store.exchanges import Note, Party, unnoted
from record_store.taking import Flush

if TYPE_CHECKING:
    from dicom_node.door import Association
    from dicom_node.upper_layer import Beside

__all__ = [
    "AssociationSeen",
    "ReceiversSeen",
    "ReceivingBegun",
    "RefusalSeen",
    "ScpSettings",
    "StorageScp",
    "StoreSeen",
]

ROOM_FOR_S = 0.25  # the file system is asked so often, and not for each object
GRACE_S = 5.0  # for what is being stored when the node is told to stop
_STUDIES_NAMED = 10  # in the log's line of an association
_REHEARSALS_BEFORE = 12  # Python 3.11 specialises what has run eight times
_REHEARSALS_BEHIND = 2  # a fork: for memory, and what each process opens for itself

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScpSettings:
    """How the node presents itself.

    port, tls_port: 0 lets the system choose, None does not listen. calling: see `callers`; an empty table lets
    every AE call, or nobody when it is `closed`. storage_classes: "images" is `sop_classes.IMAGE_CLASSES`.
    low_water_bytes: below this much free space objects are refused with 0xA700. flush: what is on the disk before
    the answer. private_syntaxes: transfer syntaxes of vendors that are taken beside the standard's, and for each
    the standard's syntax whose data sets are encoded so.
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
    private_syntaxes: Mapping[str, str] = field(default_factory=dict)
    acse_timeout_s: float = 10.0
    dimse_timeout_s: float = 30.0
    network_timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class AssociationSeen:
    """What became of an association: "accepted", "rejected", "released" or "aborted"."""

    calling_ae: str
    outcome: str


@dataclass(frozen=True, slots=True)
class ReceivingBegun:
    """A process is about to receive: what an observer would make at the first object it can make now."""


@dataclass(frozen=True, slots=True)
class RefusalSeen:
    """Somebody was not let in. why: one of a few phrases, of `callers.Refusal` or `tls.why_failed`."""

    why: str


Observer = Callable[[StoreSeen | AssociationSeen | RefusalSeen | ReceivingBegun | ReceiversSeen], None]


class StorageScp:
    """A Storage and Verification SCP over one database and one blob store.

    observe: called after each answer and association event (metrics). fault: called with the named points
    "after-receive", "before-commit", "after-commit", "before-response", for tests that crash there.
    services: what is offered besides storage, made when somebody asks for it; nothing else is negotiated.
    tls: how the secured port is secured. note: told of every association, transfer and refusal (audit).
    ended: told when no association brings some studies any more, and how the last one ended.
    restore: see `Intake`. set_aside: see `Storing`.
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
        services: Sequence[Offer] = (),
        tls: TlsContexts | None = None,
        note: Note = unnoted,
        restore: Restore = as_it_came,
        ended: Callable[[BearersEnd], None] = lambda _end: None,
        set_aside: SetAside = lambda _part, _refusal: None,
    ) -> None:
        self._settings, self._services, self._classes = settings, tuple(services), classes_of(services)
        self._blobs, self._observe, self._tls = blobs, observe, tls
        self._intake = Intake(db, blobs, issuers, now, fault, restore, settings.flush)
        self._storing = Storing(self._intake, settings.ae_title, observe, fault, set_aside)
        callers = Callers(settings.calling, closed=settings.closed)
        self._gate = Gate(settings.ae_title, callers, note, lambda why: observe(RefusalSeen(why)))
        self._bearers = Bearers(ended)
        self._acceptors: list[Acceptor] = []
        self._door: Door | None = None
        self._receivers: Receivers | None = None
        self._room_seen = 0.0, ""  # until when that holds, and why there is none
        self.ports: list[int] = []  # that we listen on: the plain one first

    def receive(self, channel: Channel) -> None:
        """Serve the associations that another process hands over, until it stops: what a receiver does."""
        store = self._store()
        self._intake.start()
        rehearse(store, _REHEARSALS_BEHIND)
        self._observe(ReceivingBegun())
        try:
            Receiver(channel, store, self._settings.network_timeout_s).serve(GRACE_S)
        finally:
            self._intake.stop()

    def fork(self, number: int, begin: Begin | None = None) -> Receivers:
        """Make processes that `receive`, before this one starts a thread.

        begin: starts an interpreter that comes to be like this one and calls `fork_for`, see `zygotes`.
        """
        self._prepare_to_fork()
        return Receivers(number, self.receive, self._observe, begin)

    def fork_for(self, descriptor: int) -> None:
        """Fork processes that `receive` for the one that began this one, until it closes the channel."""
        self._prepare_to_fork()
        gc.freeze()
        serve_forks(descriptor, self.receive)

    def _prepare_to_fork(self) -> None:
        """Compile here what each process would else compile for itself; then close the database.

        A copy of an open connection believes that it has SQLite's locks, which only this process has. When it
        dies, whoever opens the file next would take the log's index from under them.
        """
        rehearse(self._store(), _REHEARSALS_BEFORE)
        self._intake.db.dispose()

    def start(self, receivers: Receivers | None = None) -> int:
        """Listen, in threads of our own, and return the plain port, or the secured one when there is no other.

        receivers: see `fork`. Raises OSError when an address is taken.
        """
        settings = self._settings
        is_secured = settings.tls_port is not None and self._tls is not None  # that is received here in any case
        self._intake.start(at_once=receivers is None or is_secured)
        self._receivers = receivers
        self._door = self._make_door()
        try:
            if settings.port is not None:
                self._listen(self._door, settings.port, None)
            if settings.tls_port is not None and is_secured:
                self._listen(self._door, settings.tls_port, self._tls)
        except OSError:
            self.stop()
            raise
        return self.ports[0]

    def _make_door(self) -> Door:
        settings = self._settings
        syntaxes = frozenset((*OFFERED, *settings.private_syntaxes))
        return Door(
            {VERIFICATION: NATIVE, **dict.fromkeys(storage_classes(settings.storage_classes), syntaxes)},
            self._classes,
            gate=self._gate,
            store=self._store(),
            beside=self._make_beside,
            told=Told(self._on_association, self._on_brought),
            receivers=self._receivers,
        )

    def _make_beside(self, negotiated: Negotiated) -> "Beside":
        from dicom_node.beside import make_beside  # noqa: PLC0415 - pynetdicom and numpy, which storing needs not

        return make_beside(
            self._settings,
            [one for offer in self._services for one in offer.services()],
            folder=self._blobs.staging,
            accepts=self._room,
            told=self._on_association,
            negotiated=negotiated,
            stored=self._on_store,
        )

    def _store(self) -> Store:
        settings = self._settings
        return Store(self._storing, self._room, self._blobs.staging, settings.bounds, settings.private_syntaxes)

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
    def active_associations(self) -> "Sequence[Association]":
        """The associations that have been asked for and are not over."""
        return self._door.open_associations() if self._door else ()

    def stop(self, grace_s: float = GRACE_S) -> None:
        """Stop listening and end the associations; a C-STORE being written is finished or not answered."""
        for acceptor in self._acceptors:
            acceptor.stop()
        self._acceptors, self.ports = [], []
        for association in self.active_associations:
            if isinstance(association, DirectAssociation | Handed):
                association.cut()
            else:
                association.abort(block=False)
        deadline = time.monotonic() + grace_s
        while self.active_associations and time.monotonic() < deadline:
            time.sleep(0.005)
        if self._receivers is not None:
            self._receivers.stop(max(0.5, deadline - time.monotonic()))
        self._intake.stop()

    def _room(self) -> str:
        """Return why no object can be taken now, or nothing; as it was a moment ago."""
        until, why = self._room_seen
        if time.monotonic() > until:
            try:
                is_full = self._blobs.free_bytes() < self._settings.low_water_bytes
                why = "the store is almost full" if is_full else ""
            except ClinicalError:
                why = "the store is away"
            self._room_seen = time.monotonic() + ROOM_FOR_S, why
        return why

    def _on_association(self, session: Session, outcome: str) -> None:
        log.debug("association", calling_ae=session.calling_ae, outcome=outcome)
        if session.taken or session.not_taken:
            log.info(
                "objects received",
                calling_ae=session.calling_ae,
                outcome=outcome,
                taken=session.taken.total(),
                not_taken=session.not_taken,
                studies=[uid_digest(uid) for uid in islice(session.taken, _STUDIES_NAMED)],
            )
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

    def _on_store(self, session: Session, received: ReceivedObject | None, named: str, originator: str) -> int:
        """Answer a C-STORE on an association of pynetdicom's."""
        answer = self._storing.answer(received, named, session.calling_ae, session.address, originator=originator)
        self._on_brought(session, answer.study_uid)
        return answer.status


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
