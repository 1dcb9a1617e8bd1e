"""A resource that is not valid R4, as an error with every finding."""

from collections.abc import Sequence

from clinical.errors import IncorrectInput
from fhir_adapters.validation import problems_of
from fhir_adapters.validation.problem import Problem


class InvalidResource(IncorrectInput):
    """What was sent breaks the definitions of R4: answered with 400 (R4 3.1.0.8) and one issue a finding."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        first = problems[0]
        super().__init__(f"{first.expression} {first.text}", expression=[first.expression])
        self.problems = tuple(problems)


def demand_valid(resource: object, resource_type: str) -> None:
    """Raise InvalidResource unless the resource is a valid one of that type; warnings are let through."""
    problems = problems_of(resource, expected=resource_type)
    if any(one.severity == "error" for one in problems):
        raise InvalidResource(problems)
