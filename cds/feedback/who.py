"""Whose call it is: to which client a patient's id, a card and its feedback belong."""

from cds.call import HookCall
from cds.caller import Caller


def owner_of(caller: Caller) -> str:
    """Return who owns ids and cards: the issuer, and its tenant where one issuer speaks for several hospitals."""
    return caller.issuer if caller.tenant is None else f"{caller.issuer} {caller.tenant}"


def user_of(call: HookCall) -> str | None:
    """Return the reference of the user at the screen; some hooks name none."""
    user = call.request.context.get("userId")
    return user if isinstance(user, str) else None
