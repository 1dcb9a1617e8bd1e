"""What becomes of a connection that asks for an association: refused, served directly, or left to pynetdicom.

Storage and verification alone are served directly (`direct.py`). An association that proposes any service beside
them goes to pynetdicom with the same socket, and everything on it.
"""

import ssl
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from dicom_node import pdus
from dicom_node.acceptor import Acceptor, Arrived
from dicom_node.connections import Census, Place
from dicom_node.direct import DirectAssociation, End, Store
from dicom_node.gate import Gate
from dicom_node.negotiation import ACCEPTED, ContextResult, negotiate
from dicom_node.part10 import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION
from dicom_node.receivers import Handed, Receivers, Totals
from dicom_node.request_pdu import AssociationRequest, MalformedRequest, read_request
from dicom_node.session import Session
from dicom_node.tls import peer_certificate

if TYPE_CHECKING:
    from dicom_node.upper_layer import Beside, StorageAssociation

    Association = DirectAssociation | StorageAssociation | Handed

# PS3.8 9.3.4: result, source, reason.
_REJECTED_BY_USER = (1, 1)
_PROTOCOL_VERSION = (1, 2, 2)
_LOCAL_LIMIT = (2, 3, 2)
_NO_REASON = (2, 2, 1)
_CALLING_AE_CHARACTERS = 16

log = structlog.get_logger()

Negotiated = Callable[[Session, Sequence[ContextResult]], None]  # told what became of the proposed contexts


@dataclass(frozen=True, slots=True)
class Told:
    """Whom the door tells: outcomes of associations as `AssociationSeen` has them, and studies that come."""

    association: Callable[[Session, str], None]
    brought: Callable[[Session, str], None]


@dataclass(frozen=True, slots=True)
class _Guest:
    """Whoever is let in for storage, and what is known of them."""

    arrived: Arrived
    acceptor: Acceptor
    asked: AssociationRequest
    session: Session
    place: Place


class Door:
    """The door of a node, for all that its acceptors bring. offered: abstract syntax -> transfer syntaxes.

    beside: makes what serves whoever proposes one of the abstract syntaxes `elsewhere`; called for the first.
    receivers: processes that serve what is for storage alone and not secured: the keys of a secured connection
    cannot be handed over.
    """

    def __init__(
        self,
        offered: Mapping[str, frozenset[str]],
        elsewhere: frozenset[str],
        *,
        gate: Gate,
        store: Store,
        beside: "Callable[[Negotiated], Beside]",
        told: Told,
        receivers: Receivers | None = None,
    ) -> None:
        self._offered, self._elsewhere = offered, elsewhere
        self._gate, self._store, self._told = gate, store, told
        self._make_beside, self._making = beside, threading.Lock()
        self._beside: Beside | None = None
        self._receivers = receivers
        self._census = Census(store.bounds)
        self._lock = threading.Lock()
        self._open: set[Association] = set()

    def open_associations(self) -> "Sequence[Association]":
        """Return the associations that are established or being negotiated."""
        with self._lock:
            return list(self._open)

    def ask(self, arrived: Arrived, acceptor: Acceptor) -> None:
        """Answer a request, in this thread; it serves the association as long as its peer has something to say."""
        try:
            asked = read_request(arrived.body)
        except MalformedRequest as error:
            log.info("association request malformed", client=arrived.address, why=str(error))
            self._turn_away(arrived, acceptor, pdus.abort(pdus.BY_PROVIDER, pdus.INVALID_PARAMETER))
            return
        session = Session(
            asked.calling[:_CALLING_AE_CHARACTERS], arrived.address, peer_certificate(arrived.connection)
        )
        rejection = self._rejection(asked, session)
        place = None if rejection else self._census.enter(session.address, session.calling_ae)
        if place is None:
            self._told.association(session, "rejected")
            self._turn_away(arrived, acceptor, pdus.reject(*(rejection or _LOCAL_LIMIT)))
        elif any(one.abstract_syntax in self._elsewhere for one in asked.contexts):
            self._leave_to_pynetdicom(arrived, acceptor, session, place)
        else:
            self._serve(_Guest(arrived, acceptor, asked, session, place))

    def _rejection(self, asked: AssociationRequest, session: Session) -> tuple[int, int, int] | None:
        if not asked.version & 1:
            return _PROTOCOL_VERSION
        refused = self._gate.why_not(asked, session)
        if refused is None:
            return None
        why, diagnostic = refused
        self._gate.refuse(session.peer, why)
        return (*_REJECTED_BY_USER, diagnostic)

    def _turn_away(self, arrived: Arrived, acceptor: Acceptor, answer: bytes) -> None:
        connection = arrived.connection
        try:
            connection.settimeout(self._store.bounds.stall_s)
            connection.sendall(answer)
        except OSError:
            connection.close()
            acceptor.gone(arrived.address)
        else:
            acceptor.leave(connection, arrived.address)

    def _serve(self, guest: _Guest) -> None:
        results = negotiate(guest.asked.contexts, self._offered)
        accepted = pdus.accept(
            guest.arrived.body,
            results,
            maximum_length=self._store.bounds.data_pdu,
            implementation=(IMPLEMENTATION_UID, IMPLEMENTATION_VERSION),
        )
        contexts = [one for one in results if one.result == ACCEPTED]
        self._told.association(guest.session, "accepted")
        self._negotiated(guest.session, results)
        if not self._hand_over(guest, contexts, accepted):
            self._serve_here(guest, contexts, accepted)

    def _negotiated(self, session: Session, results: Sequence[ContextResult]) -> None:
        self._gate.negotiated(session, results, self._offered)

    def _hand_over(self, guest: _Guest, contexts: Sequence[ContextResult], accepted: bytes) -> bool:
        connection, session = guest.arrived.connection, guest.session
        if self._receivers is None or isinstance(connection, ssl.SSLSocket):
            return False

        def ended(how: End, totals: Totals | None) -> None:
            if totals is not None:  # else it is known of each study that it came, and not how much of it
                session.taken, session.not_taken = Counter(totals.taken), totals.not_taken
            self._end(handed, guest, how)

        handed = Handed(
            session.calling_ae,
            session.address,
            guest.asked.maximum_length,
            contexts,
            accepted,
            guest.arrived.after,
            brought=lambda study_uid: self._told.brought(session, study_uid),
            ended=ended,
        )
        with self._lock:
            self._open.add(handed)
        if self._receivers.take(connection, handed):
            return True
        with self._lock:
            self._open.discard(handed)
        return False

    def _serve_here(self, guest: _Guest, contexts: Sequence[ContextResult], accepted: bytes) -> None:
        session = guest.session

        association = DirectAssociation(
            guest.arrived.connection,
            session.calling_ae,
            guest.asked.maximum_length,
            {one.context_id: one for one in contexts},
            self._store,
            brought=lambda study_uid: self._told.brought(session, study_uid),
            ended=lambda how: self._end(association, guest, how),
            address=session.address,
        )
        with self._lock:
            self._open.add(association)
        if association.begin(accepted, guest.arrived.after):
            guest.acceptor.park(association)

    def _end(self, association: "Association", guest: _Guest, how: End) -> None:
        try:  # told first: who stops waits until no association is left, and closes what this is told to
            self._told.association(guest.session, str(how))
        finally:
            self._forget(association, guest.place, guest.acceptor)

    def _leave_to_pynetdicom(self, arrived: Arrived, acceptor: Acceptor, session: Session, place: Place) -> None:
        try:
            beside = self._made_beside()
        except Exception as error:  # noqa: BLE001 - the edge of this thread: an install that lacks something
            log.error("services beside storage not loaded", error=type(error).__name__)  # noqa: TRY400
            place.leave()
            self._told.association(session, "rejected")
            self._turn_away(arrived, acceptor, pdus.reject(*_NO_REASON))
            return
        begun: list[StorageAssociation] = []
        ready = threading.Event()

        def over() -> None:
            ready.wait()
            self._forget(begun[0], place, acceptor)

        first = pdus.request(arrived.body) + arrived.after
        try:
            begun.append(beside.begin(arrived.connection, session, first, over))
        except OSError:  # the peer has gone
            arrived.connection.close()
            place.leave()
            acceptor.gone(place.address)
            return
        with self._lock:
            self._open.add(begun[0])
        ready.set()

    def _made_beside(self) -> "Beside":
        with self._making:
            if self._beside is None:
                self._beside = self._make_beside(self._negotiated)
            return self._beside

    def _forget(self, association: "Association", place: Place, acceptor: Acceptor) -> None:
        place.leave()
        with self._lock:
            self._open.discard(association)
        acceptor.gone(place.address)
