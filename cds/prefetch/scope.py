"""What the tokens of one call may read: its context, the answers so far, and what was fetched to resolve."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any, TypeGuard

from cds.references import parse_reference

Resource = Mapping[str, Any]
Target = tuple[str, str]  # resource type and id


@dataclass(frozen=True)
class Scope:
    """One call's data, for one thread.

    context: as sent. today: the day that `today()` gives. base: the FHIR base URL of the client.
    known: prefetch key -> its resource or Bundle, for `%key`.
    looked_up: what was fetched to follow references; None for what was asked for and is not there.
    """

    context: Mapping[str, Any] = field(repr=False)
    today: date
    base: str | None = None
    known: Mapping[str, Resource] = field(default_factory=dict, repr=False)
    looked_up: Mapping[Target, Resource | None] = field(default_factory=dict, repr=False)
    _contained: dict[int, dict[object, Resource]] = field(default_factory=dict, init=False, repr=False)

    def find(self, target: Target) -> Resource | None:
        """Return a resource that is at hand."""
        return self._at_hand[0].get(target) or self.looked_up.get(target)

    def find_draft(self, urn: str) -> Resource | None:
        """Return the Bundle entry whose fullUrl is `urn`: drafts have no id yet."""
        return self._at_hand[1].get(urn)

    def find_contained(self, outer: Resource, ident: str) -> Resource | None:
        """Return the resource with this id that `outer` contains."""
        # Indexed, for a client may send a resource that contains and refers to thousands.
        if id(outer) not in self._contained:
            inner = outer.get("contained")
            items = [item for item in inner if is_resource(item)] if isinstance(inner, list) else []
            self._contained[id(outer)] = {i["id"]: i for i in reversed(items) if isinstance(i.get("id"), str)}
        return self._contained[id(outer)].get(ident)

    @cached_property
    def _at_hand(self) -> tuple[dict[Target, Resource], dict[str, Resource]]:
        by_id: dict[Target, Resource] = {}
        by_url: dict[str, Resource] = {}
        for value in (*self.context.values(), *self.known.values()):
            for url, resource in _resources(value):
                if isinstance(resource.get("id"), str):
                    by_id.setdefault((resource["resourceType"], resource["id"]), resource)
                if isinstance(url, str):
                    by_url.setdefault(url, resource)
        return by_id, by_url


def is_resource(value: object) -> TypeGuard[Resource]:
    """True for a JSON object that says which resource type it is."""
    return isinstance(value, dict) and isinstance(value.get("resourceType"), str)


def target_of(text: str, base: str | None) -> Target | None:
    """Return type and id of a reference that is relative or lies at `base`, else None."""
    reference = parse_reference(text)
    if reference is None or not reference.at(base):
        return None
    return reference.kind, reference.ident


def _resources(value: object) -> Iterator[tuple[object, Resource]]:
    """Yield a resource, and those of a Bundle, each with its fullUrl."""
    if not is_resource(value):
        return
    yield None, value
    entries = value.get("entry") if value["resourceType"] == "Bundle" else None
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and is_resource(entry.get("resource")):
            yield entry.get("fullUrl"), entry["resource"]
