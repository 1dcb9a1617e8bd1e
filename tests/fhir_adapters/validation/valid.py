"""Valid resources of the types that results are made of: what the faults are seeded into."""

LOINC, SNOMED, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
HL7 = "http://terminology.hl7.org/CodeSystem/"
DIV = '<div xmlns="http://www.w3.org/1999/xhtml"><p>Heart rate</p></div>'


def concept(system, code):
    return {"coding": [{"system": system, "code": code}]}


def quantity(value, unit="/min"):
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


OBSERVATION = {
    "resourceType": "Observation",
    "id": "o1",
    "meta": {"versionId": "1", "lastUpdated": "2026-11-22T08:00:00Z", "tag": [{"system": "urn:x", "code": "t"}]},
    "text": {"status": "generated", "div": DIV},
    "contained": [{"resourceType": "Device", "id": "d", "status": "active"}],
    "identifier": [{"system": "urn:oid:1.2.3", "value": "17"}],
    "status": "final",
    "category": [concept(HL7 + "observation-category", "vital-signs")],
    "code": concept(LOINC, "8867-4"),
    "subject": {"reference": "Patient/p1"},
    "effectiveDateTime": "2026-11-22T08:00:00+01:00",
    "issued": "2026-11-22T08:00:00.000Z",
    "valueQuantity": quantity(72),
    "device": {"reference": "#d"},
    "referenceRange": [{"low": quantity(50), "high": quantity(90)}],
    "component": [{"code": concept(LOINC, "8480-6"), "valueQuantity": quantity(120, "mm[Hg]")}],
}
PATIENT = {
    "resourceType": "Patient",
    "identifier": [{"system": "urn:oid:1.2.3", "value": "17", "period": {"start": "2020", "end": "2026-01"}}],
    "name": [{"family": "Müller", "given": ["Ana", "B."], "_given": [None, {"extension": [
        {"url": "http://example.org/initial", "valueBoolean": True}]}]}],
    "telecom": [{"system": "phone", "value": "1"}],
    "gender": "female",
    "birthDate": "1970-02-28",
    "_birthDate": {"extension": [{"url": "http://example.org/time", "valueDateTime": "1970-02-28T10:00:00Z"}]},
    "contact": [{"name": {"text": "N."}}],
    "photo": [{"contentType": "image/png", "data": "iVBORw=="}],
}  # fmt: skip
RISK = {
    "resourceType": "RiskAssessment",
    "status": "final",
    "subject": {"reference": "Patient/p1"},
    "occurrencePeriod": {"start": "2026-01-01", "end": "2026-12-31"},
    "basis": [{"reference": "Observation/o1"}],
    "prediction": [{"outcome": concept(SNOMED, "44054006"), "probabilityDecimal": 37.0}],
}
CONDITION = {
    "resourceType": "Condition",
    "clinicalStatus": concept(HL7 + "condition-clinical", "resolved"),
    "verificationStatus": concept(HL7 + "condition-ver-status", "confirmed"),
    "code": concept(SNOMED, "44054006"),
    "subject": {"reference": "Patient/p1"},
    "abatementDateTime": "2026",
    "evidence": [{"detail": [{"reference": "Observation/o1"}]}],
    "stage": [{"summary": {"text": "II"}}],
}
REPORT = {
    "resourceType": "DiagnosticReport",
    "status": "preliminary",
    "code": concept(LOINC, "18748-4"),
    "subject": {"reference": "urn:uuid:53fefa32-fcbb-4ff8-8a92-55ee120877b7"},
    "result": [{"reference": "Observation/o1"}],
    "presentedForm": [{"contentType": "application/pdf", "url": "http://example.org/1.pdf"}],
}
STUDY = {
    "resourceType": "ImagingStudy",
    "status": "available",
    "subject": {"reference": "Patient/p1"},
    "numberOfSeries": 1,
    "series": [{"uid": "1.2.3", "modality": {"system": DCM, "code": "DX"},
                "instance": [{"uid": "1.2.3.4", "sopClass": {"code": "urn:oid:1.2.840"}, "number": 1}]}],
}  # fmt: skip
TASK = {
    "resourceType": "Task",
    "status": "completed",
    "intent": "order",
    "authoredOn": "2026-01-01",
    "lastModified": "2026-01-02",
    "executionPeriod": {"start": "2026-01-01T08:00:00Z", "end": "2026-01-01T08:00:00Z"},
}
BUNDLE = {
    "resourceType": "Bundle",
    "type": "transaction",
    "entry": [
        {"fullUrl": "urn:uuid:53fefa32-fcbb-4ff8-8a92-55ee120877b7", "resource": PATIENT,
         "request": {"method": "POST", "url": "Patient"}},
        {"resource": OBSERVATION, "request": {"method": "PUT", "url": "Observation/o1"}},
    ],
}  # fmt: skip
CONSENT = {
    "resourceType": "Consent",
    "status": "active",
    "scope": concept(HL7 + "consentscope", "patient-privacy"),
    "category": [concept(LOINC, "59284-0")],
    "patient": {"reference": "Patient/p1"},
    "policyRule": {"text": "opt in"},
}
ORDER = {
    "resourceType": "ServiceRequest",
    "status": "active",
    "intent": "order",
    "code": {"text": "Chest"},
    "orderDetail": [{"text": "PA"}],
    "subject": {"reference": "Patient/p1"},
    "occurrenceTiming": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d", "when": ["ACM"], "offset": 5}},
}
ORGANIZATION = {"resourceType": "Organization", "name": "Ward", "telecom": [{"system": "phone", "value": "1"}]}
GOAL = {
    "resourceType": "Goal",
    "lifecycleStatus": "proposed",
    "description": {"text": "Move more"},
    "subject": {"reference": "Patient/p1"},
    "target": [{"measure": concept(LOINC, "8867-4"), "detailRange": {"low": quantity(50), "high": quantity(60)}}],
}
VALID = {
    "Observation": OBSERVATION, "Patient": PATIENT, "RiskAssessment": RISK, "Condition": CONDITION,
    "DiagnosticReport": REPORT, "ImagingStudy": STUDY, "Task": TASK, "Bundle": BUNDLE, "Consent": CONSENT,
    "ServiceRequest": ORDER, "Organization": ORGANIZATION, "Goal": GOAL,
}  # fmt: skip
