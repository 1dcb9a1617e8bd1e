"""Which resources an export holds, in which order: one step for each type and kind of file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fhir_adapters.access.consents import Consents
from fhir_adapters.access.grant import grant_from
from fhir_adapters.access.restriction import NOTHING, restriction
from fhir_adapters.bulk.asked import PATIENT, SYSTEM, Asked, criteria_of
from fhir_adapters.search.index import target_of
from fhir_adapters.search.parameters import COMPARTMENT, TYPES
from record_store.as_of import About, Wanted
from record_store.criteria import AllOf, Criterion, restricted

OUTPUT, DELETED, ERROR = "output", "deleted", "error"


@dataclass(frozen=True, slots=True)
class Step:
    """One step. kind: output or deleted."""

    kind: str
    wanted: Wanted


def steps_of(
    asked: Asked, at: str, patients: frozenset[str] | None, base_url: str, consents: Consents | None = None
) -> tuple[Step, ...]:
    """Return the steps, always the same for the same arguments: a place in them outlives a worker.

    consents: what patients have said, None where they are not asked.
    at: the transaction time. patients: the ids that patient-level and group-level exports are about; None for all.
    """
    wanted = [_wanted(kind, asked, at, patients, base_url, consents) for kind in types_of(asked)]
    steps = [Step(OUTPUT, one) for one in wanted]
    # Only who has an earlier export can have something to remove.
    # Whose something was that is gone, nobody can say: it is told to who may read all of the type.
    steps += [Step(DELETED, one) for one in wanted if asked.since and _within(asked, one.type) is None]
    return tuple(steps)


def types_of(asked: Asked) -> tuple[str, ...]:
    """Return the types that are exported, in the order of their names."""
    kept = [kind for kind in sorted(TYPES) if asked.level == SYSTEM or compartment_of(kind) or kind == "Patient"]
    kept = [kind for kind in kept if not asked.types or kind in asked.types]
    return tuple(kind for kind in kept if _within(asked, kind) != NOTHING)


def compartment_of(kind: str) -> tuple[str, ...]:
    """Return the names of the index rows by which a resource is in a Patient's compartment."""
    known = TYPES[kind].parameters
    names = [known[name].index_name for name in COMPARTMENT.get(kind, ()) if name in known]
    return tuple(dict.fromkeys(part for name in names for part in name.split("|")))


def members_of(group: Mapping[str, Any], base_url: str) -> frozenset[str]:
    """Return the ids of the Patients that are members of a Group just now."""
    found = set()
    for member in group.get("member", ()):
        text = member.get("entity", {}).get("reference", "")
        kind, name = target_of(text, base_url)
        if kind == "Patient" and not member.get("inactive"):
            found.add(name)
    return frozenset(found)


def _wanted(
    kind: str,
    asked: Asked,
    at: str,
    patients: frozenset[str] | None,
    base_url: str,
    consents: Consents | None,
) -> Wanted:
    # What a filter asks of other resources (chains, _has) must not tell more of them than who asks may read.
    any_of = tuple(
        restricted(criteria_of(kind, query, base_url).criteria, kind, lambda other: _left(asked, other, consents))
        for each, query in asked.filters
        if each == kind
    )
    about = None
    if asked.level != SYSTEM and (kind != "Patient" or patients is not None or asked.level != PATIENT):
        about = About(compartment_of(kind), patients)
    left = _left(asked, kind, consents)
    return Wanted(kind, at, asked.since, any_of, every=() if left is None else (left,), about=about)


def _left(asked: Asked, kind: str, consents: Consents | None) -> Criterion | None:
    """Return what scopes and consents leave who asks of a type: None for all of it."""
    within = _within(asked, kind)
    left = None if consents is None or asked.grant is None else consents.narrowed(grant_from(asked.grant), kind)
    return within if left is None else left if within is None else AllOf((within, left))


def _within(asked: Asked, kind: str) -> Criterion | None:
    """Return what who asks may read of a type."""
    return None if asked.grant is None else restriction(grant_from(asked.grant), kind, "r")
