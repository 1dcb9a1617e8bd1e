"""FHIRPath Patch: a Parameters of operations on a resource (R4 3.1.0.6.3, fhirpatch).

Of FHIRPath a path may have what names places: members, [n], first(), last(), where(member = literal and ...),
ofType(T), extension('url'). A choice is named without its type (`Observation.value`); the operation's value
decides the type that it gets. What a path means is followed along the definitions, so that a list stays a list.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clinical.errors import IncorrectInput
from fhir_adapters.definitions.structure import Element, UnknownTypeError, structure_of
from fhir_adapters.rest.fhirpath_place import Place, places_at, steps_of

Json = dict[str, Any]

MAX_OPERATIONS = 1000
_NEEDS: Mapping[str, frozenset[str]] = {
    "add": frozenset({"path", "name", "value"}),
    "insert": frozenset({"path", "index", "value"}),
    "delete": frozenset({"path"}),
    "replace": frozenset({"path", "value"}),
    "move": frozenset({"path", "source", "destination"}),
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. number: its place. parts: what it was given, by name; `value` as (type, value)."""

    number: int
    kind: str
    parts: Mapping[str, Any]

    def wrong(self, text: str) -> IncorrectInput:
        """Return the error of this operation. text: never what the resource says."""
        return IncorrectInput(
            f"operation {self.number + 1} ({self.kind}): {text}",
            expression=[f"Parameters.parameter[{self.number}]"],
        )


def fhirpath_patch(parameters: Mapping[str, Any]) -> Callable[[Json], object]:
    """Return what a Parameters does to a resource. Raises IncorrectInput, then and when it is done."""
    listed = parameters.get("parameter")
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_OPERATIONS:
        raise IncorrectInput(f"a FHIRPath Patch is a Parameters of 1 to {MAX_OPERATIONS} operations")
    operations = [_operation(number, one) for number, one in enumerate(listed)]

    def apply(resource: Json) -> object:
        for one in operations:
            _DO[one.kind](one, resource)
        return resource

    return apply


def _operation(number: int, listed: object) -> Operation:
    parts: dict[str, Any] = {}
    if isinstance(listed, dict) and listed.get("name") == "operation":
        for part in listed.get("part") or ():
            if isinstance(part, dict) and isinstance(part.get("name"), str):
                parts[part["name"]] = _value(part) if part["name"] == "value" else _plain(part)
    kind = str(parts.pop("type", ""))
    operation = Operation(number, kind, parts)
    if kind not in _NEEDS:
        raise operation.wrong("its type is one of " + ", ".join(_NEEDS))
    if missing := sorted(_NEEDS[kind] - parts.keys()):
        raise operation.wrong("it needs " + ", ".join(missing))
    if not isinstance(parts["path"], str):
        raise operation.wrong("path is a FHIRPath string")
    for name in ("index", "source", "destination"):
        if name in parts and (
            isinstance(parts[name], bool) or not isinstance(parts[name], int) or parts[name] < 0
        ):
            raise operation.wrong(f"{name} is a number from 0 on")
    return operation


def _plain(part: Json) -> object:
    return next((value for name, value in part.items() if name.startswith("value")), None)


def _value(part: Json) -> tuple[str, object]:
    """Return (type, value) of a parameter: its value[x], or the element that its parts make ("")."""
    for name, value in part.items():
        if name.startswith("value"):
            return name.removeprefix("value"), value
    return "", part.get("part") or []


def _one(operation: Operation, resource: Json, *, missing_is_fine: bool = False) -> Place | None:
    try:
        found = places_at(resource, steps_of(operation.parts["path"]))
    except IncorrectInput as error:
        raise operation.wrong(error.message) from None
    if not found and missing_is_fine:
        return None
    if len(found) != 1:
        raise operation.wrong(
            "the path must name one element" + (", and names several" if found else " that is there")
        )
    return found[0]


def _add(operation: Operation, resource: Json) -> None:
    place = _one(operation, resource)
    name = operation.parts["name"]
    if place is None or not isinstance(place.value, dict) or not isinstance(name, str):
        raise operation.wrong("the path must name an object, and name an element of it")
    element, key, value = _made(operation, place.kind, name)
    if element.many:
        place.value.setdefault(key, [])
        place.value[key].append(value)
        _beside(place.value, key, lambda held: held.append(None))
    elif any(form in place.value for form in _forms(place.kind, name)):
        raise operation.wrong("the element is there already: replace it")
    else:
        place.value[key] = value


def _insert(operation: Operation, resource: Json) -> None:
    parent, name, kind = _list_at(operation, resource)
    element, key, value = _made(operation, kind, name)
    held = parent.setdefault(key, []) if element.many else None
    index = operation.parts["index"]
    if held is None:
        raise operation.wrong("the path names no list")
    if index > len(held):
        raise operation.wrong("the index is beyond the end of the list")
    held.insert(index, value)
    _beside(parent, key, lambda others: others.insert(index, None))


def _delete(operation: Operation, resource: Json) -> None:
    place = _one(operation, resource, missing_is_fine=True)
    if place is not None:
        _remove(operation, place)


def _replace(operation: Operation, resource: Json) -> None:
    place = _one(operation, resource)
    if place is None or place.parent is None:
        raise operation.wrong("the whole resource cannot be replaced")
    _, key, value = _made(operation, place.parent_kind, place.name)
    if place.index is not None:
        place.parent[place.key][place.index] = value
        return
    members = list(place.parent.items())
    place.parent.clear()  # in place, and where it stood: members keep their order
    for name, held in members:
        if name == place.key:
            place.parent[key] = value
        elif name != "_" + place.key:
            place.parent[name] = held


def _move(operation: Operation, resource: Json) -> None:
    parent, key, _ = _list_at(operation, resource)
    held = parent.get(key)
    source, destination = operation.parts["source"], operation.parts["destination"]
    if not isinstance(held, list) or max(source, destination) >= len(held):
        raise operation.wrong("source and destination must be places of the list")
    held.insert(destination, held.pop(source))
    _beside(parent, key, lambda others: others.insert(destination, others.pop(source)))


_DO: Mapping[str, Callable[[Operation, Json], None]] = {
    "add": _add,
    "insert": _insert,
    "delete": _delete,
    "replace": _replace,
    "move": _move,
}


def _remove(operation: Operation, place: Place) -> None:
    parent, index = place.parent, place.index
    if parent is None:
        raise operation.wrong("the whole resource cannot be deleted by a patch")
    if index is None:
        parent.pop(place.key, None)
        parent.pop("_" + place.key, None)
        return
    parent[place.key].pop(index)
    _beside(parent, place.key, lambda others: others.pop(index))
    if not parent[place.key]:
        parent.pop(place.key)
        parent.pop("_" + place.key, None)


def _beside(parent: Json, key: str, change: Callable[[list[Any]], object]) -> None:
    """Keep what stands beside the values of a list of primitives in step with them (R4 2.6.2)."""
    others = parent.get("_" + key)
    if isinstance(others, list):
        change(others)


def _list_at(operation: Operation, resource: Json) -> tuple[Json, str, str]:
    """Return (object, member, kind of the object) of a list that need not be there yet."""
    try:
        steps = steps_of(operation.parts["path"])
        owners = places_at(resource, steps[:-1])
    except IncorrectInput as error:
        raise operation.wrong(error.message) from None
    if len(steps) < 2 or not steps[-1].is_member or len(owners) != 1 or not isinstance(owners[0].value, dict):
        raise operation.wrong("the path must name a list of one element")
    return owners[0].value, steps[-1].name, owners[0].kind


def _made(operation: Operation, kind: str, name: str) -> tuple[Element, str, object]:
    """Return (element, member, value) of what an operation puts under a name of an object of this kind."""
    given, value = operation.parts["value"]
    elements = _elements(operation, kind)
    element = elements.get(name) or elements.get(name + given)
    if element is None:
        raise operation.wrong("R4 has no such element there, or not of the value's type")
    if given:
        return element, element.name, value
    return element, element.name, _object_of(operation, element.kind, value)


def _object_of(operation: Operation, kind: str, parts: Sequence[object]) -> Json:
    """Return the object that the parts of a value make (an element that has no value[x] of its own)."""
    made: Json = {}
    for part in parts:
        if not isinstance(part, dict) or not isinstance(part.get("name"), str):
            raise operation.wrong("the parts of a value have names")
        given, value = _value(part)
        elements = _elements(operation, kind)
        element = elements.get(part["name"]) or elements.get(part["name"] + given)
        if element is None:
            raise operation.wrong("a part of the value is no element of R4 there")
        held = value if given else _object_of(operation, element.kind, value if isinstance(value, list) else [])
        if element.many:
            made.setdefault(element.name, []).append(held)
        else:
            made[element.name] = held
    return made


def _elements(operation: Operation, kind: str) -> Mapping[str, Element]:
    try:
        return structure_of(kind).elements
    except UnknownTypeError:
        raise operation.wrong("nothing can be put there") from None


def _forms(kind: str, name: str) -> Iterable[str]:
    """Return the members under which an element of a kind may stand."""
    structure = structure_of(kind)
    return dict(structure.choices).get(name + "[x]", (name,))
