"""create: POST [base]/[type] (R4 3.1.0.8). The server gives the id; the rest is kept byte for byte.

With If-None-Exist (3.1.0.8.1) the one match is answered instead, unchanged. Some clients (fhirpy) put the
condition into the address; who ignored it there would store a second resource.
"""

from flask import Response, request

from fhir_adapters.rest.condition import meant
from fhir_adapters.rest.fhir import Fhir, Interaction, require_writable
from fhir_adapters.rest.negotiate import read_json_body
from fhir_adapters.rest.versions import draft, store, written
from fhir_adapters.search.results import WITHOUT_EFFECT
from fhir_adapters.strict_json import load_object
from fhir_adapters.validation.refusal import demand_valid


def answer(fhir: Fhir, resource_type: str) -> Response:
    """Store a new resource and return 201 with its Location; 200 when the condition found one."""
    require_writable(resource_type)
    data = read_json_body(request)
    sent = load_object(data)
    demand_valid(sent, resource_type, fhir.profiles)
    condition = request.headers.get("If-None-Exist", _in_the_address())
    drafted = draft(fhir, sent, data)
    with fhir.db.write() as conn:
        if condition is not None:
            found = meant(conn, resource_type, condition, fhir.base_url)
            if found is not None:
                return written(fhir, found.stored, 200)
        stored = store(fhir, conn, drafted, resource_id=fhir.new_id(), before=None, method="POST")
    return written(fhir, stored, 201)


def _in_the_address() -> str | None:
    names = {name.partition(":")[0] for name in request.args}
    return request.query_string.decode() if names.difference(WITHOUT_EFFECT) else None


INTERACTION = Interaction("create", "POST", "/<resource_type>", answer)
