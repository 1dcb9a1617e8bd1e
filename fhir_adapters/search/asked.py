"""What one parameter of a search asks: its name (modifiers, chains, `_has`) and value become a criterion.

R4 3.1.1.4: modifiers 3.1.1.4.2, chains 3.1.1.4.10, `_has` 3.1.1.4.11, composites 3.1.1.4.12.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from clinical.errors import IncorrectInput
from fhir_adapters.search import values
from fhir_adapters.search.escapes import alternatives, unescaped
from fhir_adapters.search.modifiers import modified, unmodified
from fhir_adapters.search.parameters import TYPES, Kind, SearchParameter
from record_store.criteria import UPDATED, AllOf, AnyOf, Chained, Criterion, DateIn, Has, IdIn, Not

MAX_JOINS = 4  # chains and _has within one parameter
_COLUMNS = ("_id", UPDATED)
_HAS = re.compile(r"_has:(?P<type>[A-Za-z]+):(?P<param>[A-Za-z0-9_-]+):(?P<rest>.+)")


@dataclass(frozen=True, slots=True)
class Asking:
    """What a value's meaning depends on. base_url: ours. now: what `ap` measures from; None refuses it."""

    base_url: str
    now: datetime | None = None


class UnknownParameter(IncorrectInput):
    """The type has no such parameter."""


def criterion_of(resource_type: str, name: str, value: str, asking: Asking, joins: int = 0) -> Criterion:
    """Return what a parameter asks of a type.

    Raises UnknownParameter, and IncorrectInput for a modifier that the parameter does not have or a value that
    cannot be read; both name the parameter and never the value.
    """
    if joins > MAX_JOINS:
        raise IncorrectInput(f"a parameter follows at most {MAX_JOINS} references")
    if name.startswith("_has:"):
        return _has(resource_type, name, value, asking, joins)
    head, chain, rest = name.partition(".")
    bare, _, modifier = head.partition(":")
    if bare in _COLUMNS and not chain:
        return _column(bare, modifier, value, asking)
    parameter = TYPES[resource_type].parameters.get(bare)
    if parameter is None:
        raise unknown(resource_type, name)
    if chain:
        return _chained(resource_type, parameter, modifier, rest, value, asking, joins)
    if modifier and not (parameter.kind is Kind.REFERENCE and modifier[0].isupper()):
        return modified(parameter, modifier, value)
    return unmodified(TYPES[resource_type], parameter, modifier, value, asking.base_url, asking.now)


def names_for(resource_type: str) -> tuple[str, ...]:
    """Return the parameters that select resources of a type, in the order people look for them."""
    own = [name for name in TYPES[resource_type].parameters if not name.startswith("_")]
    every = [name for name in TYPES[resource_type].parameters if name.startswith("_")]
    return (*sorted(own), *_COLUMNS, *sorted(every), "_has")


def unknown(resource_type: str, name: str) -> UnknownParameter:
    """Return the refusal of a parameter that a type does not have, with those that it has."""
    return UnknownParameter(
        f"this server does not know that search parameter of {resource_type}",
        # Only a name that looks like one is repeated: a value may have slipped into its place.
        expression=[name] if re.fullmatch("[A-Za-z_][A-Za-z_.:-]{0,63}", name) else [],
        diagnostics=f"known are: {', '.join(names_for(resource_type))}",
    )


def _column(name: str, modifier: str, value: str, asking: Asking) -> Criterion:
    """Return what `_id` and `_lastUpdated` ask: columns of the resource, which are never missing."""
    found = alternatives(name, value)
    match name, modifier:
        case _, "missing":
            return AnyOf(()) if values.flag(name, value) else AllOf(())
        case "_id", "" | "not":
            ids = IdIn(tuple(unescaped(each) for each in found))
            return Not(ids) if modifier else ids
        case "_lastUpdated", "":
            return DateIn(UPDATED, tuple(values.date(name, each, asking.now) for each in found))
        case _:
            raise IncorrectInput(f"{name} takes no such modifier", expression=[name])


def _chained(
    resource_type: str,
    parameter: SearchParameter,
    modifier: str,
    rest: str,
    value: str,
    asking: Asking,
    joins: int,
) -> Criterion:
    target = _target(parameter, modifier, rest)
    inner = criterion_of(target, rest, value, asking, joins + 1)
    hot = target == "Patient" and parameter.name in TYPES[resource_type].hot_patient
    return Chained(parameter.index_name, target, inner, hot)


def _target(parameter: SearchParameter, modifier: str, rest: str) -> str:
    """Return the type that a chain goes to: the one that it names, or the only one that knows what follows."""
    name = parameter.name
    if parameter.kind is not Kind.REFERENCE:
        raise IncorrectInput(f"{name} is no reference: nothing can be chained to it", expression=[name])
    targets = parameter.only or parameter.targets
    if modifier:
        if modifier not in TYPES or (targets and modifier not in targets):
            raise IncorrectInput(f"{name} does not point to that type here", expression=[name])
        return modifier
    knowing = [each for each in targets if each in TYPES and _knows(each, rest)]
    if len(knowing) == 1:
        return knowing[0]
    if not knowing and targets:
        raise unknown(next((each for each in targets if each in TYPES), "Patient"), rest)
    example = knowing[0] if knowing else "Patient"
    raise IncorrectInput(
        f"{name} may point to several types: say which, as {name}:{example}.…",
        expression=[name],
        diagnostics=f"that parameter is known of: {', '.join(knowing) or 'any type'}",
    )


def _knows(resource_type: str, name: str) -> bool:
    bare = re.split("[.:]", name, maxsplit=1)[0]
    return bare in TYPES[resource_type].parameters or bare in (*_COLUMNS, "_has")


def _has(resource_type: str, name: str, value: str, asking: Asking, joins: int) -> Criterion:
    found = _HAS.fullmatch(name)
    if found is None or found["type"] not in TYPES:
        raise IncorrectInput(
            "_has is written _has:Type:reference:parameter, Type being kept here", expression=["_has"]
        )
    source = TYPES[found["type"]]
    parameter = source.parameters.get(found["param"])
    if parameter is None:
        raise unknown(found["type"], found["param"])
    targets = parameter.only or parameter.targets
    if parameter.kind is not Kind.REFERENCE or (targets and resource_type not in targets):
        raise IncorrectInput(f"that parameter does not point to {resource_type}", expression=[parameter.name])
    inner = criterion_of(found["type"], found["rest"], value, asking, joins + 1)
    hot = resource_type == "Patient" and parameter.name in source.hot_patient
    return Has(found["type"], parameter.index_name, inner, hot)
