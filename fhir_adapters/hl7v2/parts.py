"""What a message becomes: resources, ids that follow from their identifiers, and how each meets what is here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from clinical.identity import PatientKey

Json = dict[str, Any]

# Members that are merged within, so that an end joins the start that an earlier message said; None removes.
WITHIN = ("period", "hospitalization")


class Way(StrEnum):
    """What happens when the resource is here already."""

    KEEP = "keep"  # it stays as it is: the message only names it
    MERGE = "merge"  # elements that the message has replace its own; the others stay
    REPLACE = "replace"  # it becomes what the message says
    MENTION = "mention"  # never written: a reference becomes a logical one when it is not here


@dataclass(frozen=True, slots=True)
class Part:
    """One resource of a message, without its id.

    id: when none of `identifiers` (system, value) is known here. defaults: elements for when it has none.
    removed: elements that the message deletes. patient: its keys, which are followed through merges of charts.
    rather: an id that names it more closely than `identifiers`; it is that one where there is such a resource.
    """

    type: str
    id: str
    resource: Json
    way: Way
    identifiers: tuple[tuple[str, str], ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    patient: tuple[PatientKey, ...] = ()
    rather: str = ""

    def __repr__(self) -> str:
        # A repr lands in logs and tracebacks; what a message says must not.
        return f"Part({self.type}, {self.way})"

    @property
    def reference(self) -> str:
        """It as others name it, before it is known whether it is here under another id."""
        return f"{self.type}/{self.id}"


@dataclass(frozen=True, slots=True)
class Mapped:
    """A message's resources in the order in which they are written. retired: merged charts (old, new)."""

    parts: tuple[Part, ...]
    retired: tuple[tuple[Part, Part], ...] = ()


class Parts:
    """Collects parts; one that comes twice is one."""

    def __init__(self) -> None:
        self._parts: dict[str, Part] = {}
        self.retired: list[tuple[Part, Part]] = []

    def add(self, part: Part) -> Json:
        """Take a part and return a Reference to it."""
        held = self._parts.get(part.reference)
        if held is None or (held.way in (Way.KEEP, Way.MENTION) and part.way is not Way.MENTION):
            self._parts[part.reference] = part
        return {"reference": part.reference}

    def holds(self, part_type: str, part_id: str) -> bool:
        """Tell whether a part of that id is there."""
        return f"{part_type}/{part_id}" in self._parts

    def mapped(self) -> Mapped:
        """Return what was collected."""
        return Mapped(tuple(self._parts.values()), tuple(self.retired))


def pruned(value: Json) -> Json:
    """Return it without members that are None: what is to be removed of something that is not there."""
    return {name: one for name, one in value.items() if one is not None}


def references(value: object) -> Iterator[Json]:
    """Yield each Reference in a resource."""
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)
