"""$validate: POST [base]/[type]/$validate (R4 Resource-validate). Nothing is stored; what is wrong is a 200."""

from typing import Any

from flask import Response, request

from clinical.errors import IncorrectInput
from fhir_adapters.outcome import body_response, outcome
from fhir_adapters.rest.fhir import Fhir, Interaction, require_type
from fhir_adapters.rest.negotiate import read_json_body
from fhir_adapters.strict_json import load_object
from fhir_adapters.validation import problems_of

MODES = frozenset({"create", "update"})


def answer(_fhir: Fhir, resource_type: str) -> Response:
    """Return an OperationOutcome of everything that would keep the resource from being stored."""
    require_type(resource_type)
    resource = _resource(load_object(read_json_body(request), decimals=True))
    problems = problems_of(resource, expected=resource_type)
    if not problems:
        return body_response(outcome("informational", "the resource is valid R4", severity="information"), 200)
    issues = [one.as_issue() for one in problems]
    return body_response({"resourceType": "OperationOutcome", "issue": issues}, 200)


def _resource(sent: dict[str, Any]) -> object:
    """Return what is to be checked: the body, or the parameter `resource` of a Parameters."""
    mode: object = request.args.get("mode", "create")
    resource: object = sent
    if sent.get("resourceType") == "Parameters":
        given = {one.get("name"): one for one in sent.get("parameter") or () if isinstance(one, dict)}
        mode = given.get("mode", {}).get("valueCode", mode)
        resource = given.get("resource", {}).get("resource")
        if resource is None:
            raise IncorrectInput("Parameters need a parameter `resource`", expression=["Parameters.parameter"])
    if mode not in MODES:
        raise IncorrectInput("mode is create or update here", expression=["mode"])
    return resource


INTERACTION = Interaction("$validate", "POST", "/<resource_type>/$validate", answer)
