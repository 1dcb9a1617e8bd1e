"""GET [base]/api-docs: the OpenAPI document of this API, where tools that know HAPI look for it."""

from collections.abc import Sequence
from functools import cache
from importlib import metadata

import orjson
from flask import Response

from fhir_adapters.openapi import document
from fhir_adapters.rest.fhir import Fhir, Interaction


def interaction(registered: Sequence[Interaction]) -> Interaction:
    """Return the interaction that describes these others."""

    @cache
    def described(base_url: str) -> bytes:
        return orjson.dumps(document(registered, base_url=base_url, version=metadata.version("consilium-cds")))

    def answer(fhir: Fhir) -> Response:
        return Response(described(fhir.base_url), content_type="application/json")

    return Interaction("api-docs", "GET", "/api-docs", answer)
