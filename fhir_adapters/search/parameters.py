"""Which search parameters each type has, and where in the resource they look (R4 search-parameters.json).

A path walks objects and lists by member name. What a parameter compares follows from its kind and from the
shape found there: a CodeableConcept gives its codings, an Identifier its system and value, a code its value
under the system that its binding implies.

Left out on purpose, and therefore refused by name: quantity, number, uri and composite parameters.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

FHIR = "http://hl7.org/fhir/"


class Kind(StrEnum):
    """The search type (R4 3.1.1.4)."""

    TOKEN = "token"  # noqa: S105 - a FHIR search type
    STRING = "string"
    DATE = "date"
    REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class SearchParameter:
    """One parameter of one type.

    definition: id of the R4 SearchParameter. paths: where to look, all of them.
    system: what a bare code found there means. targets: only references to these types count.
    """

    name: str
    kind: Kind
    definition: str
    paths: tuple[str, ...]
    system: str = ""
    targets: tuple[str, ...] = ()

    @property
    def canonical(self) -> str:
        """The parameter's canonical URL."""
        return f"{FHIR}SearchParameter/{self.definition}"

    def values_in(self, resource: Mapping[str, Any]) -> Iterator[object]:
        """Yield what stands at the paths, lists unrolled; nothing where the shape is another."""
        for path in self.paths:
            yield from _walk(resource, path.split("."))


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


def _walk(value: object, path: list[str]) -> Iterator[object]:
    if isinstance(value, list):
        for item in value:
            yield from _walk(item, path)
    elif not path:
        yield value
    elif isinstance(value, dict) and path[0] in value:
        yield from _walk(value[path[0]], path[1:])


def _token(name: str, definition: str, *paths: str, system: str = "") -> SearchParameter:
    return SearchParameter(name, Kind.TOKEN, definition, paths, system=system)


def _string(name: str, definition: str, *paths: str) -> SearchParameter:
    return SearchParameter(name, Kind.STRING, definition, paths)


def _date(name: str, definition: str, *paths: str) -> SearchParameter:
    return SearchParameter(name, Kind.DATE, definition, paths)


def _reference(name: str, definition: str, *paths: str, targets: tuple[str, ...] = ()) -> SearchParameter:
    return SearchParameter(name, Kind.REFERENCE, definition, paths, targets=targets)


def _patient(definition: str, path: str) -> SearchParameter:
    return _reference("patient", definition, path, targets=("Patient",))


_HUMAN_NAME = tuple(f"name.{part}" for part in ("family", "given", "prefix", "suffix", "text"))
_EFFECTIVE = ("effectiveDateTime", "effectivePeriod", "effectiveInstant", "effectiveTiming.event")

# Every type has these; _id and _lastUpdated are columns of their own.
EVERYWHERE = (
    _token("_tag", "Resource-tag", "meta.tag"),
    _token("_security", "Resource-security", "meta.security"),
)

_PATIENT = (
    _token("identifier", "Patient-identifier", "identifier"),
    _string("name", "Patient-name", *_HUMAN_NAME),
    _string("family", "individual-family", "name.family"),
    _string("given", "individual-given", "name.given"),
    _date("birthdate", "individual-birthdate", "birthDate"),
    _date("death-date", "Patient-death-date", "deceasedDateTime"),
    _token("gender", "individual-gender", "gender", system=f"{FHIR}administrative-gender"),
    _token("active", "Patient-active", "active"),
    _reference("general-practitioner", "Patient-general-practitioner", "generalPractitioner"),
    _reference("organization", "Patient-organization", "managingOrganization", targets=("Organization",)),
    _reference("link", "Patient-link", "link.other"),
)

_OBSERVATION = (
    _token("identifier", "clinical-identifier", "identifier"),
    _token("code", "clinical-code", "code"),
    _token("category", "Observation-category", "category"),
    _token("status", "Observation-status", "status", system=f"{FHIR}observation-status"),
    _date("date", "clinical-date", *_EFFECTIVE),
    _patient("clinical-patient", "subject"),
    _reference("subject", "Observation-subject", "subject"),
    _reference("encounter", "clinical-encounter", "encounter", targets=("Encounter", "EpisodeOfCare")),
    _reference("performer", "Observation-performer", "performer"),
    _reference("device", "Observation-device", "device"),
    _reference("based-on", "Observation-based-on", "basedOn"),
    _reference("part-of", "Observation-part-of", "partOf"),
    _reference("derived-from", "Observation-derived-from", "derivedFrom"),
    _reference("has-member", "Observation-has-member", "hasMember"),
    _reference("focus", "Observation-focus", "focus"),
    _reference("specimen", "Observation-specimen", "specimen", targets=("Specimen",)),
    _token("method", "Observation-method", "method"),
    _token("value-concept", "Observation-value-concept", "valueCodeableConcept"),
    _token("component-code", "Observation-component-code", "component.code"),
    _token("combo-code", "Observation-combo-code", "code", "component.code"),
    _token("data-absent-reason", "Observation-data-absent-reason", "dataAbsentReason"),
)

_DIAGNOSTIC_REPORT = (
    _token("identifier", "clinical-identifier", "identifier"),
    _token("code", "clinical-code", "code"),
    _token("category", "DiagnosticReport-category", "category"),
    _token("status", "DiagnosticReport-status", "status", system=f"{FHIR}diagnostic-report-status"),
    _date("date", "clinical-date", "effectiveDateTime", "effectivePeriod"),
    _date("issued", "DiagnosticReport-issued", "issued"),
    _patient("clinical-patient", "subject"),
    _reference("subject", "DiagnosticReport-subject", "subject"),
    _reference("encounter", "clinical-encounter", "encounter", targets=("Encounter", "EpisodeOfCare")),
    _reference("performer", "DiagnosticReport-performer", "performer"),
    _reference("results-interpreter", "DiagnosticReport-results-interpreter", "resultsInterpreter"),
    _reference("result", "DiagnosticReport-result", "result", targets=("Observation",)),
    _reference("based-on", "DiagnosticReport-based-on", "basedOn"),
    _reference("media", "DiagnosticReport-media", "media.link", targets=("Media",)),
    _reference("specimen", "DiagnosticReport-specimen", "specimen", targets=("Specimen",)),
    _token("conclusion", "DiagnosticReport-conclusion", "conclusionCode"),
)

_IMAGING_STUDY = (
    _token("identifier", "clinical-identifier", "identifier"),
    _token("status", "ImagingStudy-status", "status", system=f"{FHIR}imagingstudy-status"),
    _date("started", "ImagingStudy-started", "started"),
    _patient("clinical-patient", "subject"),
    _reference("subject", "ImagingStudy-subject", "subject"),
    _reference("encounter", "ImagingStudy-encounter", "encounter", targets=("Encounter",)),
    _reference("basedon", "ImagingStudy-basedon", "basedOn"),
    _reference("endpoint", "ImagingStudy-endpoint", "endpoint", "series.endpoint", targets=("Endpoint",)),
    _reference("interpreter", "ImagingStudy-interpreter", "interpreter"),
    _reference("performer", "ImagingStudy-performer", "series.performer.actor"),
    _reference("referrer", "ImagingStudy-referrer", "referrer"),
    # The parameter reads series.modality; a study that lists no series may still name its modalities.
    _token("modality", "ImagingStudy-modality", "series.modality", "modality"),
    _token("bodysite", "ImagingStudy-bodysite", "series.bodySite"),
    _token("dicom-class", "ImagingStudy-dicom-class", "series.instance.sopClass"),
    _token("instance", "ImagingStudy-instance", "series.instance.uid"),
    _token("series", "ImagingStudy-series", "series.uid"),
    _token("reason", "ImagingStudy-reason", "reasonCode"),
)

_DEVICE = (
    _token("identifier", "Device-identifier", "identifier"),
    _token("status", "Device-status", "status", system=f"{FHIR}device-status"),
    _token("type", "Device-type", "type"),
    _string("device-name", "Device-device-name", "deviceName.name", "type.coding.display", "type.text"),
    _string("manufacturer", "Device-manufacturer", "manufacturer"),
    _string("model", "Device-model", "modelNumber"),
    _patient("Device-patient", "patient"),
    _reference("location", "Device-location", "location", targets=("Location",)),
    _reference("organization", "Device-organization", "owner", targets=("Organization",)),
)

_PROVENANCE = (
    _reference("target", "Provenance-target", "target"),
    _patient("Provenance-patient", "target"),
    _date("recorded", "Provenance-recorded", "recorded"),
    _date("when", "Provenance-when", "occurredDateTime"),
    _reference("agent", "Provenance-agent", "agent.who"),
    _token("agent-role", "Provenance-agent-role", "agent.role"),
    _token("agent-type", "Provenance-agent-type", "agent.type"),
    _reference("entity", "Provenance-entity", "entity.what"),
    _reference("location", "Provenance-location", "location", targets=("Location",)),
)

_RISK_ASSESSMENT = (
    _token("identifier", "clinical-identifier", "identifier"),
    _date("date", "clinical-date", "occurrenceDateTime"),
    _patient("clinical-patient", "subject"),
    _reference("subject", "RiskAssessment-subject", "subject"),
    _reference("encounter", "clinical-encounter", "encounter", targets=("Encounter", "EpisodeOfCare")),
    _reference("condition", "RiskAssessment-condition", "condition", targets=("Condition",)),
    _reference("performer", "RiskAssessment-performer", "performer"),
    _token("method", "RiskAssessment-method", "method"),
    _token("risk", "RiskAssessment-risk", "prediction.qualitativeRisk"),
)


_AUDIT_EVENT = (
    _token("action", "AuditEvent-action", "action", system=f"{FHIR}audit-event-action"),
    _string("address", "AuditEvent-address", "agent.network.address"),
    _reference("agent", "AuditEvent-agent", "agent.who"),
    _string("agent-name", "AuditEvent-agent-name", "agent.name"),
    _token("agent-role", "AuditEvent-agent-role", "agent.role"),
    _token("altid", "AuditEvent-altid", "agent.altId"),
    _date("date", "AuditEvent-date", "recorded"),
    _reference("entity", "AuditEvent-entity", "entity.what"),
    _token("entity-role", "AuditEvent-entity-role", "entity.role"),
    _token("entity-type", "AuditEvent-entity-type", "entity.type"),
    _token("outcome", "AuditEvent-outcome", "outcome", system=f"{FHIR}audit-event-outcome"),
    _patient("AuditEvent-patient", "entity.what"),
    _reference("source", "AuditEvent-source", "source.observer"),
    _token("subtype", "AuditEvent-subtype", "subtype"),
    _token("type", "AuditEvent-type", "type"),
)

_SERVICE_REQUEST = (
    _token("identifier", "clinical-identifier", "identifier"),
    _token("code", "clinical-code", "code"),
    _token("category", "ServiceRequest-category", "category"),
    _token("status", "ServiceRequest-status", "status", system=f"{FHIR}request-status"),
    _token("intent", "ServiceRequest-intent", "intent", system=f"{FHIR}request-intent"),
    _date("authored", "ServiceRequest-authored", "authoredOn"),
    _patient("clinical-patient", "subject"),
    _reference("subject", "ServiceRequest-subject", "subject"),
    _reference("encounter", "clinical-encounter", "encounter", targets=("Encounter", "EpisodeOfCare")),
    _reference("requester", "ServiceRequest-requester", "requester"),
    _token("body-site", "ServiceRequest-body-site", "bodySite"),
)

_DOCUMENT_REFERENCE = (
    _token("identifier", "clinical-identifier", "identifier"),
    _token("status", "DocumentReference-status", "status", system=f"{FHIR}document-reference-status"),
    _token("type", "clinical-type", "type"),
    _token("category", "DocumentReference-category", "category"),
    _date("date", "DocumentReference-date", "date"),
    _patient("clinical-patient", "subject"),
    _reference("subject", "DocumentReference-subject", "subject"),
    _reference("related", "DocumentReference-related", "context.related"),
)

_TASK = (
    _token("identifier", "Task-identifier", "identifier"),
    _token("status", "Task-status", "status", system=f"{FHIR}task-status"),
    _token("intent", "Task-intent", "intent", system=f"{FHIR}task-intent"),
    _token("code", "Task-code", "code"),
    _token("business-status", "Task-business-status", "businessStatus"),
    _date("authored-on", "Task-authored-on", "authoredOn"),
    _date("modified", "Task-modified", "lastModified"),
    _patient("Task-patient", "for"),
    _reference("subject", "Task-subject", "for"),
    _reference("focus", "Task-focus", "focus"),
    _reference("owner", "Task-owner", "owner"),
    _reference("based-on", "Task-based-on", "basedOn"),
)


def _of(
    own: tuple[SearchParameter, ...],
    hot_patient: tuple[str, ...] = (),
    hot_code: str | None = None,
    hot_date: str | None = None,
) -> TypeSearch:
    return TypeSearch({each.name: each for each in (*EVERYWHERE, *own)}, hot_patient, hot_code, hot_date)


_ABOUT_SUBJECT = ("patient", "subject")

# The types this server keeps; the capability statement and every interaction read this.
TYPES: Mapping[str, TypeSearch] = {
    "AuditEvent": replace(_of(_AUDIT_EVENT, ("patient",), "type", "date"), read_only=True),
    "Device": _of(_DEVICE, ("patient",)),
    "DiagnosticReport": _of(_DIAGNOSTIC_REPORT, _ABOUT_SUBJECT, "code", "date"),
    "DocumentReference": _of(_DOCUMENT_REFERENCE, _ABOUT_SUBJECT, "type", "date"),
    "ImagingStudy": _of(_IMAGING_STUDY, _ABOUT_SUBJECT, None, "started"),
    "Observation": _of(_OBSERVATION, _ABOUT_SUBJECT, "code", "date"),
    "Patient": _of(_PATIENT, (), None, "birthdate"),
    "Provenance": _of(_PROVENANCE, (), None, "recorded"),
    "RiskAssessment": _of(_RISK_ASSESSMENT, _ABOUT_SUBJECT, None, "date"),
    "Task": _of(_TASK, ("patient",), "code", "modified"),
    "ServiceRequest": _of(_SERVICE_REQUEST, _ABOUT_SUBJECT, "code", "authored"),
}
