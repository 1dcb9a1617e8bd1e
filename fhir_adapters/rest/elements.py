"""The top-level elements of the types we keep (R4 4.0.1), as one table a person can compare with the standard.

Notation: name:kind, then * for a list and ! for required. Kinds: o object, s text or code, t date or time,
b boolean, n number. A test holds it equal to the definitions in `fhir.resources.R4B`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_RESOURCE = "id:s implicitRules:s language:s meta:o text:o contained:o* extension:o* modifierExtension:o* "

_TABLE = {
    "Device": """
        identifier:o* definition:o udiCarrier:o* status:s statusReason:o* distinctIdentifier:s manufacturer:s
        manufactureDate:t expirationDate:t lotNumber:s serialNumber:s deviceName:o* modelNumber:s partNumber:s
        type:o specialization:o* version:o* property:o* patient:o owner:o contact:o* location:o url:s note:o*
        safety:o* parent:o""",
    "DiagnosticReport": """
        identifier:o* basedOn:o* status:s! category:o* code:o! subject:o encounter:o effectiveDateTime:t
        effectivePeriod:o issued:t performer:o* resultsInterpreter:o* specimen:o* result:o* imagingStudy:o*
        media:o* conclusion:s conclusionCode:o* presentedForm:o*""",
    "ImagingStudy": """
        identifier:o* status:s! modality:o* subject:o! encounter:o started:t basedOn:o* referrer:o interpreter:o*
        endpoint:o* numberOfSeries:n numberOfInstances:n procedureReference:o procedureCode:o* location:o
        reasonCode:o* reasonReference:o* note:o* description:s series:o*""",
    "Observation": """
        identifier:o* basedOn:o* partOf:o* status:s! category:o* code:o! subject:o focus:o* encounter:o
        effectiveDateTime:t effectivePeriod:o effectiveTiming:o effectiveInstant:t issued:t performer:o*
        valueQuantity:o valueCodeableConcept:o valueString:s valueBoolean:b valueInteger:n valueRange:o
        valueRatio:o valueSampledData:o valueTime:s valueDateTime:t valuePeriod:o dataAbsentReason:o
        interpretation:o* note:o* bodySite:o method:o specimen:o device:o referenceRange:o* hasMember:o*
        derivedFrom:o* component:o*""",
    "Patient": """
        identifier:o* active:b name:o* telecom:o* gender:s birthDate:t deceasedBoolean:b deceasedDateTime:t
        address:o* maritalStatus:o multipleBirthBoolean:b multipleBirthInteger:n photo:o* contact:o*
        communication:o* generalPractitioner:o* managingOrganization:o link:o*""",
    "Provenance": """
        target:o*! occurredPeriod:o occurredDateTime:t recorded:t! policy:s* location:o reason:o* activity:o
        agent:o*! entity:o* signature:o*""",
    "RiskAssessment": """
        identifier:o* basedOn:o parent:o status:s! method:o code:o subject:o! encounter:o occurrenceDateTime:t
        occurrencePeriod:o condition:o performer:o reasonCode:o* reasonReference:o* basis:o* prediction:o*
        mitigation:s note:o*""",
}

_STATUS_OF_A_RESULT = "registered preliminary final amended corrected cancelled entered-in-error unknown"

# Required bindings of the top level (R4: observation-status, diagnostic-report-status, imagingstudy-status,
# device-status, administrative-gender).
CODES: Mapping[tuple[str, str], frozenset[str]] = {
    ("Observation", "status"): frozenset(_STATUS_OF_A_RESULT.split()),
    ("RiskAssessment", "status"): frozenset(_STATUS_OF_A_RESULT.split()),
    ("DiagnosticReport", "status"): frozenset(f"{_STATUS_OF_A_RESULT} partial appended".split()),
    ("ImagingStudy", "status"): frozenset(["registered", "available", "cancelled", "entered-in-error", "unknown"]),
    ("Device", "status"): frozenset(["active", "inactive", "entered-in-error", "unknown"]),
    ("Patient", "gender"): frozenset(["male", "female", "other", "unknown"]),
}

CHOICES: Mapping[str, tuple[str, ...]] = {
    "DiagnosticReport": ("effective",),
    "Observation": ("effective", "value"),
    "Patient": ("deceased", "multipleBirth"),
    "Provenance": ("occurred",),
    "RiskAssessment": ("occurrence",),
}


@dataclass(frozen=True, slots=True)
class Element:
    """One element: kind as in the table above, whether it repeats and whether it must be there."""

    kind: str
    repeats: bool
    required: bool


def _read(table: str) -> dict[str, Element]:
    elements = {}
    for entry in table.split():
        name, _, rest = entry.partition(":")
        elements[name] = Element(rest[0], "*" in rest, "!" in rest)
    return elements


ELEMENTS: Mapping[str, Mapping[str, Element]] = {name: _read(_RESOURCE + table) for name, table in _TABLE.items()}
