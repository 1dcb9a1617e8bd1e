"""A resource against one profile: counts, fixed values and patterns, types, targets, codes, slices (R4 5.1.0).

Every finding is of the profile, not of R4: it says which, and where. What cannot be judged here (an invariant in
FHIRPath, a slice told apart by the profile of what a reference points to) is let through.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fhir_adapters.definitions.profile import Mark, Node, Profile
from fhir_adapters.definitions.structure import PRIMITIVES
from fhir_adapters.validation.problem import BUSINESS_RULE, CODE_INVALID, Problem
from fhir_adapters.validation.terminology import code_is_bound, coding_is_bound, codings_of

Json = Mapping[str, Any]
_CODED = {"coding": "CodeableConcept", "code": "Coding"}


class Conformance:
    """One judgement.

    known: all profiles, by URL: those of extensions are judged with their resource. complete: what is missing is
    an error; else it is a warning, and an error only what is there and not as the profile says.
    """

    def __init__(self, profile: Profile, known: Mapping[str, Profile], *, complete: bool = True) -> None:
        self._profile, self._known = profile, known
        self._missing = "error" if complete else "warning"
        self._problems: list[Problem] = []

    def problems_of(self, resource: Json) -> list[Problem]:
        """Return what is not as the profile says."""
        self._rules(self._profile.root, resource, self._profile.type)
        self._within(self._profile.root, resource, self._profile.type)
        return list(dict.fromkeys(self._problems))

    def _say(self, place: str, text: str, code: str = BUSINESS_RULE, severity: str = "error") -> None:
        name = self._profile.url.rpartition("/")[2]
        self._problems.append(Problem(code, place, f"{text} (profile {name})", severity, self._profile.url))

    def _within(self, node: Node, value: Json, place: str) -> None:
        for child in node.children:
            self._element(child, value, place)

    def _element(self, node: Node, parent: Json, place: str) -> None:
        held = list(_held(node, parent, place))
        at = f"{place}.{node.name}"
        self._count(node, len(held), at)
        for here, value, kind in held:
            if node.kinds and kind and kind not in node.kinds:
                self._say(here, f"must be {_either(node.kinds)}")
            self._value(node, value, here)
        if node.slicing is not None:
            self._slices(node, held, at)

    def _count(self, node: Node, count: int, at: str) -> None:
        what = f"its slice {node.slice_name} " if node.slice_name else ""
        if count < node.least:
            many = "is required" if node.least == 1 else f"must stand at least {node.least} times"
            self._say(at, what + many, severity=self._missing)
        if node.most is not None and count > node.most:
            many = f"must not stand more than {node.most} times" if node.most else "has no place"
            self._say(at, what + many)

    def _rules(self, node: Node, value: object, here: str) -> None:
        for key in node.rules:
            if key in RULES and not RULES[key](value):
                self._say(here, f"does not keep the rule {key}", severity=self._missing)

    def _value(self, node: Node, value: object, here: str) -> None:
        self._rules(node, value, here)
        if node.fixed is not None and value != node.fixed:
            self._say(here, "must be the value that is fixed" + _shown(node.fixed))
        if node.pattern is not None and not _fits(node.pattern, value):
            self._say(here, "must hold what is asked for" + _shown(node.pattern))
        if node.binding is not None and not _is_bound(node, value):
            self._say(here, f"must hold a code of {node.value_set}", CODE_INVALID)
        if node.targets and isinstance(value, dict):
            reference = value.get("reference")
            target = _target(reference) if isinstance(reference, str) else ""
            if target and target not in node.targets:
                self._say(f"{here}.reference", f"must point to {_either(node.targets)}")
        if isinstance(value, dict):
            self._within(node, value, here)
            for url in node.profiles:
                if url in self._known and value.get("url") == url:
                    self._within(self._known[url].root, value, here)

    def _slices(self, node: Node, held: Sequence[tuple[str, object, str]], at: str) -> None:
        if node.slicing is None or not _can_tell(node):
            return
        taken: set[int] = set()
        for one in node.slices:
            mine = [number for number, (_, value, kind) in enumerate(held) if _belongs(one, value, kind)]
            taken.update(mine)
            self._count(one, len(mine), at)
            for number in mine:
                here, value, _ = held[number]
                self._value(one, value, here)
        if node.slicing.closed:
            for number, (here, _, _) in enumerate(held):
                if number not in taken:
                    self._say(here, "is none of the forms that may stand here")


def _held(node: Node, parent: Json, place: str) -> Iterator[tuple[str, object, str]]:
    """Yield (place, value, type) of what stands under a node's name; the type only of a choice."""
    if node.is_choice:
        stem = node.name.removesuffix("[x]")
        for name, value in parent.items():
            kind = name.removeprefix(stem)
            if name.startswith(stem) and kind[:1].isupper():
                primitive = kind[0].lower() + kind[1:]
                yield f"{place}.{name}", value, primitive if primitive in PRIMITIVES else kind
        return
    value = parent.get(node.name)
    if isinstance(value, list):
        for number, item in enumerate(value):
            if item is not None:
                yield f"{place}.{node.name}[{number}]", item, ""
    elif value is not None or f"_{node.name}" in parent:
        # A primitive that has only extensions is there (its value may be absent for a reason that they say).
        yield f"{place}.{node.name}", parent[f"_{node.name}"] if value is None else value, ""


def _fits(pattern: object, value: object) -> bool:
    """Tell whether the value holds all of the pattern (R4 ElementDefinition.pattern[x])."""
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(_fits(part, value.get(name)) for name, part in pattern.items())
    if isinstance(pattern, list):
        return isinstance(value, list) and all(any(_fits(part, item) for item in value) for part in pattern)
    return pattern == value


def _is_bound(node: Node, value: object) -> bool:
    if node.binding is None or (node.is_choice and isinstance(value, str)):
        return True
    if isinstance(value, str):
        return code_is_bound(value, node.binding, node.value_set)
    if not isinstance(value, dict):
        return True
    kind = next((kind for name, kind in _CODED.items() if name in value), "")
    return not kind or any(coding_is_bound(one, node.binding) for one in codings_of(value, kind))


def _can_tell(node: Node) -> bool:
    kinds = {kind for kind, _ in node.slicing.by} if node.slicing else set()
    return bool(kinds) and kinds <= {"value", "pattern", "type", "url"}


def _belongs(one: Node, value: object, kind: str) -> bool:
    return all(_agrees(one, mark, value, kind) for mark in one.marks)


def _agrees(one: Node, mark: Mark, value: object, kind: str) -> bool:
    if mark.how == "url":
        return isinstance(value, dict) and value.get("url") in mark.urls
    if mark.how == "type":
        return kind in one.kinds
    return any(_meets(leaf, item) for item in _values(value, mark.steps) for leaf in mark.leaves)


def _values(value: object, steps: Sequence[str]) -> Iterator[object]:
    if isinstance(value, list):
        for item in value:
            yield from _values(item, steps)
    elif not steps:
        yield value
    elif isinstance(value, dict) and steps[0] in value:
        yield from _values(value[steps[0]], steps[1:])


def _meets(leaf: Node, item: object) -> bool:
    if leaf.pattern is not None:
        return _fits(leaf.pattern, item)
    return leaf.binding is not None and _is_bound(leaf, item)


def _target(reference: str) -> str:
    """Return the type that a reference names, "" for one that does not say."""
    parts = reference.partition("/_history/")[0].split("/")
    return parts[-2] if len(parts) > 1 and parts[-2][:1].isupper() else ""


def _either(names: frozenset[str]) -> str:
    return " or ".join(sorted(names))


def _shown(value: object) -> str:
    """Return a fixed value that is a word: it is the profile's, never the patient's."""
    return f": {value}" if isinstance(value, str) else ""


def _has_value(one: Json) -> bool:
    return "dataAbsentReason" in one or any(name.startswith("value") and name[5:6].isupper() for name in one)


def _has_name(patient: Json) -> bool:
    return all({"family", "given", "extension"} & one.keys() for one in patient.get("name", ()))


# Invariants that R4's vital signs and US Core add, natively; each is asked of what it hangs on.
RULES: Mapping[str, Callable[[Any], bool]] = {
    "vs-1": lambda at: not isinstance(at, str) or len(at) >= len("2001-01-01"),
    "vs-2": lambda observation: (
        "component" in observation or "hasMember" in observation or _has_value(observation)
    ),
    "vs-3": _has_value,
    "us-core-6": _has_name,
}
