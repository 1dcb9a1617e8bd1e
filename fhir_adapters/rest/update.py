"""update: PUT [base]/[type]/[id] (R4 3.1.0.4), or PUT [base]/[type]?condition (3.1.0.4.3).

An id that is not here yet makes a new resource of that id (3.1.0.4.1).
"""

from flask import Response, request

from clinical.errors import IncorrectInput
from fhir_adapters.rest.condition import meant
from fhir_adapters.rest.fhir import Fhir, Interaction, require_writable
from fhir_adapters.rest.negotiate import read_json_body
from fhir_adapters.rest.versions import demand_turn, draft, store, written
from fhir_adapters.search.index import ID
from fhir_adapters.strict_json import load_object
from fhir_adapters.validation.refusal import demand_valid
from record_store.resource_history import latest
from record_store.resources import lock_key


def answer(fhir: Fhir, resource_type: str, resource_id: str) -> Response:
    """Store the next version: 200, or 201 when there was none (or it was deleted)."""
    require_writable(resource_type)
    if not ID.fullmatch(resource_id):
        raise IncorrectInput("an id is 1 to 64 letters, digits, '-' or '.'", expression=[f"{resource_type}.id"])
    data = read_json_body(request)
    sent = load_object(data)
    demand_valid(sent, resource_type, fhir.profiles)
    if sent.get("id") != resource_id:
        raise IncorrectInput("the resource's id must be that of the address", expression=[f"{resource_type}.id"])
    drafted = draft(fhir, sent, data)
    with fhir.db.write() as conn:
        lock_key(conn, f"{resource_type}/{resource_id}")
        before = latest(conn, resource_type, resource_id)
        demand_turn(fhir, conn, resource_type, "u", before, request.headers.get("If-Match"))
        stored = store(fhir, conn, drafted, resource_id=resource_id, before=before, method="PUT")
    return written(fhir, stored, 201 if before is None or before.deleted else 200)


def answer_conditional(fhir: Fhir, resource_type: str) -> Response:
    """Update the one match; create when there is none, under the body's id if it has one."""
    require_writable(resource_type)
    data = read_json_body(request)
    sent = load_object(data)
    demand_valid(sent, resource_type, fhir.profiles)
    own_id, drafted = sent.get("id"), draft(fhir, sent, data)
    with fhir.db.write() as conn:
        found = meant(conn, resource_type, request.query_string.decode(), fhir.base_url)
        if found is not None and own_id not in (None, found.stored.id):
            raise IncorrectInput("the match has another id", expression=[f"{resource_type}.id"])
        resource_id = found.stored.id if found else own_id or fhir.new_id()
        lock_key(conn, f"{resource_type}/{resource_id}")
        before = latest(conn, resource_type, resource_id)
        demand_turn(fhir, conn, resource_type, "u", before, request.headers.get("If-Match"))
        stored = store(fhir, conn, drafted, resource_id=resource_id, before=before, method="PUT")
    return written(fhir, stored, 201 if before is None or before.deleted else 200)


INTERACTION = Interaction("update", "PUT", "/<resource_type>/<resource_id>", answer)
CONDITIONAL = Interaction("update", "PUT", "/<resource_type>", answer_conditional)
