"""Which resources an export holds, in which order: one step for each type and kind of file."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fhir_adapters.access.consents import Consents
from fhir_adapters.access.grant import grant_from
from fhir_adapters.access.restriction import NOTHING, restriction
from fhir_adapters.bulk.asked import PATIENT, SYSTEM, Asked, criteria_of
from fhir_adapters.search.index import target_of
from fhir_adapters.search.parameters import COMPARTMENT, TYPES
from record_store.as_of import About, Wanted
from record_store.criteria import AllOf, Criterion, IdIn, restricted

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
    kinds = types_of(asked)
    steps = [Step(OUTPUT, _wanted(kind, asked, at, patients, base_url, consents)) for kind in kinds]
    if asked.since:  # only who has an earlier export can have something to remove
        steps += [Step(DELETED, _readable(kind, asked, at, consents)) for kind in kinds]
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


def members_of(group: Mapping[str, Any], base_url: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the ids of the Patients and of the Groups that are members of a Group just now."""
    named = [
        target_of(member.get("entity", {}).get("reference", ""), base_url)
        for member in group.get("member", ())
        if not member.get("inactive")
    ]
    patients, groups = ({name for own, name in named if own == kind} for kind in ("Patient", "Group"))
    return frozenset(patients), frozenset(groups)


def groups_within(asked: Asked, at: str, ids: Collection[str], consents: Consents | None) -> Wanted:
    """Return which groups are followed that are members of the one that was asked for: those that are readable."""
    readable = _readable("Group", asked, at, consents)
    return replace(readable, since="", every=(IdIn(tuple(sorted(ids))), *readable.every))


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
    return replace(_readable(kind, asked, at, consents), any_of=any_of, about=about)


def _readable(kind: str, asked: Asked, at: str, consents: Consents | None) -> Wanted:
    left = _left(asked, kind, consents)
    return Wanted(kind, at, asked.since, every=() if left is None else (left,))


def _left(asked: Asked, kind: str, consents: Consents | None) -> Criterion | None:
    """Return what scopes and consents leave who asks of a type: None for all of it."""
    within = _within(asked, kind)
    left = None if consents is None or asked.grant is None else consents.narrowed(grant_from(asked.grant), kind)
    return within if left is None else left if within is None else AllOf((within, left))


def _within(asked: Asked, kind: str) -> Criterion | None:
    """Return what who asks may read of a type."""
    return None if asked.grant is None else restriction(grant_from(asked.grant), kind, "r")
