"""R4 validation, offline and table-driven: every problem of a resource with its place (R4 2.4, `$validate`)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fhir_adapters.validation.problem import Problem
from fhir_adapters.validation.profiles import Profiles, shipped
from fhir_adapters.validation.walk import MAX_PROBLEMS, Walk

__all__ = ["Problem", "problems_of", "within"]


def problems_of(
    resource: object,
    *,
    expected: str | None = None,
    profiles: Profiles | None = None,
    claimed: Sequence[str] = (),
) -> list[Problem]:
    """Return what is wrong with a resource, in the order in which it stands there; at most 100 findings.

    resource: as JSON gave it. Numbers may be int, float or Decimal. expected: the type that it must be.
    A finding of severity "warning" does not make it invalid. What is sound R4 is then judged by its profiles, each
    resource of a Bundle too. profiles: those that are known, R4's own when not given. claimed: further
    ones to judge by.
    """
    walk = Walk()
    walk.resource(resource, expected=expected)
    walk.finish()
    if not isinstance(resource, dict) or any(one.severity == "error" for one in walk.problems):
        return walk.problems
    known = shipped() if profiles is None else profiles
    for place, one in _judged(resource):
        found = known.problems_of(one, () if place else claimed)
        walk.problems += [replace(each, expression=within(place, each.expression)) for each in found]
    return walk.problems[:MAX_PROBLEMS]


def _judged(resource: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (what stands before its paths, resource) of a resource, or of those of a Bundle."""
    if resource.get("resourceType") != "Bundle":
        yield "", resource
        return
    for number, entry in enumerate(resource.get("entry", ())):
        if "resource" in entry:
            yield f"Bundle.entry[{number}].resource", entry["resource"]


def within(place: str, expression: str) -> str:
    """Return a path as the walk writes it: within a Bundle the place of the entry stands for the type's name."""
    return place + expression[len(expression.partition(".")[0]) :] if place else expression
