"""Expanding the value sets of required bindings, and naming the codes of HL7's own code systems (R4 4.9, 4.8)."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]


def expansions(
    terminology: Iterable[Json], wanted: Iterable[str]
) -> tuple[dict[str, dict[str, list[str] | None]], dict[str, list[str]]]:
    """Return (value set -> system -> its codes, code system -> its codes).

    A system whose codes cannot be listed has None. A value set that the definitions do not hold is left out.
    Only complete code systems are given: of a fragment nothing can be refused.
    """
    sets, systems = {}, {}
    for one in terminology:
        if one["resourceType"] == "ValueSet":
            sets[one["url"]] = one
        elif one["resourceType"] == "CodeSystem" and one["content"] == "complete":
            systems[one["url"]] = sorted(set(_codes(one.get("concept", ()))))
    expanded = {url: _expanded(sets[url], sets, systems) for url in sorted(set(wanted)) if url in sets}
    return expanded, systems


def _codes(concepts: Iterable[Json]) -> Iterator[str]:
    for concept in concepts:
        yield concept["code"]
        yield from _codes(concept.get("concept", ()))


def _expanded(
    value_set: Json, sets: Mapping[str, Json], systems: Mapping[str, list[str]]
) -> dict[str, list[str] | None]:
    found: dict[str, list[str] | None] = {}
    for include in value_set.get("compose", {}).get("include", ()):
        for other in include.get("valueSet", ()):
            for system, codes in _expanded(sets[other], sets, systems).items():
                _join(found, system, codes)
        if "system" in include:
            _join(found, include["system"], _included(include, systems))
    return found


def _included(include: Json, systems: Mapping[str, list[str]]) -> list[str] | None:
    """Return the codes of one include; None when they cannot be listed from here."""
    if "concept" in include:
        return [concept["code"] for concept in include["concept"]]
    if "filter" in include:
        return None
    return systems.get(include["system"])


def _join(found: dict[str, list[str] | None], system: str, codes: list[str] | None) -> None:
    before = found.get(system, [])
    found[system] = None if codes is None or before is None else sorted({*before, *codes})
