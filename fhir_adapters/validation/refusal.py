"""A resource that is not valid R4, as an error with every finding."""

from collections.abc import Sequence
from dataclasses import replace

from clinical.errors import IncorrectInput
from fhir_adapters.validation import problems_of, within
from fhir_adapters.validation.problem import Problem
from fhir_adapters.validation.profiles import Profiles


class InvalidResource(IncorrectInput):
    """What was sent breaks R4 (400, R4 3.1.0.8), or a profile alone (422): one issue a finding."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        first = next((one for one in problems if one.severity == "error"), problems[0])
        super().__init__(f"{first.expression} {first.text}", expression=[first.expression])
        self.problems = tuple(problems)

    def stands_at(self, place: str) -> None:
        """Let the findings say where in a Bundle the resource stands."""
        self.problems = tuple(replace(one, expression=within(place, one.expression)) for one in self.problems)

    @property
    def is_sound(self) -> bool:
        """True when it is sound R4 and only a profile is not kept."""
        return all(one.profile for one in self.problems if one.severity == "error")


def demand_valid(resource: object, resource_type: str, profiles: Profiles | None = None) -> None:
    """Raise InvalidResource unless the resource is a valid one of that type; warnings are let through.

    profiles: as of `problems_of`.
    """
    problems = problems_of(resource, expected=resource_type, profiles=profiles)
    if any(one.severity == "error" for one in problems):
        raise InvalidResource(problems)
