"""Parameters (R4 2.19): what an operation is asked with, and what it answers."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clinical.errors import IncorrectInput
from fhir_adapters.parameters import parameters_in

Json = dict[str, Any]


def _is_text(value: object) -> bool:
    """A string that FHIR can hold (R4 2.24.0.1): not only blanks, no control characters."""
    return isinstance(value, str) and bool(value.strip()) and not _CONTROL.search(value)


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_VALUES: Mapping[str, Callable[[object], bool]] = {
    "valueString": _is_text,
    "valueCode": _is_text,
    "valueBoolean": lambda value: isinstance(value, bool),
    "valueInteger": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "valueReference": lambda value: isinstance(value, dict) and isinstance(value.get("reference"), str),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """The parameters of a request, by name, each with one value."""

    values: Mapping[str, Any]

    def text(self, name: str) -> str:
        """Return a string or code, "" when it was not sent."""
        return str(self.values.get(name, ""))

    def flag(self, name: str) -> bool:
        """Return a boolean, False when it was not sent."""
        return bool(self.values.get(name, False))

    def number(self, name: str, default: int, most: int) -> int:
        """Return a whole number from 1 to `most`."""
        value = int(self.values.get(name, default))
        if not 1 <= value <= most:
            raise IncorrectInput(f"{name} is 1 to {most}", expression=[f"Parameters.parameter[name={name}]"])
        return value


def asked_of(body: Mapping[str, Any], known: Mapping[str, Sequence[str]]) -> Asked:
    """Return what a Parameters resource asks. known: name -> the value elements that it may have.

    Raises IncorrectInput for another resource, an unknown name, a name twice, a value of another kind.
    """
    values: dict[str, Any] = {}
    for one in parameters_in(body):
        name = one.name
        if name not in known:
            raise IncorrectInput(f"a parameter is one of: {', '.join(known)}", expression=[one.place])
        element = next((each for each in known[name] if each in one.values), None)
        if name in values or element is None or not _VALUES[element](one.values[element]):
            raise IncorrectInput(f"{name} comes once, as {' or '.join(known[name])}", expression=[one.place])
        value = one.values[element]
        values[name] = value["reference"] if element == "valueReference" else value
    return Asked(values)


def told(*parameters: Mapping[str, Any] | None) -> Json:
    """Return a Parameters resource; None is left out."""
    return {"resourceType": "Parameters", "parameter": [dict(one) for one in parameters if one is not None]}


def text(name: str, value: str) -> Json | None:
    """Return a parameter with a string, None for an empty one."""
    return {"name": name, "valueString": value} if value else None


def flag(name: str, value: bool) -> Json:
    """Return a parameter with a boolean."""
    return {"name": name, "valueBoolean": value}


def number(name: str, value: int) -> Json:
    """Return a parameter with a whole number."""
    return {"name": name, "valueInteger": value}


def named(name: str, reference: str) -> Json:
    """Return a parameter with a Reference."""
    return {"name": name, "valueReference": {"reference": reference}}


def parts(name: str, *inner: Mapping[str, Any] | None) -> Json:
    """Return a parameter with parts."""
    return {"name": name, "part": [dict(one) for one in inner if one is not None]}
