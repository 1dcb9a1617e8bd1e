"""The places in a resource that a path names: of FHIRPath what R4's patch needs (fhirpatch, 2.1.9 of FHIRPath).

A place knows the object that it stands in, so that it can be changed, and its kind, so that what is put there has
the form that R4 gives it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from clinical.errors import IncorrectInput
from fhir_adapters.definitions.structure import UnknownTypeError, structure_of

Json = dict[str, Any]

MAX_PATH = 1000
_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,63}"
_TEXT = r"'(?:[^'\\]|\\.)*'"
_TEST = re.compile(rf"\s*({_NAME}(?:\.{_NAME})*)\s*=\s*({_TEXT}|true|false|-?\d+(?:\.\d+)?)\s*")
_STEP = re.compile(
    rf"(?:(?P<call>first|last|where|ofType|extension)\((?P<inside>(?:{_TEXT}|[^()'])*)\)|(?P<name>{_NAME}))"
    r"(?:\[(?P<index>\d{1,6})\])?(?:\.|$)"
)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a path.

    name: of a member. call, inside: of a function. index: the item that is meant of them.
    """

    name: str = ""
    call: str = ""
    inside: str = ""
    index: int | None = None

    @property
    def is_member(self) -> bool:
        """True for a member without an index."""
        return bool(self.name) and self.index is None


@dataclass(frozen=True, slots=True)
class Place:
    """One element. parent: the object that it is a member of, None for the resource. key: its member there.

    name: as the standard has it, without the type of a choice. index: its place in a list. kind: its R4 type or
    backbone path; parent_kind: that of the parent.
    """

    value: Any
    kind: str
    parent: Json | None = None
    parent_kind: str = ""
    name: str = ""
    key: str = ""
    index: int | None = None


def steps_of(path: str) -> list[Step]:
    """Return the steps of a path. Raises IncorrectInput for one that says more than a place."""
    steps, at = [], 0
    if len(path) > MAX_PATH:
        raise IncorrectInput("the path is too long")
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None:
            raise IncorrectInput(
                "the path uses what this server does not read: members, [n], where(a = 'b'), first()"
            )
        index = None if found["index"] is None else int(found["index"])
        steps.append(Step(found["name"] or "", found["call"] or "", found["inside"] or "", index))
        at = found.end()
    if not steps or path.endswith("."):
        raise IncorrectInput("the path is empty")
    return steps


def places_at(resource: Json, steps: Sequence[Step]) -> list[Place]:
    """Return the places that a path names in a resource, in order; its first step is the resource's type."""
    kind = str(resource.get("resourceType"))
    if not steps or steps[0].name not in {kind, "Resource", "DomainResource"} or steps[0].index:
        raise IncorrectInput("the path begins with the type of the resource")
    places = [Place(resource, kind)]
    for step in steps[1:]:
        places = list(_stepped(places, step))
        if step.index is not None:
            places = places[step.index : step.index + 1]
    return places


def _stepped(places: Sequence[Place], step: Step) -> Iterator[Place]:
    if step.name:
        for place in places:
            yield from _members(place, step.name)
    elif step.call in {"first", "last"}:
        if step.inside.strip():
            raise IncorrectInput(f"{step.call}() takes nothing")
        yield from places[:1] if step.call == "first" else places[-1:]
    elif step.call == "where":
        tests = _tests(step.inside)
        yield from (place for place in places if all(_holds(place, names, wanted) for names, wanted in tests))
    elif step.call == "ofType":
        yield from (place for place in places if place.kind == step.inside.strip())
    else:
        url = _text(step.inside.strip())
        for place in places:
            yield from (one for one in _members(place, "extension") if _member(one.value, "url") == url)


def _members(place: Place, name: str) -> Iterator[Place]:
    if not isinstance(place.value, dict):
        return
    kind = str(place.value.get("resourceType", place.kind)) if place.kind == "Resource" else place.kind
    try:
        structure = structure_of(kind)
    except UnknownTypeError:
        return
    for key in dict(structure.choices).get(name + "[x]", (name,)):
        element = structure.elements.get(key)
        if element is None or key not in place.value:
            continue
        held = place.value[key]
        if isinstance(held, list):
            for number, item in enumerate(held):
                yield Place(item, element.kind, place.value, kind, name, key, number)
        else:
            yield Place(held, element.kind, place.value, kind, name, key)


def _tests(inside: str) -> list[tuple[list[str], object]]:
    tests, at = [], 0
    while True:
        found = _TEST.match(inside, at)
        if found is None:
            raise IncorrectInput("where() compares members with literals: where(system = 'x' and value = 'y')")
        tests.append((found[1].split("."), _literal(found[2])))
        at = found.end()
        if at == len(inside):
            return tests
        if not inside.startswith("and ", at):
            raise IncorrectInput("where() joins comparisons by and")
        at += len("and ")


def _holds(place: Place, names: Sequence[str], wanted: object) -> bool:
    places = [place]
    for name in names:
        places = [inner for one in places for inner in _members(one, name)]
    return any(_equals(one.value, wanted) for one in places)


def _equals(held: object, wanted: object) -> bool:
    if isinstance(wanted, float):  # a Decimal of the resource, and no boolean
        return isinstance(held, int | float | Decimal) and not isinstance(held, bool) and float(held) == wanted
    return type(held) is type(wanted) and held == wanted


def _literal(text: str) -> object:
    if text.startswith("'"):
        return _text(text)
    return text == "true" if text in {"true", "false"} else float(text)


def _text(quoted: str) -> str:
    if not re.fullmatch(_TEXT, quoted):
        raise IncorrectInput("a text stands in single quotes")
    return re.sub(r"\\(.)", r"\1", quoted[1:-1])


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None
