"""A profile as the validator asks it: what its snapshot says beyond R4 itself, as a tree (R4 5.1).

A snapshot repeats every element of the base; kept are those that say more: counts, fixed values, patterns,
narrower types and targets, required value sets, slices. Of invariants only the names are kept, those that the base
has left out: they are FHIRPath, and `validation.profiles` knows which of them it can judge.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from clinical.errors import IncorrectInput
from fhir_adapters.definitions.structure import Codes

Json = Mapping[str, Any]
CORE = "http://hl7.org/fhir/StructureDefinition/"


@dataclass(frozen=True, slots=True)
class Slicing:
    """How the items of a list (or the forms of a choice) are told apart.

    by: (kind, path) of each discriminator. closed: nothing else may stand there.
    """

    by: tuple[tuple[str, str], ...]
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """What tells a slice by one discriminator: the values at `steps` meet one of the leaves, or the `urls`."""

    how: str
    steps: tuple[str, ...] = ()
    leaves: tuple["Node", ...] = ()
    urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """What a profile says of one element, or of one slice of it.

    name: as in the standard ("value[x]"). least, most: counts, `most` None for any number. kinds: the types that a
    choice may have, empty for what R4 allows. targets: likewise of a Reference. fixed: the whole value.
    pattern: what at least must be in it. binding: as `structure.Element.binding`. profiles: of an extension slice.
    rules: keys of invariants that the base has not. slice_name: "" for the element itself. marks: of a slice.
    """

    name: str
    least: int = 0
    most: int | None = None
    kinds: frozenset[str] = frozenset()
    targets: frozenset[str] = frozenset()
    fixed: object = field(default=None)
    pattern: object = field(default=None)
    binding: Codes | None = None
    value_set: str = ""
    profiles: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    children: tuple["Node", ...] = ()
    slicing: Slicing | None = None
    slices: tuple["Node", ...] = ()
    slice_name: str = ""
    marks: tuple[Mark, ...] = ()

    @property
    def says_something(self) -> bool:
        """False when R4 says all of it already."""
        return self != Node(self.name, slicing=self.slicing, slice_name=self.slice_name)

    @property
    def is_choice(self) -> bool:
        """True for an element whose name in JSON ends with its type."""
        return self.name.endswith("[x]")


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile. root: the node of the resource itself."""

    url: str
    type: str
    root: Node


ValueSets = Callable[[str], Codes | None]


def profile_of(definition: Json, value_set: ValueSets, type_of: Mapping[str, str]) -> Profile:
    """Return the profile of a StructureDefinition.

    value_set: a required value set by its URL, None for one that cannot be listed: it is not checked then.
    type_of: the type that each other profile is of, for the targets of references.

    Raises IncorrectInput for a definition without a snapshot.
    """
    rows = definition.get("snapshot", {}).get("element")
    if not rows:
        raise IncorrectInput("a profile needs its snapshot: publish it with one (StructureDefinition.snapshot)")
    reader = _Reader(rows, value_set, type_of)
    return Profile(definition["url"], definition["type"], reader.node(rows[0]["id"]))


class _Reader:
    """Puts the flat list of a snapshot's elements together again."""

    def __init__(self, rows: Sequence[Json], value_set: ValueSets, type_of: Mapping[str, str]) -> None:
        self._rows = {row["id"]: row for row in rows}
        self._value_set, self._type_of = value_set, type_of
        self._children: dict[str, list[str]] = {}
        self._slices: dict[str, list[str]] = {}
        for identity in self._rows:
            above, _, last = identity.rpartition(".")
            sliced, colon, _ = last.rpartition(":")
            if colon:
                self._slices.setdefault(f"{above}.{sliced}" if above else sliced, []).append(identity)
            elif above:
                self._children.setdefault(above, []).append(identity)

    def node(self, identity: str) -> Node:
        """Return one element with what is within it."""
        row = self._rows[identity]
        base = row.get("base", {})
        slice_name = row.get("sliceName", "") if ":" in identity.rpartition(".")[2] else ""
        kinds = row.get("type", ())
        binding = self._binding(row)
        name = row["path"].rpartition(".")[2]
        return Node(
            name=name,
            # A slice has no base of its own: what it says counts.
            least=row["min"] if slice_name or row["min"] != base.get("min", 0) else 0,
            most=_most(row["max"]) if slice_name or row["max"] != base.get("max", row["max"]) else None,
            kinds=frozenset(one["code"] for one in kinds) if name.endswith("[x]") else frozenset(),
            targets=self._targets(kinds),
            fixed=_said(row, "fixed"),
            pattern=_said(row, "pattern"),
            binding=binding[1],
            value_set=binding[0],
            profiles=tuple(url for one in kinds for url in one.get("profile", ()) if one["code"] == "Extension"),
            rules=tuple(one["key"] for one in row.get("constraint", ()) if _is_added(one)),
            children=self._saying(self._children.get(identity, ())),
            slicing=(slicing := _slicing(row)),
            slices=tuple(_marked(self.node(one), slicing) for one in self._slices.get(identity, ())),
            slice_name=slice_name,
        )

    def _saying(self, identities: Iterable[str]) -> tuple[Node, ...]:
        return tuple(node for node in map(self.node, identities) if node.says_something)

    def _targets(self, kinds: Iterable[Json]) -> frozenset[str]:
        said = [url for one in kinds if one["code"] == "Reference" for url in one.get("targetProfile", ())]
        found = {self._type_of.get(url) or _core_type(url) for url in said}
        # One that we do not know may stand for any type: then nothing can be refused.
        return frozenset() if "" in found or "Resource" in found else frozenset(found)

    def _binding(self, row: Json) -> tuple[str, Codes | None]:
        binding = row.get("binding", {})
        url = str(binding.get("valueSet", "")).split("|")[0]
        if binding.get("strength") != "required" or not url:
            return "", None
        return url, self._value_set(url)


def _core_type(url: str) -> str:
    name = url.removeprefix(CORE)
    return name if name != url and name[:1].isupper() and "/" not in name else ""


def _most(text: str) -> int | None:
    return None if text == "*" else int(text)


def _said(row: Json, how: str) -> object:
    return next((value for name, value in row.items() if name.startswith(how)), None)


def _is_added(constraint: Json) -> bool:
    source = constraint.get("source", "")
    return constraint.get("severity") == "error" and not _core_type(source) and constraint["key"] not in _BASE


# What the base itself says, as snapshots repeat it without a source.
_BASE = frozenset({"ele-1", "ext-1", *(f"dom-{number}" for number in range(2, 7))})


def _slicing(row: Json) -> Slicing | None:
    slicing = row.get("slicing")
    if slicing is None or row.get("path", "").endswith((".extension", ".modifierExtension")):
        return None if slicing is None else Slicing((("url", "url"),), slicing.get("rules") == "closed")
    by = tuple((one["type"], one["path"]) for one in slicing.get("discriminator", ()))
    return Slicing(by, slicing.get("rules") == "closed")


def _marked(one: Node, slicing: Slicing | None) -> Node:
    return replace(one, marks=tuple(_mark(one, how, path) for how, path in slicing.by)) if slicing else one


def _mark(one: Node, how: str, path: str) -> Mark:
    if how == "url":
        urls = one.profiles or tuple(str(leaf.fixed) for leaf in one.children if leaf.name == "url")
        return Mark(how, urls=urls)
    steps = () if path == "$this" else tuple(path.split("."))
    return Mark(how, steps, tuple(_leaves(one, steps)))


def _leaves(node: Node, steps: Sequence[str]) -> Iterator[Node]:
    """Yield the nodes at the end of a discriminator's path that say what must stand there."""
    if node.fixed is not None or node.pattern is not None or (not steps and node.binding is not None):
        yield _reached(node, steps)
    elif steps:
        for child in node.children:
            if child.name == steps[0]:
                for inner in (child, *child.slices):
                    yield from _leaves(inner, steps[1:])


def _reached(node: Node, steps: Sequence[str]) -> Node:
    """Return a node that says what stands at the rest of the path within what this one fixes."""
    whole = node.fixed if node.fixed is not None else node.pattern
    for step in steps:
        whole = whole[0] if isinstance(whole, list) and whole else whole
        whole = whole.get(step) if isinstance(whole, dict) else None
    return Node(node.name, pattern=whole, binding=node.binding, value_set=node.value_set)
