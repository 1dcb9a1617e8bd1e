"""Associations with a service beside storage, as pynetdicom serves them: loaded when the first of them comes.

The accepted contexts are those of the door, and the services' own.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pynetdicom import evt
from pynetdicom.presentation import PresentationContext, build_context

from dicom_node.negotiation import ContextResult
from dicom_node.peer_library import prepare_pynetdicom
from dicom_node.service import Service, bound, offered, preparing
from dicom_node.sop_classes import VERIFICATION, storage_classes
from dicom_node.syntaxes import EXPLICIT, EXPLICIT_BIG_ENDIAN, IMPLICIT, OFFERED
from dicom_node.upper_layer import Beside, BoundedEntity

if TYPE_CHECKING:
    from dicom_node.door import Negotiated
    from dicom_node.receiving import ReceivedObject
    from dicom_node.scp import ScpSettings
    from dicom_node.session import Session

_UNCOMPRESSED = frozenset((EXPLICIT, IMPLICIT, EXPLICIT_BIG_ENDIAN))


def presentation_contexts(
    which: Literal["images", "all"], private_syntaxes: Iterable[str] = ()
) -> list[PresentationContext]:
    """Return what the node offers: Verification and the storage classes, every standard transfer syntax and these.

    Deflated data is taken as well: its header is read from a bounded prefix (header.py).
    """
    syntaxes = [*OFFERED, *private_syntaxes]
    return [build_context(VERIFICATION), *(build_context(one, syntaxes) for one in storage_classes(which))]


def make_beside(
    settings: "ScpSettings",
    services: Sequence[Service],
    *,
    folder: Path,
    accepts: Callable[[], str],
    told: "Callable[[Session, str], None]",
    negotiated: "Negotiated",
    stored: "Callable[[Session, ReceivedObject | None, str, str], int]",
) -> Beside:
    """Return what makes those associations.

    folder, accepts: see `Beside`. told: outcomes of associations, as `AssociationSeen` has them. negotiated: what
    became of proposed contexts. stored: answers a C-STORE of an instance UID with a status;
    also given the AE title whose C-MOVE it answers, or "".
    """
    prepare_pynetdicom()

    def on_store(event: evt.Event) -> int:
        received = getattr(event.request, "received", None)
        asked_by = event.request.MoveOriginatorApplicationEntityTitle
        return stored(event.assoc.session, received, str(event.request.AffectedSOPInstanceUID), asked_by or "")

    def on_event(event: evt.Event, outcome: str) -> None:
        told(event.assoc.session, outcome)

    def on_negotiated(event: evt.Event) -> None:
        contexts = (*event.assoc.accepted_contexts, *event.assoc.rejected_contexts)
        results = [ContextResult(one.context_id, str(one.abstract_syntax), "", one.result) for one in contexts]
        negotiated(event.assoc.session, results)

    return Beside(
        ae=_entity(settings),
        contexts=[
            *presentation_contexts(settings.storage_classes, settings.private_syntaxes),
            *offered(services),
        ],
        handlers=[
            *bound(services),
            (evt.EVT_REQUESTED, _prefer_the_peers_order),
            *preparing(services),
            (evt.EVT_C_STORE, on_store),
            (evt.EVT_ACCEPTED, on_event, ["accepted"]),
            (evt.EVT_ACCEPTED, on_negotiated),
            (evt.EVT_REJECTED, on_event, ["rejected"]),
            (evt.EVT_RELEASED, on_event, ["released"]),
            (evt.EVT_ABORTED, on_event, ["aborted"]),
        ],
        bounds=settings.bounds,
        accepts=accepts,
        folder=folder,
        private_syntaxes=settings.private_syntaxes,
    )


def _entity(settings: "ScpSettings") -> BoundedEntity:
    ae = BoundedEntity(ae_title=settings.ae_title)
    ae.maximum_pdu_size = settings.bounds.data_pdu
    ae.acse_timeout = settings.acse_timeout_s
    ae.dimse_timeout = settings.dimse_timeout_s
    ae.network_timeout = settings.network_timeout_s
    return ae


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
