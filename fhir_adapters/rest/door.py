"""What stands before and behind every interaction: some scope of the caller is about it, and it is noted.

What of a type it may reach, the interaction asks itself (`fhir.allowed`, `fhir.visible`). Here nothing is let
through that somebody forgot to ask about: an interaction that is not in the table is for the operator alone.
"""

from collections.abc import Mapping

from flask import Response

from clinical.errors import ClinicalError, Denied, NotFound
from fhir_adapters.rest.accessed import note_answered, note_refused
from fhir_adapters.rest.fhir import Fhir, Interaction, caller, require_type

# Interaction -> SMART letters, one of which the caller needs for the type in the address. ASKS: it asks for each
# type that it touches.
ASKS = ""
NEEDED: Mapping[str, str] = {
    "capabilities": ASKS,
    "api-docs": ASKS,
    "smart-configuration": ASKS,
    "read": "r",
    "vread": "r",
    "history-instance": "r",
    "history-type": "s",
    "search-type": "s",
    "search-system": ASKS,
    "search-compartment": ASKS,
    "create": "c",
    "update": "cu",
    "patch": "u",
    "delete": "d",
    "$validate": "cru",
    "transaction": ASKS,
    "$export": ASKS,
    "$export-status": ASKS,
    "$export-file": ASKS,
    "$everything": ASKS,
    "$lastn": ASKS,
    "$status": ASKS,
    "$events": ASKS,
    "$stats": ASKS,
    "$translate": ASKS,
    "$ai-replay": "r",
    "$ai-replay-status": ASKS,
    "$ai-confirm": "u",
    "$ai-recall": ASKS,
}
OPEN = frozenset({"capabilities", "smart-configuration", "api-docs"})  # to who shows no token


def answered(fhir: Fhir, each: Interaction, **path: str) -> Response:
    """Return the interaction's answer. path: what its address names. Raises Denied, and whatever it raises."""
    if each.code in OPEN:
        return each.answer(fhir, **path)
    try:
        if any("\0" in named for named in path.values()):  # no id, and nothing that PostgreSQL takes as text
            raise NotFound("nothing has that address")
        _demand(each.code, path.get("resource_type"))
        response = each.answer(fhir, **path)
    except ClinicalError as error:
        note_refused(fhir, each.code, path, error)
        raise
    note_answered(fhir, each.code, path)
    return response


def _demand(code: str, resource_type: str | None) -> None:
    grant = caller()
    if grant.everything:
        return
    if code not in NEEDED:
        raise Denied("the scopes of an access token do not reach that: it is for the operator")
    if resource_type is not None and NEEDED[code]:
        require_type(resource_type)
        if not any(grant.may(resource_type, letter) for letter in NEEDED[code]):
            raise Denied("the scopes of the access token do not reach that")
