"""R4 validation, offline and table-driven: every problem of a resource with its place (R4 2.4, `$validate`)."""

from fhir_adapters.validation.problem import Problem
from fhir_adapters.validation.walk import Walk

__all__ = ["Problem", "problems_of"]


def problems_of(resource: object, *, expected: str | None = None) -> list[Problem]:
    """Return what is wrong with a resource, in the order in which it stands there; at most 100 findings.

    resource: as JSON gave it. Numbers may be int, float or Decimal. expected: the type that it must be.
    A finding of severity "warning" does not make it invalid.
    """
    walk = Walk()
    walk.resource(resource, expected=expected)
    walk.finish()
    return walk.problems
