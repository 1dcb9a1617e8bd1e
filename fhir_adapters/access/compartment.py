"""What of each type is one patient's (R4 compartmentdefinition-patient), as a grant sees it: narrower than R4.

R4's Patient compartment also holds what a patient only performed, asserted or received for somebody else, and the
Groups that it is a member of, with their other members. A token for one patient does not reach those: it reaches
what is about the patient.
"""

from fhir_adapters.search.parameters import COMPARTMENT, TYPES
from record_store.criteria import AnyOf, Criterion, IdIn, Not, PatientIn, Present, ReferenceIn, Rows

# About nobody: what results refer to and everybody may know, so read and searched with a token for one patient.
SHARED = frozenset(
    {
        *("ActivityDefinition", "CodeSystem", "ConceptMap", "Endpoint", "HealthcareService", "Library"),
        *("Location", "Medication", "Organization", "PlanDefinition", "Practitioner", "PractitionerRole"),
        *("Questionnaire", "StructureDefinition", "Substance", "ValueSet"),
    }
)
_OF_SEVERAL = frozenset({"Group"})  # what is one member's shows the others


def about(resource_type: str, patients: tuple[str, ...]) -> Criterion | None:
    """Return what makes a resource of the type one of these patients' (ids); None for a type that is nobody's."""
    search = TYPES[resource_type]
    if resource_type == "Patient":
        return IdIn(patients)
    if search.hot_patient:
        return PatientIn(patients)
    if resource_type in _OF_SEVERAL or resource_type not in COMPARTMENT:
        return None
    found = [search.parameters[name].index_name for name in COMPARTMENT[resource_type]]
    return AnyOf(tuple(ReferenceIn(name, tuple(("Patient", one) for one in patients)) for name in found))


def reachable(resource_type: str, patient: str, *, reads: bool) -> Criterion | None:
    """Return what of a type a token for one patient reaches: None for all of it, AnyOf(()) for nothing."""
    own = about(resource_type, (patient,))
    if resource_type in SHARED and reads:
        return None
    if own is None:
        return AnyOf(())
    others = of_nobody(resource_type) if reads else None
    return own if others is None else AnyOf((own, others))


def of_nobody(resource_type: str) -> Criterion | None:
    """Return what makes a resource nobody's, of a type that may be: a Device that makes results, an AI model."""
    if resource_type != "Device":
        return None
    return Not(Present(TYPES["Device"].parameters["patient"].index_name, Rows.REFERENCE))
