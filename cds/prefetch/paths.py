"""Evaluating a token: paths through JSON, as FHIRPath goes through FHIR (N1 5.1), with the simple values found.

What a reference refers to need not be at hand: `resolve().ofType(X).id` reads type and id out of the reference
itself. A path that goes further into such a resource names it as wanted, and the caller fetches and asks again.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from cds.prefetch.scope import Resource, Scope, Target, is_resource, target_of
from cds.prefetch.tokens import Name, OfType, Path, Resolve, Step, Today, Token, UserId

# R4 2.24.0.1.2: the types that the end of a choice element may name (`value[x]` -> `valueQuantity`).
_CHOICE = re.compile(
    r"Address|Age|Annotation|Attachment|Base64Binary|Boolean|Canonical|Code|CodeableConcept|Coding"
    r"|ContactDetail|ContactPoint|Contributor|Count|DataRequirement|Date|DateTime|Decimal|Distance|Dosage"
    r"|Duration|Expression|Id|HumanName|Identifier|Instant|Integer|Markdown|Meta|Money|Oid"
    r"|ParameterDefinition|Period|PositiveInt|Quantity|Range|Ratio|Reference|RelatedArtifact|SampledData"
    r"|Signature|String|Time|Timing|TriggerDefinition|UnsignedInt|Uri|Url|UsageContext|Uuid"
)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """values: each once, in the order found. wanted: resources without which there may be more."""

    values: tuple[str, ...]
    wanted: frozenset[Target] = frozenset()


@dataclass(frozen=True, slots=True)
class _Item:
    """One member of a collection.

    resource: in which it stands, the outer one of what is contained. target: set when this is a resource known
    only by a reference to it. inner: it is a contained resource, whose id means nothing to a server.
    """

    value: Any
    resource: Resource | None = None
    target: Target | None = None
    inner: bool = False


def evaluate(token: Token, scope: Scope) -> Evaluated:
    """Return the values of a token."""
    values: dict[str, None] = {}
    wanted: set[Target] = set()
    for term in token.terms:
        if isinstance(term, Today):
            values[(scope.today + timedelta(days=term.days)).isoformat()] = None
        elif isinstance(term, UserId):
            values |= dict.fromkeys(_user(term, scope))
        else:
            values |= dict.fromkeys(_follow(term, scope, wanted))
    return Evaluated(tuple(values), frozenset(wanted))


def _user(term: UserId, scope: Scope) -> Iterator[str]:
    kind, _, ident = str(scope.context.get("userId", "")).partition("/")
    if kind == term.kind and ident:
        yield ident


def _follow(path: Path, scope: Scope, wanted: set[Target]) -> Iterator[str]:
    root = scope.context if path.key is None else scope.known.get(path.key)
    items = list(_placed(root, _Item(None)))
    for step in path.steps:
        items = [after for item in items for after in _go(step, item, scope, wanted)]
    return (text for item in items for text in _as_text(item.value, scope))


def _go(step: Step, item: _Item, scope: Scope, wanted: set[Target]) -> Iterable[_Item]:
    if isinstance(step, OfType):
        kind = item.target[0] if item.target else item.value["resourceType"] if is_resource(item.value) else None
        return (item,) if kind == step.kind else ()
    if isinstance(step, Resolve):
        return _resolved(item, scope)
    return _named(step, item, scope, wanted)


def _named(step: Name, item: _Item, scope: Scope, wanted: set[Target]) -> Iterable[_Item]:
    if item.target is not None:
        if step.name == "id":
            return (_Item(item.target[1]),)
        if item.target not in scope.looked_up:
            wanted.add(item.target)
        return ()
    if not isinstance(item.value, Mapping) or (item.inner and step.name == "id"):
        return ()
    return _placed(_element(item, step.name), item, contained=step.name == "contained")


def _element(item: _Item, name: str) -> object:
    """Return an element; `medication` finds `medicationReference`, as FHIRPath names a choice without its type."""
    parent = item.value
    if name in parent or item.resource is None:
        return parent.get(name)
    choices = (key for key in parent if key.startswith(name) and _CHOICE.fullmatch(key, len(name)))
    return next((parent[key] for key in choices), None)


def _placed(value: object, parent: _Item, *, contained: bool = False) -> Iterator[_Item]:
    """Yield a value, or each of a list, with what it stands in."""
    for one in value if isinstance(value, list) else [value]:
        if is_resource(one):
            yield _Item(one, parent.resource if contained else one, inner=contained)
        elif one is not None:
            yield _Item(one, parent.resource)


def _resolved(item: _Item, scope: Scope) -> Iterator[_Item]:
    """Yield what a reference refers to; one that leads nowhere is left out (R4 FHIRPath, `resolve`)."""
    text = item.value.get("reference") if isinstance(item.value, Mapping) else item.value
    if not isinstance(text, str):
        return
    if text.startswith("#"):
        inner = scope.find_contained(item.resource, text[1:]) if item.resource else None
        yield from _placed(inner, item, contained=True)
    elif text.startswith("urn:"):
        yield from _placed(scope.find_draft(text), item)
    elif (target := target_of(text, scope.base)) is not None:
        found = scope.find(target)
        yield _Item(None, target=target) if found is None else _Item(found, found)


def _as_text(value: object, scope: Scope) -> Iterator[str]:
    """Yield a simple value, or `Type/id` of a Reference, as a search parameter has it."""
    if isinstance(value, bool):
        yield "true" if value else "false"
    elif isinstance(value, int | float | Decimal):
        yield str(value)
    elif isinstance(value, str):
        yield from [value] if value else []
    elif isinstance(value, Mapping) and isinstance(value.get("reference"), str):
        target = target_of(value["reference"], scope.base)
        yield from [] if target is None else ["/".join(target)]
