"""What becomes of a connection that asks for an association: refused, served directly, or left to pynetdicom.

Storage and verification alone are served directly (`direct.py`). An association that proposes any service beside
them goes to pynetdicom with the same socket, and everything on it.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from dicom_node import pdus
from dicom_node.acceptor import Acceptor, Arrived
from dicom_node.connections import Census, Place
from dicom_node.direct import DirectAssociation, End, Store
from dicom_node.gate import Gate
from dicom_node.negotiation import ACCEPTED, negotiate
from dicom_node.part10 import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION
from dicom_node.request_pdu import AssociationRequest, MalformedRequest, read_request
from dicom_node.session import Session
from dicom_node.tls import peer_certificate
from dicom_node.upper_layer import Beside, StorageAssociation

# PS3.8 9.3.4: result, source, reason.
_REJECTED_BY_USER = (1, 1)
_PROTOCOL_VERSION = (1, 2, 2)
_LOCAL_LIMIT = (2, 3, 2)
_CALLING_AE_CHARACTERS = 16

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Told:
    """Whom the door tells: outcomes of associations as `AssociationSeen` has them, and studies that come."""

    association: Callable[[Session, str], None]
    brought: Callable[[Session, str], None]


class Door:
    """The door of a node, for all that its acceptors bring. offered: abstract syntax -> transfer syntaxes.

    beside: for whoever proposes one of the abstract syntaxes `elsewhere`.
    """

    def __init__(
        self,
        offered: Mapping[str, frozenset[str]],
        elsewhere: frozenset[str],
        *,
        gate: Gate,
        store: Store,
        beside: Beside,
        told: Told,
    ) -> None:
        self._offered, self._elsewhere = offered, elsewhere
        self._gate, self._store, self._beside, self._told = gate, store, beside, told
        self._census = Census(store.bounds)
        self._lock = threading.Lock()
        self._open: set[DirectAssociation | StorageAssociation] = set()

    def open_associations(self) -> Sequence[DirectAssociation | StorageAssociation]:
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
            self._serve(arrived, acceptor, asked, session, place)

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

    def _serve(
        self, arrived: Arrived, acceptor: Acceptor, asked: AssociationRequest, session: Session, place: Place
    ) -> None:
        results = negotiate(asked.contexts, self._offered)

        def ended(how: End) -> None:
            self._forget(association, place, acceptor)
            self._told.association(session, str(how))

        association = DirectAssociation(
            arrived.connection,
            session.calling_ae,
            asked.maximum_length,
            {one.context_id: one for one in results if one.result == ACCEPTED},
            self._store,
            brought=lambda study_uid: self._told.brought(session, study_uid),
            ended=ended,
        )
        with self._lock:
            self._open.add(association)
        self._told.association(session, "accepted")
        accepted = pdus.accept(
            arrived.body,
            results,
            maximum_length=self._store.bounds.data_pdu,
            implementation=(IMPLEMENTATION_UID, IMPLEMENTATION_VERSION),
        )
        if association.begin(accepted, arrived.after):
            acceptor.park(association)

    def _leave_to_pynetdicom(self, arrived: Arrived, acceptor: Acceptor, session: Session, place: Place) -> None:
        begun: list[StorageAssociation] = []
        ready = threading.Event()

        def over() -> None:
            ready.wait()
            self._forget(begun[0], place, acceptor)

        first = pdus.request(arrived.body) + arrived.after
        try:
            begun.append(self._beside.begin(arrived.connection, session, first, over))
        except OSError:  # the peer has gone
            arrived.connection.close()
            place.leave()
            acceptor.gone(place.address)
            return
        with self._lock:
            self._open.add(begun[0])
        ready.set()

    def _forget(
        self, association: DirectAssociation | StorageAssociation, place: Place, acceptor: Acceptor
    ) -> None:
        place.leave()
        with self._lock:
            self._open.discard(association)
        acceptor.gone(place.address)
