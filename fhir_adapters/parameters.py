"""Parameters (R4 2.19.1) as they are sent: who reads them decides which names and kinds of values he takes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clinical.errors import IncorrectInput


@dataclass(frozen=True, slots=True)
class Parameter:
    """One of them. values: its value[x] by the element's name ("valueString"). place: for an error."""

    name: str
    values: Mapping[str, Any]
    place: str


def parameters_in(body: Mapping[str, Any]) -> Iterator[Parameter]:
    """Yield the parameters of a body. Raises IncorrectInput for another resource, and for what has no name."""
    if body.get("resourceType") != "Parameters":
        raise IncorrectInput("the body is a Parameters resource", expression=["resourceType"])
    listed = body.get("parameter", [])
    for number, one in enumerate(listed if isinstance(listed, list) else [None]):
        place = f"Parameters.parameter[{number}]"
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            raise IncorrectInput("a parameter has a name", expression=[place])
        values = {name: value for name, value in one.items() if name.startswith("value")}
        yield Parameter(one["name"], values, place)
