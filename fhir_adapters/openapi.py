"""OpenAPI 3.1 of the FHIR API, made from what is registered: for tools that know HTTP and no FHIR.

What FHIR itself says better (the resources, what a search parameter means) is left to `metadata` and the standard:
bodies are resources by their type, a search takes its type's parameters as text.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fhir_adapters.rest.fhir import Interaction
from fhir_adapters.search.parameters import TYPES

Json = dict[str, Any]

FHIR_JSON = "application/fhir+json"
_FORM = "application/x-www-form-urlencoded"
_OUTCOME = {"$ref": "#/components/responses/OperationOutcome"}
_BLANK = re.compile("<([a-z_]+)>")
_ID = {"type": "string", "pattern": r"^[A-Za-z0-9\-.]{1,64}$"}
_PATCHES = ("application/json-patch+json", "application/merge-patch+json")
# What every search of a type takes besides its own parameters (R4 3.1.1.5).
_RESULTS = ("_id", "_lastUpdated", "_sort", "_count", "_include", "_revinclude", "_summary", "_elements", "_total")
_CONDITIONS: Mapping[str, tuple[str, ...]] = {
    "create": ("If-None-Exist",),
    "update": ("If-Match",),
    "patch": ("If-Match",),
    "delete": ("If-Match",),
    "read": ("If-None-Match", "If-Modified-Since"),
}


def document(interactions: Sequence[Interaction], *, base_url: str, version: str) -> Json:
    """Return the OpenAPI document. interactions: as registered. version: of this software."""
    paths: dict[str, Json] = {}
    for each in interactions:
        if each.path:  # "" is "/" as well, and a path of OpenAPI begins with one
            path = _BLANK.sub(r"{\1}", each.path)
            paths.setdefault(path, {})[each.method.lower()] = _operation(each, path)
    for name in TYPES:
        paths[f"/{name}"] = {"get": _search(name)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Consilium: FHIR R4",
            "version": version,
            "summary": "FHIR 4.0.1, JSON; what there is to be said of its resources, GET /metadata says",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": base_url}],
        "security": [{"accessToken": []}, {}],
        "paths": paths,
        "components": {
            "schemas": {"Resource": _resource(sorted(TYPES)), "OperationOutcome": _resource(["OperationOutcome"])},
            "responses": {"OperationOutcome": _content("What is wrong, issue by issue.", "OperationOutcome")},
            "securitySchemes": {"accessToken": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(each: Interaction, path: str) -> Json:
    parameters = [_in_path(name) for name in _BLANK.findall(each.path)]
    parameters += [_text(name, "header") for name in _CONDITIONS.get(each.code, ())]
    said: Json = {
        "operationId": re.sub(r"[^A-Za-z0-9]+", "-", f"{each.method}-{path}").strip("-").lower(),
        "summary": each.code,
        "parameters": parameters,
        "responses": {
            "2XX": _content("As FHIR has it.", "Resource"),
            "304": {"description": "The copy of the client is current."},
            "default": _OUTCOME,
        },
    }
    if each.method in {"POST", "PUT", "PATCH"}:
        said["requestBody"] = {"content": _bodies(each)}
    return said


def _bodies(each: Interaction) -> Json:
    if each.path.endswith("/_search"):
        return {_FORM: {"schema": {"type": "object", "additionalProperties": {"type": "string"}}}}
    if each.method == "PATCH":
        return {media_type: {"schema": {}} for media_type in (*_PATCHES, FHIR_JSON)}
    return {FHIR_JSON: {"schema": {"$ref": "#/components/schemas/Resource"}}}


def _search(name: str) -> Json:
    own = [*TYPES[name].parameters, *_RESULTS]
    return {
        "operationId": f"search-{name.lower()}",
        "summary": f"search-type of {name}",
        "parameters": [_text(parameter, "query") for parameter in dict.fromkeys(own)],
        "responses": {"200": _content("A Bundle of type searchset.", "Resource"), "default": _OUTCOME},
    }


def _in_path(name: str) -> Json:
    types = {"resource_type", "member_type"}
    schema = {"type": "string", "enum": sorted(TYPES)} if name in types else _ID
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _text(name: str, place: str) -> Json:
    return {"name": name, "in": place, "schema": {"type": "string"}}


def _resource(names: Sequence[str]) -> Json:
    return {
        "type": "object",
        "required": ["resourceType"],
        "properties": {"resourceType": {"type": "string", "enum": list(names)}},
    }


def _content(description: str, schema: str) -> Json:
    return {
        "description": description,
        "content": {FHIR_JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }
