"""Which proposed presentation contexts are accepted, and in which transfer syntax (PS3.8 7.1.1.13). Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dicom_node.request_pdu import ProposedContext

ACCEPTED, ABSTRACT_SYNTAX_NOT_SUPPORTED, TRANSFER_SYNTAXES_NOT_SUPPORTED = 0, 3, 4  # PS3.8 9.3.3.2


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
