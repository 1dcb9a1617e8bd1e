"""Profiles of a resource (R4 5.1): those that it claims in meta.profile, and the vital signs by their codes.

R4 asks that whatever is exchanged under one of the vital signs' LOINC codes conforms to its profile; most of what
is sent claims none and leaves out the category. So what such an Observation holds must be as the profile says (a
heart rate in /min, of a Patient), and what it lacks is a warning; a profile that is claimed must be kept whole.

R4's own profiles are shipped; a site's (US Core and others) are read from a folder of StructureDefinitions with
snapshots, ValueSets and CodeSystems. A claim of a profile that is not here is left alone, as R4 allows.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from clinical.codes import LOINC
from clinical.errors import IncorrectInput
from fhir_adapters.definitions import structure
from fhir_adapters.definitions.packed import unpacked
from fhir_adapters.definitions.profile import CORE, Node, Profile, profile_of
from fhir_adapters.definitions.structure import Codes
from fhir_adapters.definitions.value_sets import expansions
from fhir_adapters.validation.conformance import Conformance
from fhir_adapters.validation.problem import NOT_SUPPORTED, Problem

Json = Mapping[str, Any]
_VITAL_SIGNS = f"{CORE}vitalsigns"
# What has a code of its own, by R4's table of vital signs.
_BY_CODE = tuple(
    f"{CORE}{name}"
    for name in (
        *("vitalspanel", "resprate", "heartrate", "oxygensat", "bodytemp", "bodyheight", "headcircum"),
        *("bodyweight", "bmi", "bp"),
    )
)


class Profiles:
    """The profiles that are known here, by URL."""

    def __init__(self, profiles: Iterable[Profile]) -> None:
        self._known = {one.url: one for one in profiles}
        self._of_code = {
            code: url for url in _BY_CODE if url in self._known for code in _codes_of(self._known[url].root)
        }

    def __len__(self) -> int:
        """How many there are."""
        return len(self._known)

    def named(self, url: str) -> Profile | None:
        """Return a profile by its canonical URL, whatever version is asked for; None when it is not here."""
        return self._known.get(url.partition("|")[0])

    def supported(self, resource_type: str) -> list[str]:
        """Return the URLs of the profiles of a type, sorted: for the CapabilityStatement."""
        return sorted(url for url, one in self._known.items() if one.type == resource_type)

    def problems_of(self, resource: Json, claimed: Sequence[str] = ()) -> list[Problem]:
        """Return where a resource, valid R4 by itself, is not what its profiles say.

        claimed: further profiles to judge by. One that is not here is told of as a warning.
        """
        problems: list[Problem] = []
        for asked in claimed:
            if self.named(asked) is None:
                text = "the profile to judge by is not known here, nothing of it was checked"
                problems.append(Problem(NOT_SUPPORTED, str(resource.get("resourceType")), text, "warning"))
        said = list(dict.fromkeys(url.partition("|")[0] for url in (*claimed, *_claims_of(resource))))
        for one in dict.fromkeys([*said, *self._by_code(resource)]):
            profile = self._known.get(one)
            if profile is not None and profile.type == resource.get("resourceType"):
                problems += Conformance(profile, self._known, complete=one in said).problems_of(resource)
        return problems

    def _by_code(self, resource: Json) -> Iterator[str]:
        if resource.get("resourceType") != "Observation":
            return
        for coding in (resource.get("code") or {}).get("coding", ()):
            url = self._of_code.get(coding.get("code", "")) if coding.get("system") == LOINC else None
            if url is not None:
                # A series of values is a SampledData, for which R4's profiles of single values have no place.
                yield _VITAL_SIGNS if "valueSampledData" in resource else url


def _claims_of(resource: Json) -> Sequence[str]:
    meta = resource.get("meta")
    said = meta.get("profile", ()) if isinstance(meta, dict) else ()
    return [url for url in said if isinstance(url, str)]


@cache
def shipped() -> Profiles:
    """Return R4's own profiles."""
    return Profiles(_shipped_profiles())


def profiles_in(folder: Path) -> Profiles:
    """Return R4's own profiles and those of a folder: *.json files, each a resource or a Bundle of them.

    Raises IncorrectInput, naming the file, for one that cannot be read or a profile without a snapshot.
    """
    found: list[Json] = []
    for path in sorted(folder.rglob("*.json")):
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError):
            raise IncorrectInput(f"{path.name} is not JSON that can be read") from None
        if isinstance(content, dict):
            found += [entry.get("resource", {}) for entry in content.get("entry", ())] or [content]
    definitions = [one for one in found if one.get("resourceType") == "StructureDefinition" and _constrains(one)]
    terminology = [one for one in found if one.get("resourceType") in {"ValueSet", "CodeSystem"}]
    try:
        own = _profiles(definitions, _expanded(terminology, definitions))
    except (KeyError, TypeError, AttributeError) as error:
        raise IncorrectInput(f"a profile of the folder cannot be read ({type(error).__name__}: {error})") from None
    return Profiles([*_shipped_profiles(), *own])


def _constrains(definition: Json) -> bool:
    return definition.get("derivation") == "constraint" and definition.get("kind") in {"resource", "complex-type"}


def _shipped_profiles() -> list[Profile]:
    tables = _tables()
    listed = {url: structure.codes_of(one) for url, one in tables["value_sets"].items()}
    return _profiles(tables["profiles"], listed)


def _profiles(definitions: Iterable[Json], value_sets: Mapping[str, Codes]) -> list[Profile]:
    known = list(definitions)
    types = {one["url"]: one["type"] for one in (*_tables()["profiles"], *known)}

    def value_set(url: str) -> Codes | None:
        return value_sets.get(url) or structure.value_set(url)

    return [profile_of(one, value_set, types) for one in known]


def _expanded(terminology: Sequence[Json], definitions: Iterable[Json]) -> dict[str, Codes]:
    wanted = {
        row["binding"].get("valueSet", "").split("|")[0]
        for one in definitions
        for row in one.get("snapshot", {}).get("element", ())
        if row.get("binding", {}).get("strength") == "required"
    }
    sets = {str(one["url"]): one for one in terminology if one["resourceType"] == "ValueSet"}
    alone = [url for url in wanted if url in sets and _stands_alone(sets[url], sets)]
    found, _ = expansions(terminology, alone)
    return {url: structure.codes_of(one) for url, one in found.items()}


def _stands_alone(value_set: Json, sets: Mapping[str, Json]) -> bool:
    """Tell whether a value set names others only that are here too; one that does not cannot be listed."""
    others = [url for part in value_set.get("compose", {}).get("include", ()) for url in part.get("valueSet", ())]
    return "compose" in value_set and all(url in sets and _stands_alone(sets[url], sets) for url in others)


def _codes_of(root: Node) -> list[str]:
    """Return the LOINC codes that a vital sign's profile fixes in Observation.code."""
    return [
        str(leaf.fixed)
        for code in root.children
        if code.name == "code"
        for coding in code.children
        for one in coding.slices
        for leaf in one.children
        if leaf.name == "code" and leaf.fixed is not None
    ]


@cache
def _tables() -> dict[str, Any]:
    tables: dict[str, Any] = unpacked("profiles.json.xz")
    return tables
