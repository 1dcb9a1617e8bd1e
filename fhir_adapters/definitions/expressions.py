"""The FHIRPath of R4's search parameters, read once at build time: which elements of a type an expression means.

The forms: `Type.a.b`, `(Type.a as X)` and `.as(X)` (a choice's form), `.where(system='phone')`,
`.where(resolve() is X)`, `[0]`, a union with `|`, and `Patient.deceased`'s `exists() and != false`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from fhir_adapters.definitions.structure import Element, UnknownTypeError, structure_of

# What each kind of search can compare (R4 3.1.1.4.4 to 3.1.1.4.14), by the type of the element.
_CONCEPTS = ("Coding", "CodeableConcept", "Identifier", "ContactPoint")
_WORDS = ("code", "id", "uri", "url", "oid", "uuid", "canonical", "string", "boolean")
COMPARABLE = {
    "token": frozenset((*_CONCEPTS, *_WORDS, "integer", "positiveInt", "unsignedInt", "PresenceOfTrue")),
    "string": frozenset(("string", "markdown", "HumanName", "Address", "CodeableConcept")),
    "date": frozenset(("date", "dateTime", "instant", "Period", "Timing")),
    "reference": frozenset(("Reference", "canonical", "uri", "url", "oid")),
    "quantity": frozenset(("Quantity", "Age", "Count", "Distance", "Duration", "Money", "Range", "SampledData")),
    "number": frozenset(("decimal", "integer", "positiveInt", "unsignedInt", "Range")),
    "uri": frozenset(("uri", "url", "oid", "uuid", "canonical")),
}
_PRESENT = re.compile(r"(?P<path>[\w.]+)\.exists\(\) and (?P=path) != false")
_STEP = re.compile(
    r"\.(?:as\((?P<form>\w+)\)|where\(resolve\(\) is (?P<target>\w+)\)"
    r"|where\((?P<key>\w+) ?= ?'(?P<value>[^']+)'\)|(?P<name>\w+))|\[(?P<at>\d+)\]"
)


class NotCompiled(ValueError):
    """An expression, or what stands there, is of no form that can be compiled."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to look. path: members with dots and choices. type: of what stands there. target: a reference's.

    systems: what a code there can be, by the system of its required binding. many: there may be several.
    """

    path: str
    type: str
    target: str = ""
    systems: dict[str, tuple[str, ...]] = field(default_factory=dict)
    many: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """An element on the way. kind: its type. choice: of a choice whose form is not chosen yet, its elements."""

    path: str
    kind: str
    element: Element | None = None
    target: str = ""
    choice: tuple[Element, ...] = ()
    many: bool = False


def places_of(expression: str, resource_type: str, kind: str) -> list[Place]:
    """Return the places of one type that an expression names and a kind of search can compare.

    Raises NotCompiled for a form that is not known here.
    """
    if present := _PRESENT.fullmatch(expression):
        return [
            replace(place, type="PresenceOfTrue")
            for found in _ends(present["path"], resource_type)
            for place in _open(found)
        ]
    found = [
        place
        for part in expression.split("|")
        if (own := _own(part.strip(), resource_type))
        for end in _ends(own, resource_type)
        for place in _open(end)
    ]
    return list({(one.path, one.target): one for one in found if one.type in COMPARABLE[kind]}.values())


def _own(part: str, resource_type: str) -> str:
    """Return one branch of a union as `Type.a.as(X)`, "" when it is of another type."""
    flat = re.sub(r"\(([\w.]+) as (\w+)\)", r"\1.as(\2)", part)
    if re.fullmatch(r"[a-z]\w*", flat):  # R4 leaves the type out in InsurancePlan-name
        flat = f"{resource_type}.{flat}"
    if not re.fullmatch(r"\w+(?:\.\w+\([^)]*(?:\(\))?[^)]*\)|\.\w+|\[\d+\])*", flat):
        raise NotCompiled("its expression has an unknown form")
    return flat if re.match(r"\w+", flat)[0] == resource_type else ""  # type: ignore[index]


def _ends(expression: str, resource_type: str) -> Iterator[_Found]:
    at = [_Found("", resource_type)]
    rest = expression.removeprefix(resource_type)
    while rest:
        step = _STEP.match(rest)
        if step is None:
            raise NotCompiled("its expression has an unknown form")
        at = [after for one in at for after in _after(one, step)]
        rest = rest[step.end() :]
    yield from at


def _after(found: _Found, step: re.Match[str]) -> Iterator[_Found]:
    if step["form"]:
        form = step["form"]
        for element in found.choice:
            # DateTime for dateTime is how R4 writes it in one place.
            if element.kind.lower() == form.lower():
                path = _beside(found.path, element.name)
                yield replace(found, path=path, kind=element.kind, element=element, choice=())
    elif step["target"]:
        yield replace(found, target=step["target"])
    elif step["key"]:
        yield replace(found, path=f"{found.path}[{step['key']}={step['value']}]")
    elif step["at"]:
        yield replace(found, path=f"{found.path}[{step['at']}]")
    else:
        for one in _open_elements(found):
            # Of a choice, the forms that have such a member.
            if not found.choice or _has(one.kind, step["name"]):
                yield _member(one, step["name"])


def _has(kind: str, name: str) -> bool:
    try:
        return name in structure_of(kind).elements
    except UnknownTypeError:
        return False


def _member(found: _Found, name: str) -> _Found:
    if found.kind == "Coding" and name == "code":
        return found  # a token is compared with its system
    try:
        elements = structure_of(found.kind).elements
    except UnknownTypeError:
        raise NotCompiled(f"{found.kind} has no elements") from None
    path = f"{found.path}.{name}" if found.path else name
    if name in elements:
        return _Found(path, elements[name].kind, elements[name], many=found.many or elements[name].many)
    forms = dict(structure_of(found.kind).choices).get(f"{name}[x]")
    if not forms:
        raise NotCompiled(f"{found.kind} has no {name}")
    return _Found(path, "", choice=tuple(elements[form] for form in forms), many=found.many)


def _open_elements(found: _Found) -> list[_Found]:
    if not found.choice:
        return [found]
    return [
        replace(found, path=_beside(found.path, one.name), kind=one.kind, element=one, choice=())
        for one in found.choice
    ]


def _open(found: _Found) -> list[Place]:
    return [
        Place(one.path, one.kind, one.target, _systems(one.element, one.kind), one.many)
        for one in _open_elements(found)
    ]


def _systems(element: Element | None, kind: str) -> dict[str, tuple[str, ...]]:
    """Return the systems that a code is of by its required binding; nothing for what names its own."""
    if element is None or kind != "code" or not element.binding:
        return {}
    return {system: tuple(sorted(codes or ())) for system, codes in sorted(element.binding.items())}


def _beside(path: str, name: str) -> str:
    owner, _, _ = path.rpartition(".")
    return f"{owner}.{name}" if owner else name
