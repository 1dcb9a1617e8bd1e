"""GET [base]/.well-known/smart-configuration (SMART App Launch 2.2, "Conformance"): where tokens come from."""

import orjson
from flask import Response

from clinical.errors import NotFound
from fhir_adapters.rest.fhir import Fhir, Interaction


def answer(fhir: Fhir) -> Response:
    """Return the document as JSON; 404 where no client can have a token."""
    said = fhir.access.configuration
    if said is None:
        raise NotFound("this server gives out no access tokens: it has no clients file")
    return Response(orjson.dumps(said), content_type="application/json")


INTERACTION = Interaction("smart-configuration", "GET", "/.well-known/smart-configuration", answer)
