"""An association that we open: proposed, established or explained in words, and released."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom.uid import UID
from pynetdicom import AE, Association, build_context, build_role, evt

from dicom_node.destinations import Destination, SendTimeouts
from dicom_node.peer_library import prepare_pynetdicom
from dicom_node.tls_client import Calling

NO_ADDRESS = "no connection: its host name has no address"
NO_CONTEXT = "the peer accepts no presentation context for this object"
Wanted = Sequence[tuple[UID, list[UID]]]


@contextmanager
def associated(
    destination: Destination,
    calling_ae: str,
    wanted: Wanted,
    timeouts: SendTimeouts,
    handlers: Sequence[tuple[Any, ...]] = (),
    as_scp: Sequence[UID] = (),
) -> Iterator[tuple[Association | None, str | None]]:
    """Yield an association and None, or None and why there is none; it is released at the end.

    wanted: at most 128 pairs of SOP class and transfer syntaxes (PS3.8 9.3.2.2). as_scp: classes of which we, who
    call, are the SCP (PS3.7 D.3.3.4). Never raises for what a peer or a network does.
    """
    prepare_pynetdicom()
    ae = _entity(calling_ae, wanted, timeouts)
    connected: list[bool] = []
    secured = Calling(destination.tls) if destination.tls else None
    try:
        association = ae.associate(
            destination.host,
            destination.port,
            ae_title=destination.ae_title,
            max_pdu=0,
            tls_args=(secured, None) if secured else None,
            ext_neg=[build_role(one, scp_role=True) for one in as_scp],
            evt_handlers=[(evt.EVT_CONN_OPEN, _on_connection, [connected]), *handlers],
        )
    except (socket.gaierror, UnicodeError):  # what pynetdicom lets through; the latter of a label that is none
        yield None, NO_ADDRESS
        return
    if not association.is_established:
        untrusted = secured.problem if secured else None
        yield None, _why_not(association) if connected else untrusted or "no connection"
        return
    try:
        yield association, None
    finally:
        if association.is_established:
            association.release()


def _entity(calling_ae: str, wanted: Wanted, timeouts: SendTimeouts) -> Any:  # noqa: ANN401
    ae = AE(ae_title=calling_ae)
    ae.connection_timeout = timeouts.connect_s
    ae.acse_timeout = timeouts.acse_s
    ae.dimse_timeout = timeouts.dimse_s
    ae.network_timeout = timeouts.network_s
    # Not add_requested_context: that merges the contexts of a class, and each is to be answered by itself.
    ae.requested_contexts = [build_context(sop_class, syntaxes) for sop_class, syntaxes in wanted]
    return ae


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
    return NO_CONTEXT if association.rejected_contexts else "association aborted"


def _on_connection(event: evt.Event, connected: list[bool]) -> None:
    connected.append(True)
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
