"""Answers that hold a part of each resource: `_summary` and `_elements` (R4 3.1.1.5.8, 3.1.1.5.9).

What stays is cut out of the stored bytes as it stands there; nothing is parsed and written again. Mandatory
elements and those that change the meaning of others always stay, and `meta.tag` says SUBSETTED, so that nobody
takes a part for the whole and writes it back.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial

from clinical.errors import IncorrectInput
from fhir_adapters import splice
from fhir_adapters.definitions.packed import unpacked
from fhir_adapters.definitions.structure import Structure, structure_of

_ALWAYS = ("resourceType", "id", "meta", "implicitRules")
_TAG = json.dumps(
    {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"},
    separators=(",", ":"),
)

Keep = Mapping[str, "Keep | None"]
"""Names that stay; of a part of the resource, which of its names."""
Cut = Callable[[str, bytes], bytes]
"""(type, stored bytes) -> what is served."""


def cut_of(summary: str, elements: tuple[str, ...], resource_types: Iterable[str]) -> Cut | None:
    """Return what makes the answer's resources of the stored ones, None when they are served whole.

    summary: as `results.SUMMARIES`. elements: as `name` or `Type.name`. resource_types: what is searched.

    Raises IncorrectInput for an element that none of the types has.
    """
    if elements:
        _demand_known(elements, resource_types)
        return partial(_only, elements)
    match summary:
        case "true":
            return lambda resource_type, body: _kept(body, _summary(resource_type))
        case "text":
            return lambda resource_type, body: _kept(body, _text(resource_type))
        case "data":
            return lambda _type, body: _kept(body, None)
        case _:
            return None


def _demand_known(elements: tuple[str, ...], resource_types: Iterable[str]) -> None:
    # Clients (fhirpy) name resourceType too; it is always there.
    known = {name for each in resource_types for name in (*_names(each), *structure_of(each).elements)}
    known.add("resourceType")
    unknown = [name for name in elements if "." not in name and name not in known]
    if unknown:
        raise IncorrectInput(
            "_elements names an element that the searched type does not have at its base", expression=["_elements"]
        )


def _only(elements: tuple[str, ...], resource_type: str, body: bytes) -> bytes:
    return _kept(body, _elements(elements, resource_type))


@cache
def _elements(elements: tuple[str, ...], resource_type: str) -> Keep:
    own = {name.partition(".")[2] or name for name in elements if name.split(".")[0] in (name, resource_type)}
    return dict.fromkeys((*_ALWAYS, *_forms(structure_of(resource_type), own), *_needed(resource_type)))


@cache
def _text(resource_type: str) -> Keep:
    return dict.fromkeys((*_ALWAYS, "text", *_needed(resource_type)))


@cache
def _summary(place: str) -> Keep:
    structure = structure_of(place)
    said, _ = _flags(place)
    names = {*_forms(structure, said), *_needed(place)}
    top = _ALWAYS if structure.is_resource else ("id",)
    return dict.fromkeys(top) | {name: _part(structure, name) for name in sorted(names)}


def _part(structure: Structure, name: str) -> Keep | None:
    """Return what stays of an element that is a part of the resource; None when all of it does."""
    kind = structure.elements[name].kind if name in structure.elements else ""
    if "." not in kind:
        return None
    # A part of which no element is marked is in a summary as a whole: of nothing there would be nothing left.
    return _summary(kind) if set(_flags(kind)[0]) - {"modifierExtension"} else None


def _needed(place: str) -> list[str]:
    structure = structure_of(place)
    return [*(form for _, forms in structure.required for form in forms), *_forms(structure, _flags(place)[1])]


def _names(resource_type: str) -> list[str]:
    return [said.removesuffix("[x]") for said, _ in structure_of(resource_type).choices]


def _forms(structure: Structure, names: Iterable[str]) -> list[str]:
    """Return the names under which elements stand: a choice's are many."""
    choices = {said.removesuffix("[x]"): forms for said, forms in structure.choices}
    return [form for name in names for form in choices.get(name.removesuffix("[x]"), (name,))]


def _kept(body: bytes, keep: Keep | None) -> bytes:
    """Return the resource with what stays, tagged. keep: None for everything but the narrative."""
    text = body.decode()
    parts = []
    for name, (start, end) in splice.members(text, 0).items():
        bare = name.removeprefix("_")
        if name == "meta":
            parts.append(f'"meta":{_tagged(text[start:end])}')
        elif (name != "text") if keep is None else (bare in keep):
            inner = None if keep is None else keep[bare]
            value = text[start:end] if inner is None else _inner(text, start, end, inner)
            parts.append(f"{json.dumps(name)}:{value}")
    return ("{" + ",".join(parts) + "}").encode()


def _inner(text: str, start: int, end: int, keep: Keep) -> str:
    if text[start] == "[":
        return "[" + ",".join(_inner(text, *span, keep) for span in splice.items(text, start)) + "]"
    if text[start] != "{":  # null beside a value, in a list of primitives' extensions
        return text[start:end]
    parts = []
    for name, (first, last) in splice.members(text, start).items():
        bare = name.removeprefix("_")
        if bare in keep:
            inner = keep[bare]
            parts.append(
                f"{json.dumps(name)}:{text[first:last] if inner is None else _inner(text, first, last, inner)}"
            )
    return "{" + ",".join(parts) + "}"


def _tagged(meta: str) -> str:
    found = splice.members(meta, 0)
    if "tag" not in found:
        return meta[: meta.rindex("}")] + ("," if found else "") + f'"tag":[{_TAG}]' + "}"
    _, end = found["tag"]
    # The place of the list's closing bracket: a tag list is never empty in a valid resource.
    return meta[: end - 1] + "," + _TAG + meta[end - 1 :]


def _flags(place: str) -> tuple[list[str], list[str]]:
    """Return the names that a summary holds of a resource or a part, and those that modify the others."""
    said, modifiers = _table().get(place, ([], []))
    return said, modifiers


@cache
def _table() -> dict[str, tuple[list[str], list[str]]]:
    table: dict[str, tuple[list[str], list[str]]] = unpacked("summary.json.xz")
    return table
