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


def answer(fhir: Fhir, resource_type: str) -> Response:
    """Return an OperationOutcome of everything that would keep the resource from being stored.

    profile: a further one to judge by, in the query or the Parameters.
    """
    require_type(resource_type)
    resource, claimed = _asked(load_object(read_json_body(request), decimals=True))
    problems = problems_of(resource, expected=resource_type, profiles=fhir.profiles, claimed=claimed)
    if not problems:
        return body_response(outcome("informational", "the resource is valid R4", severity="information"), 200)
    issues = [one.as_issue() for one in problems]
    return body_response({"resourceType": "OperationOutcome", "issue": issues}, 200)


def _asked(sent: dict[str, Any]) -> tuple[object, list[str]]:
    """Return what is to be checked (the body, or `resource` of a Parameters) and by which profiles."""
    mode: object = request.args.get("mode", "create")
    resource: object = sent
    profiles: list[object] = list(request.args.getlist("profile"))
    if sent.get("resourceType") == "Parameters":
        listed = sent.get("parameter")
        given = {
            one["name"]: one
            for one in (listed if isinstance(listed, list) else ())
            if isinstance(one, dict) and isinstance(one.get("name"), str)
        }
        mode = given.get("mode", {}).get("valueCode", mode)
        resource = given.get("resource", {}).get("resource")
        profiles += (
            [given["profile"].get("valueUri") or given["profile"].get("valueCanonical")]
            if "profile" in given
            else []
        )
        if resource is None:
            raise IncorrectInput("Parameters need a parameter `resource`", expression=["Parameters.parameter"])
    if not isinstance(mode, str) or mode not in MODES:
        raise IncorrectInput("mode is create or update here", expression=["mode"])
    if not all(isinstance(one, str) for one in profiles):
        raise IncorrectInput("profile is a canonical URL", expression=["profile"])
    return resource, [str(one) for one in profiles]


INTERACTION = Interaction("$validate", "POST", "/<resource_type>/$validate", answer)
