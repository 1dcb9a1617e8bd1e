"""Which proposed presentation contexts are accepted, and in which transfer syntax (PS3.8 7.1.1.13). Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dicom_node.request_pdu import ProposedContext
from dicom_node.sop_classes import QUERY, RETRIEVE, STORAGE_CLASSES

ACCEPTED, ABSTRACT_SYNTAX_NOT_SUPPORTED, TRANSFER_SYNTAXES_NOT_SUPPORTED = 0, 3, 4  # PS3.8 9.3.3.2
_ASKING, _STORAGE = frozenset((*QUERY, *RETRIEVE)), frozenset(STORAGE_CLASSES.values())


class NotAccepted(StrEnum):
    """Why an association carries nothing of a SOP class, with the setting that would change it."""

    ASKING = "this calling AE may not query or retrieve: CONSILIUM_QUERY_AES"
    STORAGE = "objects of this class are not taken: CONSILIUM_STORAGE_CLASSES"
    TRANSFER_SYNTAX = "no proposed transfer syntax is taken: CONSILIUM_DICOM_PRIVATE_SYNTAXES"
    SERVICE = "the service is not offered"


@dataclass(frozen=True, slots=True)
class ContextResult:
    """What became of a proposed context. transfer_syntax: not significant unless it is accepted."""

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    result: int = ACCEPTED


def negotiate(
    proposed: Iterable[ProposedContext], offered: Mapping[str, frozenset[str]]
) -> tuple[ContextResult, ...]:
    """Answer each proposed context. offered: abstract syntax -> the transfer syntaxes that it is taken in.

    Of several, the peer's first that we take: it is what its objects are in, so nothing is transcoded on the way.
    """
    return tuple(_answer(one, offered.get(one.abstract_syntax)) for one in proposed)


def _answer(one: ProposedContext, taken: frozenset[str] | None) -> ContextResult:
    if taken is None:
        result = ABSTRACT_SYNTAX_NOT_SUPPORTED
    else:
        for syntax in one.transfer_syntaxes:
            if syntax in taken:
                return ContextResult(one.context_id, one.abstract_syntax, syntax)
        result = TRANSFER_SYNTAXES_NOT_SUPPORTED
    return ContextResult(one.context_id, one.abstract_syntax, one.transfer_syntaxes[0], result)


def not_accepted(results: Sequence[ContextResult], taken: Collection[str]) -> Mapping[NotAccepted, Sequence[str]]:
    """Return the abstract syntaxes of which no context was accepted, by the reason.

    taken: those that storage and verification are offered for.
    A sender proposes a class in several contexts, one for each transfer syntax, and needs one of them.
    """
    accepted = {one.abstract_syntax for one in results if one.result == ACCEPTED}
    found: dict[NotAccepted, list[str]] = {}
    for one in results:
        named = found.setdefault(_why_not(one, taken), [])
        if one.abstract_syntax not in accepted and one.abstract_syntax not in named:
            named.append(one.abstract_syntax)
    return {why: named for why, named in found.items() if named}


def _why_not(one: ContextResult, taken: Collection[str]) -> NotAccepted:
    if one.result == TRANSFER_SYNTAXES_NOT_SUPPORTED or one.abstract_syntax in taken:
        return NotAccepted.TRANSFER_SYNTAX
    if one.abstract_syntax in _ASKING:
        return NotAccepted.ASKING
    return NotAccepted.STORAGE if one.abstract_syntax in _STORAGE else NotAccepted.SERVICE
