"""The words that a recording may hold: names of members, and values of FHIR's own small vocabularies."""

import re

PUBLIC_SYSTEMS = (
    "http://loinc.org",
    "http://snomed.info/sct",
    "http://unitsofmeasure.org",
    "http://terminology.hl7.org/",
    "http://hl7.org/fhir/",
    "http://www.nlm.nih.gov/research/umls/rxnorm",
    "http://www.ama-assn.org/go/cpt",
    "http://radlex.org",
    "http://dicom.nema.org/resources/ontology/DCM",
)
# Values of required bindings that services read. Anything else under these names is dropped.
WORDS = frozenset(
    {
        "<", "<=", ">", ">=", "accepted", "active", "amended", "arrived", "asap", "batch", "booked",
        "cancelled", "collection", "completed", "corrected", "directive", "document", "draft",
        "entered-in-error", "error", "failed", "fatal", "female", "filler-order", "final", "finished", "first",
        "history", "in-progress", "include", "information", "instance-order", "last", "male", "match",
        "message", "next", "on-hold", "onleave", "option", "order", "original-order", "other", "outcome",
        "partial", "pending", "plan", "planned", "preliminary", "previous", "proposal", "proposed", "ready",
        "received", "reflex-order", "registered", "rejected", "requested", "revoked", "routine", "searchset",
        "self", "stat", "transaction", "triaged", "unknown", "urgent", "warning",
    }
)  # fmt: skip
# Members that hold such a word.
WORDED = frozenset(
    {
        "comparator", "gender", "intent", "mode", "priority", "relation", "severity", "status", "type",
    }
)  # fmt: skip
# Members whose number is kept.
NUMBERED = frozenset(
    {
        "denominator", "dimensions", "factor", "high", "low", "lowerLimit", "multipleBirthInteger",
        "numerator", "origin", "period", "total", "upperLimit", "value", "valueDecimal", "valueInteger",
    }
)  # fmt: skip
# Members that hold an id.
IDS = frozenset(
    {
        "encounterId", "id", "patientId",
    }
)  # fmt: skip
# Members that hold a reference.
REFERENCES = frozenset(
    {
        "dispatchedOrders", "order", "performer", "reference", "selections", "userId",
    }
)  # fmt: skip
# Members whose boolean is kept.
FLAGS = frozenset(
    {
        "active", "asNeededBoolean", "deceasedBoolean", "valueBoolean",
    }
)  # fmt: skip
# Members whose object is looked into.
STRUCTURE = frozenset(
    {
        "abatementAge", "actor", "allergyIntolerance", "appointments", "bodySite", "category", "class",
        "clinicalStatus", "code", "coding", "component", "condition", "conditions", "denominator",
        "derivedFrom", "draftOrders", "effectivePeriod", "encounter", "entry", "focus", "for",
        "fulfillmentTasks", "hasMember", "high", "interpretation", "issue", "link", "low", "medication",
        "medicationCodeableConcept", "medicationReference", "medications", "method", "numerator", "onsetAge",
        "onsetPeriod", "orders", "origin", "owner", "participant", "patient", "performer", "period",
        "reasonCode", "reasonReference", "referenceRange", "relationship", "requester", "resource", "search",
        "subject", "task", "valueCodeableConcept", "valuePeriod", "valueQuantity", "valueRange", "valueRatio",
        "valueSampledData", "verificationStatus",
    }
)  # fmt: skip
# Resource types that a call may bring.
TYPES = frozenset(
    {
        "AllergyIntolerance", "Appointment", "Bundle", "CarePlan", "CareTeam", "Condition", "Coverage",
        "Device", "DeviceRequest", "DiagnosticReport", "DocumentReference", "Encounter", "FamilyMemberHistory",
        "Goal", "Group", "HealthcareService", "ImagingStudy", "Immunization", "Location", "Media",
        "Medication", "MedicationAdministration", "MedicationDispense", "MedicationOrder", "MedicationRequest",
        "MedicationStatement", "NutritionOrder", "Observation", "OperationOutcome", "Organization",
        "Parameters", "Patient", "Practitioner", "PractitionerRole", "Procedure", "Provenance",
        "QuestionnaireResponse", "RelatedPerson", "RiskAssessment", "Schedule", "ServiceRequest", "Slot",
        "Specimen", "Task", "VisionPrescription",
    }
)  # fmt: skip
REFERENCE = re.compile(r"(?:https?://[^\s]+/)?([A-Z][A-Za-z]{1,39})/([A-Za-z0-9\-.]{1,64})(?:/_history/.*)?")
DATED = re.compile(r"date|.*(?:Date|DateTime|Instant)|issued|authoredOn|started|start|end|lastUpdated")
DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?")
CODE = re.compile(r"[A-Za-z0-9\[\]{}%/*.'()^+\-_]{1,40}")
SAMPLES = re.compile(r"[0-9EUL .+\-]*")  # SampledData.data
SYSTEM = re.compile(r"[A-Za-z0-9:/.\-]{1,100}")
