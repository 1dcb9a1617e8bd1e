"""create: POST [base]/[type] (R4 3.1.0.8). The server gives the id; the rest is kept byte for byte."""

from flask import Response, request

from clinical.errors import Unsupported
from fhir_adapters.outcome import body_response, outcome
from fhir_adapters.rest.fhir import Fhir, Interaction, require_type, served
from fhir_adapters.rest.negotiate import preferences, read_json_body
from fhir_adapters.rest.splice import with_identity
from fhir_adapters.search.index import index_of
from fhir_adapters.strict_json import load_object
from fhir_adapters.validation.refusal import demand_valid
from record_store.resources import NewResource, StoredResource, put
from record_store.times import to_text


def answer(fhir: Fhir, resource_type: str) -> Response:
    """Store a new resource and return 201 with its Location."""
    require_type(resource_type)
    if "If-None-Exist" in request.headers:
        # To ignore it would make the duplicate that the client asked not to make.
        raise Unsupported("conditional create is not supported yet")
    stored = store(fhir, resource_type, read_json_body(request))
    response = _preferred(stored)
    location = f"{fhir.base_url.rstrip('/')}/{resource_type}/{stored.id}/_history/{stored.version}"
    response.headers["Location"] = location
    return response


def store(fhir: Fhir, resource_type: str, data: bytes) -> StoredResource:
    """Check and store one resource in a transaction of its own and return it as it will be served."""
    sent = load_object(data)
    demand_valid(sent, resource_type)
    resource_id, updated = fhir.new_id(), to_text(fhir.now())
    body = with_identity(data, resource_id=resource_id, version=1, updated=updated)
    indexed = index_of(sent, fhir.base_url)
    new = NewResource(
        type=resource_type,
        id=resource_id,
        version=1,
        updated=updated,
        body=body,
        index=indexed.rows,
        patient=indexed.patient,
        code=indexed.code,
        date_lo=indexed.date_lo,
    )
    with fhir.db.write() as conn:
        put(conn, new)
    return StoredResource(resource_type, resource_id, 1, updated, body)


def _preferred(stored: StoredResource) -> Response:
    """R4 3.1.0.1.7: return=minimal, representation (the default) or OperationOutcome."""
    response = served(stored, 201)
    wanted = preferences(request).get("return")
    if wanted == "minimal":
        response.data = b""
    elif wanted == "operationoutcome":
        said = outcome("informational", "the resource was stored", severity="information")
        response.data = body_response(said, 201).data
    return response


INTERACTION = Interaction("create", "POST", "/<resource_type>", answer)
