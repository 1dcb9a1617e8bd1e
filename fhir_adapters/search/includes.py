"""`_include` and `_revinclude` (R4 3.1.1.5.3): which references of matches are followed, which lead to them."""

from dataclasses import dataclass

from clinical.errors import IncorrectInput
from fhir_adapters.search.parameters import TYPES, Kind, SearchParameter

MAX_INCLUDES = 20  # in one request
ITERATE = "iterate"


@dataclass(frozen=True, slots=True)
class Include:
    """References to follow from resources of `source`.

    param: None for all of them. target: only to this type, "" for any. reverse: from `source` to what was found.
    iterate: from what was included, too.
    """

    source: str
    param: SearchParameter | None
    target: str = ""
    reverse: bool = False
    iterate: bool = False

    def params(self) -> tuple[SearchParameter, ...]:
        """Return the reference parameters that are followed."""
        return references_of(self.source) if self.param is None else (self.param,)


def references_of(resource_type: str) -> tuple[SearchParameter, ...]:
    """Return the reference parameters of a type."""
    return tuple(each for each in TYPES[resource_type].parameters.values() if each.kind is Kind.REFERENCE)


def includes_of(resource_types: tuple[str, ...], name: str, value: str) -> tuple[Include, ...]:
    """Return what a parameter says that is named `_include`, `_revinclude`, or these with `:iterate`.

    resource_types: what is searched. Raises IncorrectInput, naming the parameter.
    """
    bare, _, modifier = name.partition(":")
    reverse, iterate = bare == "_revinclude", modifier == ITERATE
    if modifier not in ("", ITERATE):
        raise IncorrectInput(f"{bare} takes no modifier but iterate", expression=[bare])
    source, *rest = value.split(":")
    if source == "*" and not rest:
        sources = tuple(TYPES) if reverse else resource_types
        return tuple(Include(each, None, "", reverse, iterate) for each in sources if references_of(each))
    if source not in TYPES or len(rest) not in (1, 2) or not rest[0]:
        raise IncorrectInput(f"{bare} is written Type:reference or Type:reference:Type", expression=[bare])
    target = rest[1] if len(rest) == 2 else ""
    param = None if rest[0] == "*" else _reference(bare, source, rest[0])
    if target and (target not in TYPES or (param and param.targets and target not in param.targets)):
        raise IncorrectInput(f"{bare}: that reference does not point to that type", expression=[bare])
    if not (reverse or iterate) and source not in resource_types:
        raise IncorrectInput(f"{bare} follows what {source} points to only with :iterate here", expression=[bare])
    return (Include(source, param, target, reverse, iterate),)


def _reference(bare: str, source: str, name: str) -> SearchParameter:
    param = TYPES[source].parameters.get(name)
    if param is None or param.kind is not Kind.REFERENCE:
        raise IncorrectInput(
            f"{bare}: {source} has no such reference",
            expression=[bare],
            diagnostics=f"it has: {', '.join(sorted(each.name for each in references_of(source)))}",
        )
    return param
