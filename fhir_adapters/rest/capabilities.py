"""capabilities: GET [base]/metadata (R4 3.1.0.12)."""

from collections.abc import Sequence

from flask import Response, request

from clinical.errors import IncorrectInput
from fhir_adapters.access.smart_configuration import security_of
from fhir_adapters.capability import capability_statement
from fhir_adapters.outcome import body_response
from fhir_adapters.rest.fhir import Fhir, Interaction


def interaction(registered: Sequence[Interaction]) -> Interaction:
    """Return the interaction that describes these others."""
    codes = tuple(dict.fromkeys(each.code for each in registered))

    def answer(fhir: Fhir) -> Response:
        if request.args.get("mode", "full") not in {"full", "normative"}:
            raise IncorrectInput("mode is full or normative here", expression=["mode"])
        smart = fhir.access.configuration
        security = None if smart is None else security_of(smart)
        said = capability_statement(
            codes, base_url=fhir.base_url, now=fhir.now(), profiles=fhir.profiles, security=security
        )
        return body_response(said, 200)

    return Interaction("capabilities", "GET", "/metadata", answer)
