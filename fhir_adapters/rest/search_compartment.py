"""search in the Patient compartment: GET [base]/Patient/[id]/[type]?..., POST .../_search (R4 3.1.1.1, 2.23).

`*` instead of a type searches every type that can be in it.
"""

from flask import Response

from clinical.errors import NotFound
from fhir_adapters.rest.fhir import Fhir, Interaction, require_type
from fhir_adapters.rest.operation import Pairs, asked_by_get
from fhir_adapters.rest.search_system import several
from fhir_adapters.rest.search_type import asked_by_form, search_of
from fhir_adapters.rest.several_types import answer_several, types_in
from fhir_adapters.search.compartment import compartment_of, in_compartment
from fhir_adapters.search.index import ID
from record_store.resource_types import types_present

ALL = "*"


def answer(fhir: Fhir, resource_type: str, resource_id: str, member_type: str) -> Response:
    """Return a page of the search in the query string."""
    return _found(fhir, resource_type, resource_id, member_type, asked_by_get())


def answer_form(fhir: Fhir, resource_type: str, resource_id: str, member_type: str) -> Response:
    """Return a page of the search in the form and the query string together."""
    return _found(fhir, resource_type, resource_id, member_type, asked_by_form())


def _found(fhir: Fhir, resource_type: str, resource_id: str, member_type: str, pairs: Pairs) -> Response:
    require_type(resource_type)
    if resource_type != "Patient" or not ID.fullmatch(resource_id):
        raise NotFound("only a Patient has a compartment here")
    path = f"Patient/{resource_id}/{member_type}"
    if member_type == ALL:
        return _found_all(fhir, resource_id, pairs, path)
    require_type(member_type)
    within = in_compartment(member_type, resource_id)
    if within is None:
        raise NotFound("resources of that type are in no Patient's compartment")
    return search_of(fhir, member_type, pairs, inside=(within,), path=path)


def _found_all(fhir: Fhir, patient_id: str, pairs: Pairs, path: str) -> Response:
    members = compartment_of(patient_id)
    wanted = types_in(pairs, sorted(members))
    with fhir.db.read() as conn:
        here = set(types_present(conn))
    within = {name: (members[name],) for name in wanted if name in here}
    return answer_several(fhir, several(fhir, path, within, pairs))


INTERACTION = Interaction("search-compartment", "GET", "/<resource_type>/<resource_id>/<member_type>", answer)
BY_FORM = Interaction(
    "search-compartment", "POST", "/<resource_type>/<resource_id>/<member_type>/_search", answer_form
)
