"""A resource without the people in it. Pure; what was dropped is counted, by what it was."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clinical.destination_pseudonyms import Pseudonyms
from fhir_adapters.definitions.structure import Element, Structure, UnknownTypeError, structure_of
from fhir_adapters.research.dates import Shift
from fhir_adapters.research.rules import DROPPED, LEFT_OUT, MASKED, Left, rule_of

Json = dict[str, Any]
Known = Callable[[str, str], str | None]

PROFILES = frozenset({"http://hl7.org/fhir/StructureDefinition/vitalsigns"})


@dataclass(frozen=True, slots=True)
class Aims:
    """What an export holds fast. known: (type, id) -> the id that it has there, None when it is left out.

    systems: code systems besides the usual ones whose codes are kept. profiles: names of profiles that are kept.
    """

    names: Pseudonyms
    known: Known
    base_url: str = ""
    systems: frozenset[str] = frozenset()
    profiles: frozenset[str] = PROFILES


@dataclass(slots=True)
class Work:
    """One resource. shift: the calendar of the one patient that it is of; None when it is nobody's."""

    aims: Aims
    shift: Shift | None
    dropped: Counter[str] = field(default_factory=Counter)
    contained: Mapping[str, str] = field(default_factory=dict)

    def drop(self, what: str) -> Left:
        """Count something, and return what says that it is dropped."""
        self.dropped[what] += 1
        return DROPPED

    def resource(self, value: Mapping[str, Any], new_id: str) -> Left:
        """Return the resource under its new id, or DROPPED."""
        kind = value.get("resourceType")
        if not isinstance(kind, str) or kind in LEFT_OUT:
            return self.drop("resource of a type that is left out")
        self.contained = _local_ids(value)
        left = self.part(kind, {name: one for name, one in value.items() if name not in ("resourceType", "id")})
        if left is DROPPED:
            if "modifierExtension" in value:
                return DROPPED
            left = {}  # nothing but people and words: what points to it still finds it
        return {"resourceType": kind, "id": new_id} | left

    def inner(self, value: object) -> Left:
        """Return a resource within another one: a contained one, or one that stands for itself (in a Bundle)."""
        held = value if isinstance(value, dict) else {}
        kind, name = held.get("resourceType"), held.get("id")
        if not isinstance(kind, str) or not isinstance(name, str):
            return self.drop("resource without an id")
        new_id = self.contained.get(name) or self.aims.known(kind, name)
        if new_id is None:
            return self.drop("resource that is left out")
        outer, left = self.contained, DROPPED
        if kind not in LEFT_OUT:
            inner = {name: one for name, one in held.items() if name not in ("resourceType", "id")}
            self.contained = outer or _local_ids(held)
            left = self.part(kind, inner)
            self.contained = outer
        return (
            self.drop("resource that is left out")
            if left is DROPPED
            else {"resourceType": kind, "id": new_id} | left
        )

    def part(self, kind: str, value: object) -> Left:
        """Return what is left of an object of this type or backbone; DROPPED when nothing is."""
        try:
            structure = structure_of(kind)
        except UnknownTypeError:
            return self.drop("type that R4 does not have")
        if not isinstance(value, dict):
            return self.drop(kind)
        if "modifierExtension" in value:
            # What is not understood may turn the meaning of all around it.
            return self.drop("element with a modifierExtension")
        left: Json = {}
        for name, held in value.items():
            element = structure.elements.get(name)
            made = self.drop("member that is no element") if element is None else self._held(kind, element, held)
            if made is not DROPPED:
                left[name] = made
        self._mask(structure, value, left)
        return left or DROPPED

    def _held(self, place: str, element: Element, held: object) -> Left:
        if not element.many:
            return self._one(place, element, held)
        if not isinstance(held, list):
            return self.drop(element.kind)
        made = [self._one(place, element, one) for one in held]
        return [one for one in made if one is not DROPPED] or DROPPED

    def _one(self, place: str, element: Element, held: object) -> Left:
        rule = rule_of(place, element)
        return self.drop(f"{element.kind} (no rule)") if rule is None else rule(self, element, held)

    def _mask(self, structure: Structure, value: Mapping[str, Any], left: Json) -> None:
        """Say of elements that must be there, and were, that they are masked: readers look for them."""
        if structure.name in ("Extension", "Reference", "Coding"):
            return
        for _said, names in structure.required:
            if any(name in left for name in names):
                continue
            for name in names:
                element = structure.elements[name]
                if name in value and element.kind != "Resource":
                    mask = {"extension": [dict(MASKED)]}
                    at = f"_{name}" if element.is_primitive else name
                    left[at] = [mask] if element.many else mask
                    break


def _local_ids(value: Mapping[str, Any]) -> dict[str, str]:
    """Return new names for contained resources, by the old ones."""
    held = value.get("contained")
    names = [one.get("id") for one in held if isinstance(one, dict)] if isinstance(held, list) else []
    return {name: f"c{number + 1}" for number, name in enumerate(names) if isinstance(name, str)}
