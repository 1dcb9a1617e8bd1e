"""Which search parameters each type has, and where in a resource they look.

All of R4's and US Core's (`definitions.search_tables`, compiled from HL7's files), but for those without an
expression, `phonetic` and `near`: a test lists them. Added here: `ai-model` and `ai-confidence` on results, and a
place that R4 forgot.

What a parameter compares follows from its kind and from the type of what stands at its places: `index`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from typing import Any

from fhir_adapters.definitions.search_tables import EVERYWHERE, patient_compartment, rows_of

FHIR = "http://hl7.org/fhir/"


class Kind(StrEnum):
    """The search type (R4 3.1.1.4)."""

    TOKEN = "token"  # noqa: S105 - a FHIR search type
    STRING = "string"
    DATE = "date"
    REFERENCE = "reference"
    QUANTITY = "quantity"
    NUMBER = "number"
    URI = "uri"
    COMPOSITE = "composite"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a parameter looks.

    path: members with dots; `telecom[system=phone]` and `entry[0]` choose among a list's items. type: FHIR's, of
    what stands there. target: the type that a reference must name. system: what a bare code there means; systems:
    by code, where it depends on it. many: several can stand there.
    """

    path: str
    type: str
    target: str = ""
    system: str = ""
    systems: Mapping[str, str] = field(default_factory=dict, compare=False)
    many: bool = False


@dataclass(frozen=True, slots=True)
class SearchParameter:
    """One parameter of one type.

    canonical: its URL. targets: the types that its references may name, empty for any. components, on: of a
    composite, the parameters that it joins and the elements that it joins over ("" is the resource).
    rows: the parameters whose index rows answer it (itself, or those that say the same). only: the target types
    that these rows must have to count, or "" for a URL of elsewhere; empty for any.
    """

    name: str
    kind: Kind
    canonical: str
    places: tuple[Place, ...] = ()
    targets: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    on: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    @property
    def index_name(self) -> str:
        """The names of its rows as criteria take them: several with a bar between."""
        return "|".join(self.rows)


@dataclass(frozen=True, slots=True)
class TypeSearch:
    """The parameters of one type, and which of them the hot columns answer.

    hot_patient: parameters that, asked for a Patient, mean the one patient the resource is about.
    hot_code, hot_date: the parameter of the code column and of the date column.
    read_only: clients may read and search, and only this server writes.
    """

    parameters: Mapping[str, SearchParameter]
    hot_patient: tuple[str, ...] = ()
    hot_code: str | None = None
    hot_date: str | None = None
    read_only: bool = False


# The types that this server keeps: what its results are made of, what US Core and Synthea bundles hold, and what
# these refer to.
_KEPT = (
    *("Account", "ActivityDefinition", "AdverseEvent", "AllergyIntolerance", "Appointment", "AuditEvent"),
    *("Basic", "BodyStructure", "CarePlan", "CareTeam", "Claim", "ClaimResponse"),
    *("ClinicalImpression", "CodeSystem", "Communication", "CommunicationRequest", "Composition", "ConceptMap"),
    *("Condition", "Consent", "Coverage", "DetectedIssue", "Device", "DeviceMetric", "DeviceRequest"),
    *("DeviceUseStatement", "DiagnosticReport", "DocumentReference", "Encounter", "Endpoint", "EpisodeOfCare"),
    *("ExplanationOfBenefit", "FamilyMemberHistory", "Flag", "Goal", "Group", "GuidanceResponse"),
    *("HealthcareService", "ImagingStudy", "Immunization", "InsurancePlan", "Library", "List", "Location"),
    *("Media", "Medication", "MedicationAdministration", "MedicationDispense", "MedicationRequest"),
    *("MedicationStatement", "NutritionOrder", "Observation", "Organization", "Patient", "PlanDefinition"),
    *("Practitioner", "PractitionerRole", "Procedure", "Provenance", "Questionnaire", "QuestionnaireResponse"),
    *("RelatedPerson", "RequestGroup", "ResearchStudy", "ResearchSubject", "RiskAssessment", "Schedule"),
    *("ServiceRequest", "Slot", "Specimen", "Subscription", "Substance"),
    *("SupplyDelivery", "SupplyRequest", "Task", "ValueSet", "VisionPrescription"),
)
_READ_ONLY = frozenset({"AuditEvent"})
_COLUMNS_OF_THEIR_OWN = frozenset({"_id", "_lastUpdated"})

RESULTS = ("DiagnosticReport", "Observation", "RiskAssessment")
# What they find stands in `ai_values`.
_OF_RESULTS = (
    SearchParameter("ai-model", Kind.TOKEN, "urn:consilium:SearchParameter/ai-model"),
    SearchParameter("ai-confidence", Kind.NUMBER, "urn:consilium:SearchParameter/ai-confidence"),
)
_FORGOTTEN = {
    # The parameter reads series.modality; a study that lists no series may still name its modalities.
    ("ImagingStudy", "modality"): (Place("modality", "Coding", many=True),),
}

# The first that a type has is the hot one: what its lists are asked for by, newest first.
_HOT_CODE = ("code", "vaccine-code", "type")
_HOT_DATE = (
    *("authoredon", "date", "started", "authored", "modified", "authored-on", "recorded", "recorded-date"),
    *("effective", "effective-time", "start-date", "collected", "sent", "created", "birthdate", "period"),
    "whenhandedover",
)
_NOT_HOT = frozenset({"Device", "ImagingStudy", "Patient", "Provenance", "RiskAssessment"})  # by code


@cache
def _search_of(resource_type: str) -> TypeSearch:
    published = {**rows_of(EVERYWHERE), **rows_of(resource_type)}
    own = {
        name: _parameter(resource_type, name, row)
        for name, row in published.items()
        if name not in _COLUMNS_OF_THEIR_OWN
    }
    if resource_type in RESULTS:
        own |= {each.name: each for each in _OF_RESULTS}
    parameters = {name: _answered(each, own) for name, each in own.items()}
    return TypeSearch(
        parameters,
        _hot_patient(parameters),
        None if resource_type in _NOT_HOT else _first(_HOT_CODE, Kind.TOKEN, parameters),
        _first(_HOT_DATE, Kind.DATE, parameters),
        resource_type in _READ_ONLY,
    )


def _parameter(resource_type: str, name: str, row: list[Any]) -> SearchParameter:
    kind, definition, places, rest = row
    forgotten = _FORGOTTEN.get((resource_type, name), ())
    return SearchParameter(
        name,
        Kind(kind),
        definition if ":" in definition else f"{FHIR}SearchParameter/{definition}",
        (*(_place(*place) for place in places), *forgotten),
        tuple(rest.get("targets", ())),
        tuple(rest.get("parts", ())),
        tuple(rest.get("on", ())),
    )


def _place(path: str, kind: str, rest: dict[str, Any]) -> Place:
    return Place(
        path,
        kind,
        rest.get("is", ""),
        rest.get("system", ""),
        rest.get("systems", {}),
        bool(rest.get("many")),
    )


def _answered(parameter: SearchParameter, among: Mapping[str, SearchParameter]) -> SearchParameter:
    """Return the parameter with the index rows that answer it: fewer are written when two say the same.

    `combo-code` is what `code` and `component-code` say, `patient` what `subject` says of Patients.
    """
    wanted = {place.path for place in parameter.places}
    targets = {place.target for place in parameter.places}
    narrower = parameter.kind is Kind.REFERENCE and len(targets) == 1 and "" not in targets
    rows: list[str] = []
    for name, other in sorted(among.items()):
        theirs = {place.path for place in other.places}
        says_less = (
            theirs < wanted or (narrower and theirs <= wanted) or (theirs == wanted and name < parameter.name)
        )
        open_ = all(not place.target for place in other.places)
        if name != parameter.name and other.kind is parameter.kind and theirs and says_less and open_:
            rows.append(name)
    covered = {place.path for name in rows for place in among[name].places}
    if covered != wanted or (targets != {""} and not narrower):
        return replace(parameter, rows=(parameter.name,))
    least = _least(rows, wanted, among)
    return replace(parameter, rows=least, only=tuple(sorted(targets)) if narrower else ())


def _least(rows: list[str], wanted: set[str], among: Mapping[str, SearchParameter]) -> tuple[str, ...]:
    """Return the names that are needed to cover the places, those with most places first."""
    chosen: list[str] = []
    left = set(wanted)
    for name in sorted(rows, key=lambda each: (-len(among[each].places), each)):
        theirs = {place.path for place in among[name].places}
        if theirs & left:
            chosen.append(name)
            left -= theirs
    return tuple(sorted(chosen))


def _hot_patient(parameters: Mapping[str, SearchParameter]) -> tuple[str, ...]:
    patient = parameters.get("patient")
    if patient is None or len(patient.places) != 1 or patient.places[0].many:
        return ()
    path = patient.places[0].path
    same = [
        name
        for name, each in parameters.items()
        if each.kind is Kind.REFERENCE
        and [place.path for place in each.places] == [path]
        and each.places[0].target in ("", "Patient")
    ]
    return ("patient", *sorted(name for name in same if name != "patient"))


def _first(names: tuple[str, ...], kind: Kind, parameters: Mapping[str, SearchParameter]) -> str | None:
    return next((name for name in names if name in parameters and parameters[name].kind is kind), None)


class _Types(Mapping[str, TypeSearch]):
    """The types, each read from the tables when it is first asked for."""

    def __getitem__(self, resource_type: str) -> TypeSearch:
        if resource_type not in _NAMES:
            raise KeyError(resource_type)
        return _search_of(resource_type)

    def __contains__(self, resource_type: object) -> bool:
        return resource_type in _NAMES

    def __iter__(self) -> Iterator[str]:
        return iter(_KEPT)

    def __len__(self) -> int:
        return len(_KEPT)


class _Compartment(Mapping[str, tuple[str, ...]]):
    """The patient compartment, of the types that this server keeps."""

    def __getitem__(self, resource_type: str) -> tuple[str, ...]:
        if resource_type not in _NAMES:
            raise KeyError(resource_type)
        return tuple(patient_compartment()[resource_type])

    def __iter__(self) -> Iterator[str]:
        return (name for name in _KEPT if name in patient_compartment())

    def __len__(self) -> int:
        return sum(1 for _ in self)


_NAMES = frozenset(_KEPT)
# The types this server keeps; the capability statement and every interaction read this.
TYPES: Mapping[str, TypeSearch] = _Types()
# Type -> the parameters that tie a resource to a Patient (R4 2.23, CompartmentDefinition/patient).
COMPARTMENT: Mapping[str, tuple[str, ...]] = _Compartment()
