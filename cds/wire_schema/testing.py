"""The wire schemas as a check for tests (needs `jsonschema`, a development dependency)."""

from functools import cache
from typing import Any

import orjson
from flask import Flask, Response, request
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


class WireWatch:
    """Holds every answer of an app's hooks against the schemas. found: what was wrong, with its address."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.seen = 0

    def over(self, app: Flask) -> Flask:
        """Watch an app; return it."""
        app.after_request(self._look)
        return app

    def _look(self, answer: Response) -> Response:
        name = self._schema(answer)
        if name is not None:
            self.seen += 1
            body = orjson.loads(answer.get_data())
            self.found += [f"{answer.status_code} {request.path} {one}" for one in problems(name, body)]
        return answer

    def _schema(self, answer: Response) -> str | None:
        if not request.path.startswith("/cds-services") or answer.is_streamed or not answer.get_data():
            return None
        if answer.status_code >= 400:
            return "outcome"
        if answer.status_code != 200 or request.method == "HEAD" or request.path.endswith("/feedback"):
            return None
        return "discovery" if request.method == "GET" else "response"


def problems(name: str, message: object, definition: str | None = None) -> list[str]:
    """Return what is wrong with a message: path and rule, never the value."""
    found = validator(name, definition).iter_errors(message)
    return sorted(f"{error.json_path}: {error.validator}" for error in found)
