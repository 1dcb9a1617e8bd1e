"""OpenAPI 3.1 of this server's hooks: the wire schemas, and the services that are registered here."""

from collections.abc import Mapping, Sequence
from typing import Any

from cds.service import Service, by_id
from cds.wire_schema import NAMES, schema

JsonObject = dict[str, Any]
_FHIR = "application/fhir+json"
_PROBLEMS: Mapping[str, str] = {
    "400": "The request is malformed; `issue.expression` holds the JSON path.",
    "404": "There is no service with this id.",
    "405": "This address does not take this method.",
    "412": "Data that the service needs was neither sent nor obtainable; the keys are named.",
    "413": "The body is too large.",
    "415": "The body is not application/json in UTF-8.",
    "500": "The service failed. There is no guidance, which is not the same as nothing to say.",
    "503": "Not now: try again after `Retry-After` seconds.",
}


def document(services: Sequence[Service], base_url: str, version: str) -> JsonObject:
    """Return the OpenAPI document. base_url: the public one. version: of this software."""
    paths: JsonObject = {"/cds-services": {"get": _discovery()}}
    for service_id, hooks in by_id(services).items():
        paths[f"/cds-services/{service_id}"] = {"post": _call(list(hooks.values()))}
        paths[f"/cds-services/{service_id}/feedback"] = {"post": _feedback(next(iter(hooks.values())))}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Consilium: CDS Hooks",
            "version": version,
            "summary": "CDS Hooks 3.0.0-ballot services, compatible with clients of 2.0 and 1.x",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": base_url}],
        "security": [{"clientJwt": []}, {}],
        "paths": paths,
        "components": {
            "schemas": {name.capitalize(): _embedded(name) for name in NAMES},
            "responses": {f"Problem{status}": _problem(status, text) for status, text in _PROBLEMS.items()}
            | {"Unauthorized": _unauthorized()},
            "securitySchemes": {"clientJwt": _security()},
        },
    }


def _discovery() -> JsonObject:
    return {
        "operationId": "discovery",
        "summary": "Which services there are, and what each asks to have prefetched",
        "responses": {"200": _answer("The services.", "Discovery")} | _refusals("405", "500"),
    }


def _call(services: list[Service]) -> JsonObject:
    """Return the operation of one id; it may serve several hooks."""
    hooks = [service.hook.name for service in services]
    keys = {t.key: t for service in services for t in service.prefetch}
    wanted = {
        key: {
            "description": f"{t.query} ({'required' if t.required else 'optional'})",
            "anyOf": [_ref("Common", "resource"), {"type": "null"}],
        }
        for key, t in keys.items()
    }
    body = {
        "allOf": [
            _ref("Request"),
            {"properties": {"hook": {"enum": hooks}, "prefetch": {"type": "object", "properties": wanted}}},
        ]
    }
    first = services[0]
    return {
        "operationId": f"call-{first.id}",
        "summary": first.title,
        "description": first.description,
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": body, "examples": {name: _example(name) for name in hooks}}
            },
        },
        "responses": {"200": _answer("Cards; none when there is nothing to say.", "Response")}
        | _refusals(*_PROBLEMS),
    }


def _example(hook: str) -> JsonObject:
    examples = schema("contexts")["$defs"].get(hook, {}).get("examples", [{}])
    instance = "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"
    return {"value": {"hook": hook, "hookInstance": instance, "context": examples[0]}}


def _feedback(service: Service) -> JsonObject:
    empty = {"schema": {"type": "object"}, "example": {}}
    statuses = [status for status in _PROBLEMS if status != "412"]
    return {
        "operationId": f"feedback-{service.id}",
        "summary": "What became of cards that this service sent",
        "description": "All of it is stored, or nothing. The same report may be sent again.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref("Feedback")}}},
        "responses": {"200": {"description": "Stored.", "content": {"application/json": empty}}}
        | _refusals(*statuses),
    }


def _answer(text: str, name: str) -> JsonObject:
    return {"description": text, "content": {"application/json": {"schema": _ref(name)}}}


def _refusals(*statuses: str) -> JsonObject:
    known: JsonObject = {status: {"$ref": f"#/components/responses/Problem{status}"} for status in statuses}
    return dict(sorted((known | {"401": {"$ref": "#/components/responses/Unauthorized"}}).items()))


def _problem(status: str, text: str) -> JsonObject:
    answer: JsonObject = {"description": text, "content": {_FHIR: {"schema": _ref("Outcome")}}}
    if status == "503":
        answer["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return answer


def _unauthorized() -> JsonObject:
    challenge = {"WWW-Authenticate": {"schema": {"const": "Bearer"}}}
    return {"description": "No valid token. Why is told to the operator only.", "headers": challenge}


def _security() -> JsonObject:
    return {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The client's own JWT (ES384 or RS384), for one use, with `aud` = the URL that is called.",
    }


def _ref(name: str, part: str | None = None) -> JsonObject:
    return {"$ref": f"#/components/schemas/{name}" + (f"/$defs/{part}" if part else "")}


def _embedded(name: str) -> JsonObject:
    """Return a schema as a component: what points at a file, or into its own, points into the document."""
    embedded: JsonObject = _moved(schema(name), name)
    return {key: value for key, value in embedded.items() if key != "$schema"}


def _moved(value: Any, name: str) -> Any:  # noqa: ANN401 - any part of a JSON Schema
    if isinstance(value, list):
        return [_moved(item, name) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _target(item, name) if key == "$ref" else item if key == "examples" else _moved(item, name)
        for key, item in value.items()
    }


def _target(reference: str, name: str) -> str:
    file, _, pointer = reference.partition("#")
    return f"#/components/schemas/{(file.removesuffix('.json') or name).capitalize()}{pointer}"
