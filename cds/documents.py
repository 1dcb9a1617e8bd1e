"""What an integrator's tools read: `/openapi.json` and the wire schemas below `/schemas/cds-hooks/`."""

import hashlib
from collections.abc import Sequence

import orjson
from flask import Blueprint, Response, request

from cds.openapi import document
from cds.service import Service
from cds.wire_schema import NAMES, source
from clinical.errors import NotFound

CACHE = "max-age=300"


def blueprint(services: Sequence[Service], base_url: str, version: str) -> Blueprint:
    """Return the routes. base_url: the public one, without a trailing slash. version: of this software."""
    routes = Blueprint("documents", __name__)
    openapi = orjson.dumps(document(services, base_url, version))

    @routes.get("/openapi.json")
    def described() -> Response:
        return _cached(openapi, "application/json")

    @routes.get("/schemas/cds-hooks/<name>.json")
    def wire_schema(name: str) -> Response:
        if name not in NAMES:
            raise NotFound("there is no schema of this name")
        return _cached(source(name), "application/schema+json")

    return routes


def _cached(body: bytes, media_type: str) -> Response:
    answer = Response(body, mimetype=media_type, headers={"Cache-Control": CACHE})
    answer.set_etag(hashlib.sha256(body).hexdigest()[:32])
    answer.make_conditional(request)
    return answer
