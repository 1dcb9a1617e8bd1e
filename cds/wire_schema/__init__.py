"""The wire of CDS Hooks 3.0.0-ballot as JSON Schemas (2020-12), written by hand from the specification.

One file per message, with examples; `common` and `contexts` (one definition per hook) are what they share. They
point at each other by file name, so that the copies served at /schemas/cds-hooks/ do as well. Requests and
feedback are open, as clients in the field send more than the specification names; what we send is closed.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any

NAMES = ("common", "contexts", "discovery", "feedback", "outcome", "request", "response")


def source(name: str) -> bytes:
    """Return the bytes of one schema. name: one of NAMES, anything else is a KeyError."""
    if name not in NAMES:
        raise KeyError(name)
    return files(__name__).joinpath(f"{name}.json").read_bytes()


@cache
def schema(name: str) -> dict[str, Any]:
    """Return one schema, decoded; it is shared, so do not change it."""
    decoded: dict[str, Any] = json.loads(source(name))
    return decoded


def hooks() -> tuple[str, ...]:
    """Return the names of the library's hooks, as the request schema lists them."""
    return tuple(schema("request")["$defs"]["hook"]["anyOf"][0]["enum"])
