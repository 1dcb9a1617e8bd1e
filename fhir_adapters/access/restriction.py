"""What a grant's scopes narrow a type down to, as a criterion that every path of the API adds to its own."""

from functools import lru_cache

from clinical.errors import IncorrectInput
from fhir_adapters.access.compartment import reachable
from fhir_adapters.access.grant import Grant
from fhir_adapters.access.scopes import Scope
from fhir_adapters.search.parameters import TYPES
from fhir_adapters.search.parse import parse
from record_store.criteria import AllOf, AnyOf, Criterion
from record_store.criteria_met import can_be_met

NOTHING = AnyOf(())
_EVERY_TYPE = "Patient"  # stands for any: the parameters that each type has are the same
_READS = "rs"


def restriction(grant: Grant, resource_type: str, permissions: str) -> Criterion | None:
    """Return None when all of a type may be reached with one of these letters, else a criterion.

    NOTHING when none of it may.
    """
    if grant.everything:
        return None
    return _of_scopes(grant.scopes, grant.patient, resource_type, permissions)


@lru_cache(maxsize=4096)
def _of_scopes(scopes: tuple[Scope, ...], patient: str, resource_type: str, permissions: str) -> Criterion | None:
    ways: list[Criterion] = []
    for scope in scopes:
        letters = [letter for letter in permissions if scope.covers(resource_type, letter)]
        if not letters:
            continue
        parts = list(criteria_of(scope, resource_type))
        if scope.context == "patient":
            own = reachable(resource_type, patient, reads=set(letters) <= set(_READS))
            if own == NOTHING:
                continue
            parts += [] if own is None else [own]
        if not parts:
            return None
        ways.append(parts[0] if len(parts) == 1 else AllOf(tuple(parts)))
    return ways[0] if len(ways) == 1 else AnyOf(tuple(dict.fromkeys(ways)))


@lru_cache(maxsize=4096)
def criteria_of(scope: Scope, resource_type: str) -> tuple[Criterion, ...]:
    """Return what a scope's parameters demand of a resource of the type: all of it.

    Raises IncorrectInput for a parameter that the type has not, or that cannot stand in a scope: chains, `_has`,
    quantities, composites, and what says how to answer (`_count`).
    """
    if not scope.parameters:
        return ()
    wanted = parse(resource_type, scope.parameters, base_url="")
    if len(wanted.criteria) != len(scope.parameters) or not all(map(can_be_met, wanted.criteria)):
        raise IncorrectInput("a parameter of the scope cannot stand in one")
    return wanted.criteria


def problem_of(scope: Scope) -> str | None:
    """Return why a scope cannot be held to by this server, None when it can."""
    if scope.type != "*" and scope.type not in TYPES:
        return "this server keeps no such type"
    try:
        criteria_of(scope, _EVERY_TYPE if scope.type == "*" else scope.type)
        names = {name.partition(":")[0] for name, _ in scope.parameters}
        if scope.type == "*" and not all(name.startswith("_") for name in names):
            return "a scope of every type takes the parameters that every type has"
    except IncorrectInput as exc:
        return exc.message
    return None
