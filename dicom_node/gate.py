"""The gate of the node: lets associations in or refuses them with a reason, and has noted what each one did.

Refusals are logged once a minute for each peer and reason, with how many there were: a scanner must not fill the
log in which somebody looks for it.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from typing import Any
from weakref import WeakKeyDictionary

import structlog
from pynetdicom import Association, evt

from dicom_node.callers import Callers, Refusal
from dicom_node.request_pdu import APPLICATION_CONTEXT
from dicom_node.tls import PeerCertificate, peer_certificate
from record_store.exchanges import Exchange, Kind, Note, Outcome, Party

_REJECTED_PERMANENTLY, _BY_USER = 0x01, 0x01  # PS3.8 9.3.4
_NO_SUCH_CONTEXT, _CALLING_AE, _CALLED_AE = 0x02, 0x03, 0x07
SAY_AGAIN_S = 60.0
_MOST_SAID = 256

log = structlog.get_logger()


class Sparingly:
    """Tells when something is worth a line again: at once, and then once in SAY_AGAIN_S with the count since."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._said: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def again(self, what: Hashable) -> int | None:
        """Return how often it has happened since it was said last, this time included; None for "say nothing"."""
        now = self._monotonic()
        at, count = self._said.pop(what, (float("-inf"), 0))
        if now - at < SAY_AGAIN_S:
            self._said[what] = (at, count + 1)
            return None
        self._said[what] = (now, 0)
        while len(self._said) > _MOST_SAID:
            self._said.popitem(last=False)
        return count + 1


class Gate:
    """Admits associations to one AE and tells `note` of each, at its end, and of who was refused.

    refused: told the reason of each refusal, one of a few phrases (a metric).
    """

    def __init__(self, ae_title: str, callers: Callers, note: Note, refused: Callable[[str], None]) -> None:
        self._ae_title, self._callers, self._note, self._refused = ae_title, callers, note, refused
        self._sparingly = Sparingly()
        self._taken: WeakKeyDictionary[Association, Counter[str]] = WeakKeyDictionary()
        self._not_taken: WeakKeyDictionary[Association, int] = WeakKeyDictionary()

    def admits(self, event: evt.Event) -> bool:
        """Let an association that is asked for go on, or reject it with the reason that PS3.8 has for it."""
        association, asked = event.assoc, event.assoc.requestor.primitive
        title, address = calling(association), str(association.requestor.address)
        certificate = _certificate(association)
        why: Refusal | None
        if asked.application_context_name != APPLICATION_CONTEXT:
            why, diagnostic = Refusal.APPLICATION_CONTEXT, _NO_SUCH_CONTEXT
        elif str(asked.called_ae_title or "").strip() != self._ae_title.strip():
            why, diagnostic = Refusal.CALLED_AE, _CALLED_AE
        else:
            why, diagnostic = self._callers.why_not(title, address, certificate), _CALLING_AE
        if why is None:
            return True
        self.refuse(Party(title, address, _digest(certificate)), why)
        association.acse.send_reject(_REJECTED_PERMANENTLY, _BY_USER, diagnostic)
        evt.trigger(association, evt.EVT_REJECTED, {})
        association.kill()
        return False

    def refuse(self, who: Party, why: str) -> None:
        """Say, count and have noted that somebody was not let in; also for who did not get as far as asking."""
        self._refused(why)
        count = self._sparingly.again((who.address, who.name, why))
        if count is not None:
            log.warning("association refused", calling_ae=who.name, address=who.address, why=why, count=count)
        self._note(
            Exchange(
                kind=Kind.REFUSED,
                source=who,
                destination=Party(self._ae_title),
                outcome=Outcome.SERIOUS,
                what="association",
                note=why,
            )
        )

    def stored(self, association: Association, study_uid: str) -> None:
        """Count an instance that was taken."""
        self._taken.setdefault(association, Counter())[study_uid] += 1

    def not_stored(self, association: Association) -> None:
        """Count an instance that was not taken."""
        self._not_taken[association] = self._not_taken.get(association, 0) + 1

    def ended(self, association: Association, how: str) -> None:
        """Have noted what an association that was let in did. how: "released" or "aborted"."""
        peer = Party(calling(association), str(association.requestor.address), _digest(_certificate(association)))
        us = Party(self._ae_title)
        taken, not_taken = self._taken.pop(association, Counter()), self._not_taken.pop(association, 0)
        whole = Outcome.SUCCESS if how == "released" else Outcome.MINOR
        self._note(Exchange(kind=Kind.ASSOCIATION, source=peer, destination=us, outcome=whole, note=how))
        if taken or not_taken:
            outcome = Outcome.SUCCESS if not not_taken else Outcome.MINOR if taken else Outcome.SERIOUS
            note = f"{not_taken} instances not taken" if not_taken else ""
            self._note(
                Exchange(
                    kind=Kind.TRANSFERRED,
                    source=peer,
                    destination=us,
                    outcome=outcome,
                    studies=taken,
                    what="C-STORE",
                    note=note,
                )
            )


def calling(association: Association) -> str:
    """Return the calling AE title of an association that is asked for."""
    requestor = association.requestor
    title = requestor.primitive.calling_ae_title if requestor.primitive else requestor.ae_title
    return str(title or "").strip()[:16]


def _certificate(association: Any) -> PeerCertificate | None:  # noqa: ANN401 - read before it is closed
    kept: PeerCertificate | None = getattr(association, "peer_certificate", None)
    if kept is None:
        connection = association.dul.socket.socket if association.dul.socket else None
        kept = association.peer_certificate = peer_certificate(connection)
    return kept


def _digest(certificate: PeerCertificate | None) -> str:
    return certificate.sha256 if certificate else ""
