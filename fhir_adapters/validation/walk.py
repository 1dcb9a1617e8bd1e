"""Every element of a resource against the R4 definitions: names, cardinality, forms, values, codes, references.

One pass. A path is written only when something is wrong with what stands there.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from fhir_adapters.definitions.structure import Element, Structure, UnknownTypeError, structure_of
from fhir_adapters.validation import problem as issue
from fhir_adapters.validation.invariants import INVARIANTS
from fhir_adapters.validation.primitives import CHECKS
from fhir_adapters.validation.problem import Problem
from fhir_adapters.validation.references import Links, contained_problems, reference_problems
from fhir_adapters.validation.terminology import (
    code_is_bound,
    coding_is_bound,
    codings_of,
    is_unknown,
    may_be_newer,
    unit_is_unknown,
)

Json = Mapping[str, Any]

MAX_PROBLEMS = 100
_ELEMENT_NAME = re.compile("_?[A-Za-z][A-Za-z0-9]{0,63}")
_CODED = frozenset({"CodeableConcept", "Coding", "Quantity"})


class Walk:
    """One validation. problems: what was found, at most MAX_PROBLEMS."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._path: list[str | int] = []
        self._links = Links()

    def resource(self, value: object, *, expected: str | None = None) -> None:
        """Check one resource; expected: the type that it must be."""
        if not isinstance(value, dict):
            self.say(issue.STRUCTURE, "must be a resource: a JSON object")
            return
        kind = value.get("resourceType")
        if not isinstance(kind, str) or (expected is not None and kind != expected):
            self.say(issue.STRUCTURE, f"must be {expected or 'a resource type'} here", "resourceType")
            return
        try:
            structure = structure_of(kind)
        except UnknownTypeError:
            structure = None
        if structure is None or not structure.is_resource:
            self.say(issue.STRUCTURE, "is no resource of R4 (4.0.1)", "resourceType")
            return
        if not self._path:
            self._path.append(kind)
        self._object(structure, value)

    def say(self, code: str, text: str, *within: str | int, severity: str = "error") -> None:
        """Note a problem of what the walk is at, or of what stands `within` it."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(code, _written([*self._path, *within]), text, severity))

    def _object(self, structure: Structure, value: Json) -> None:
        elements, path = structure.elements, self._path
        if not value:
            self.say(issue.STRUCTURE, "must not be empty")
        for name, held in value.items():
            element = elements.get(name)
            if element is None:
                self._unnamed(structure, value, name, held)
                continue
            path.append(name)
            if element.many:
                self._list(element, held, value.get("_" + name))
            elif held.__class__ is list:
                self.say(issue.STRUCTURE, "must stand once, not as a list")
            else:
                self._one(element, held)
            path.pop()
        for said, names in structure.required:
            if not any(name in value or "_" + name in value for name in names):
                self.say(issue.REQUIRED, "is required", said)
        for said, names in structure.choices:
            if sum(name in value or "_" + name in value for name in names) > 1:
                self.say(issue.STRUCTURE, "may stand in one form only", said)
        for rule in INVARIANTS.get(structure.name, ()):
            if not rule.holds(value):
                self.say(issue.INVARIANT, f"{rule.text} ({rule.key})", *rule.at)

    def _list(self, element: Element, held: object, beside: object) -> None:
        if not isinstance(held, list):
            self.say(issue.STRUCTURE, "must be a list")
            return
        if not held:
            self.say(issue.STRUCTURE, "must not be an empty list")
        if element.limit is not None and len(held) > element.limit:
            self.say(issue.STRUCTURE, f"must not stand more than {element.limit} times")
        for number, item in enumerate(held):
            if item is None and element.is_primitive and _part(beside, number) is not None:
                continue
            self._path.append(number)
            self._one(element, item)
            self._path.pop()

    def _one(self, element: Element, held: object) -> None:
        if element.is_primitive:
            self._primitive(element, held)
        elif not isinstance(held, dict):
            self.say(issue.STRUCTURE, "must be an object")
        elif element.kind == "Resource":
            self._inner(held)
        else:
            self._object(structure_of(element.kind), held)
            if element.kind in _CODED:
                self._coded(element, held)
            elif element.kind == "Reference":
                for text in reference_problems(held, element.targets):
                    self.say(issue.STRUCTURE, text, "reference")
                self._links.points_to(held.get("reference"), tuple(self._path))

    def _primitive(self, element: Element, held: object) -> None:
        wrong = CHECKS[element.kind](held)
        if wrong:
            self.say(issue.VALUE, wrong)
        elif element.binding is not None and not code_is_bound(str(held), element.binding, element.value_set):
            self.say(issue.CODE_INVALID, f"must be a code of {element.value_set}")
        elif element.kind in ("uri", "canonical", "url") and str(held).startswith("#"):
            self._links.mentions(str(held))

    def _coded(self, element: Element, held: Json) -> None:
        codings = list(codings_of(held, element.kind))
        if element.simple and "comparator" in held:
            self.say(issue.INVARIANT, "may have no comparator here (sqty-1)")
        if element.binding and not any(coding_is_bound(one, element.binding) for one in codings):
            self.say(issue.CODE_INVALID, f"must hold a code of {element.value_set}")
        if element.kind == "Quantity":
            if unit_is_unknown(held):
                self.say(issue.CODE_INVALID, "must be a unit of UCUM", "code")
            return
        for one in codings:
            if is_unknown(one.get("system"), one.get("code")):
                severity = "warning" if may_be_newer(one["system"]) else "error"
                self.say(issue.CODE_INVALID, "holds a code that its code system does not have", severity=severity)

    def _inner(self, held: Json) -> None:
        """A contained resource belongs to its container; one in a Bundle or Parameters stands for itself."""
        if self._path[-2:-1] == ["contained"]:
            self._links.contains(held.get("id"), tuple(self._path))
            self._links.within(held.get("id"))
            self.resource(held)
            self._links.within(None)
            for key, text in contained_problems(held):
                self.say(issue.INVARIANT, f"{text} ({key})")
            return
        outer, self._links = self._links, Links()
        self.resource(held)
        self.finish()
        self._links = outer

    def finish(self) -> None:
        """Check what only the whole resource shows: that contained resources and references meet."""
        for code, place, text in self._links.problems():
            path, self._path = self._path, list(place)
            self.say(code, text)
            self._path = path

    def _unnamed(self, structure: Structure, value: Json, name: str, held: object) -> None:
        if name == "resourceType" and structure.is_resource:
            return
        element = structure.elements.get(name[1:]) if name.startswith("_") else None
        if element is not None and element.is_primitive:
            self._beside(element, value.get(name[1:]), name, held)
        elif _ELEMENT_NAME.fullmatch(name):
            self.say(issue.STRUCTURE, "is no element of this type (R4 4.0.1)", name)
        else:  # it came from outside: what is no element's name is not repeated
            self.say(issue.STRUCTURE, "holds a member whose name is no element's")

    def _beside(self, element: Element, main: object, name: str, held: object) -> None:
        """Id and extensions of a primitive stand beside it under _name (R4 2.6.2)."""
        self._path.append(name)
        if element.many and not isinstance(held, list):
            self.say(issue.STRUCTURE, "must be a list, as the values beside it")
        elif not element.many and not isinstance(held, dict):
            self.say(issue.STRUCTURE, "must be an object")
        else:
            self._extensions(held, main)
        self._path.pop()

    def _extensions(self, held: object, main: object) -> None:
        if isinstance(held, dict):
            self._object(_EXTENSIBLE, held)
            return
        parts = held if isinstance(held, list) else []
        if isinstance(main, list) and len(main) != len(parts):
            self.say(issue.STRUCTURE, "must be as long as the list beside it")
        for number, part in enumerate(parts):
            self._path.append(number)
            if isinstance(part, dict):
                self._object(_EXTENSIBLE, part)
            elif part is not None or _part(main, number) is None:
                self.say(issue.STRUCTURE, "must be an object, or null beside a value")
            self._path.pop()


def _part(beside: object, number: int) -> object:
    """Return what stands beside the number-th value of a list."""
    return beside[number] if isinstance(beside, list) and number < len(beside) else None


def _written(path: Iterable[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "Resource"


_EXTENSIBLE = Structure("Element", {one: structure_of("Period").elements[one] for one in ("id", "extension")})
