"""The Patient compartment (R4 2.23, CompartmentDefinition/patient): what of each type belongs to one patient."""

from fhir_adapters.search.parameters import COMPARTMENT, TYPES
from record_store.criteria import AnyOf, Criterion, IdIn, PatientIn, ReferenceIn


def compartment_of(patient_id: str) -> dict[str, Criterion]:
    """Return the types that can be in a Patient's compartment, each with what makes a resource the patient's."""
    found = {name: in_compartment(name, patient_id) for name in TYPES}
    return {name: criterion for name, criterion in found.items() if criterion is not None}


def in_compartment(resource_type: str, patient_id: str) -> Criterion | None:
    """Return what makes a resource of the type the patient's; None for a type that is never in the compartment."""
    if resource_type == "Patient":
        return IdIn((patient_id,))
    search = TYPES[resource_type]
    names = [name for name in COMPARTMENT.get(resource_type, ()) if name in search.parameters]
    if not names:
        return None
    ways: list[Criterion] = [PatientIn((patient_id,))] if any(name in search.hot_patient for name in names) else []
    rows = {search.parameters[name].index_name: None for name in names if name not in search.hot_patient}
    ways += [ReferenceIn(name, (("Patient", patient_id),)) for name in rows]
    return ways[0] if len(ways) == 1 else AnyOf(tuple(ways))
