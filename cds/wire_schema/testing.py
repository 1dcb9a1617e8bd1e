"""The wire schemas as a check for tests (needs `jsonschema`, a development dependency)."""

from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from cds.wire_schema import NAMES, schema

_BASE = "https://schemas.example/"


@cache
def validator(name: str, definition: str | None = None) -> Draft202012Validator:
    """Return the validator of a message, or of one definition within its file."""
    contents = ((f"{_BASE}{each}.json", Resource.from_contents(schema(each))) for each in NAMES)
    registry: Registry[Any] = Registry().with_resources(contents)
    pointer = f"#/$defs/{definition}" if definition else ""
    target = {"$ref": f"{_BASE}{name}.json{pointer}"}
    return Draft202012Validator(target, registry=registry, format_checker=Draft202012Validator.FORMAT_CHECKER)


def problems(name: str, message: object, definition: str | None = None) -> list[str]:
    """Return what is wrong with a message: path and rule, never the value."""
    found = validator(name, definition).iter_errors(message)
    return sorted(f"{error.json_path}: {error.validator}" for error in found)
