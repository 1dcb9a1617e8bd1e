"""The gate of the node: lets associations in or refuses them with a reason, and has noted what each one did.

Refusals are logged once a minute for each peer and reason, with how many there were: a scanner must not fill the
log in which somebody looks for it.
"""

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Sequence

import structlog

from dicom_node.callers import Callers, Refusal
from dicom_node.negotiation import ACCEPTED, ContextResult, not_accepted
from dicom_node.request_pdu import APPLICATION_CONTEXT, AssociationRequest
from dicom_node.session import Session
from record_store.exchanges import Exchange, Kind, Note, Outcome, Party

_NO_SUCH_CONTEXT, _CALLING_AE, _CALLED_AE = 0x02, 0x03, 0x07  # PS3.8 9.3.4, of a permanent rejection by the user
SAY_AGAIN_S = 60.0
_MOST_SAID = 256
_CLASSES_NAMED = 8
_UID = re.compile(r"[0-9.]{1,64}")  # what else a peer writes there is in no log

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
    """Says who is let in to one AE, and tells `note` of each association, at its end, and of who was refused.

    refused: told the reason of each refusal, one of a few phrases (a metric).
    """

    def __init__(self, ae_title: str, callers: Callers, note: Note, refused: Callable[[str], None]) -> None:
        self._ae_title, self._callers, self._note, self._refused = ae_title, callers, note, refused
        self._sparingly = Sparingly()

    def why_not(self, asked: AssociationRequest, session: Session) -> tuple[Refusal, int] | None:
        """Return why an association that is asked for is refused, with PS3.8's diagnostic; None to let it in."""
        if asked.application_context != APPLICATION_CONTEXT:
            return Refusal.APPLICATION_CONTEXT, _NO_SUCH_CONTEXT
        if asked.called != self._ae_title.strip():
            return Refusal.CALLED_AE, _CALLED_AE
        if not asked.calling:
            return Refusal.NO_CALLING_AE, _CALLING_AE
        why = self._callers.why_not(session.calling_ae, session.address, session.certificate)
        return None if why is None else (why, _CALLING_AE)

    def refuse(self, who: Party, why: str) -> None:
        """Say, count and have noted that somebody was not let in; also for who did not get as far as asking."""
        self._refused(why)
        count = self._sparingly.again((who.address, who.name, why))
        if count is not None:
            log.warning("association refused", calling_ae=who.name, client=who.address, why=why, count=count)
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

    def negotiated(self, session: Session, results: Sequence[ContextResult], taken: Collection[str]) -> None:
        """Say why somebody who was let in can send or ask nothing of a SOP class: its user sees no reason.

        taken: see `not_accepted`.
        """
        say = log.info if any(one.result == ACCEPTED for one in results) else log.warning
        for why, classes in not_accepted(results, taken).items():
            count = self._sparingly.again((session.address, session.calling_ae, why))
            if count is not None:
                say(
                    "presentation contexts not accepted",
                    calling_ae=session.calling_ae,
                    client=session.address,
                    why=str(why),
                    sop_class=[one for one in classes if _UID.fullmatch(one)][:_CLASSES_NAMED],
                    count=count,
                )

    def ended(self, session: Session, how: str) -> None:
        """Have noted what an association that was let in did. how: "released" or "aborted"."""
        peer, us = session.peer, Party(self._ae_title)
        taken, not_taken = session.taken, session.not_taken
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
