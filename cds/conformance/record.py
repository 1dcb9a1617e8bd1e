"""The patient that the checks bring along: invented, with what decision support usually asks for."""

from datetime import datetime, timedelta
from typing import Any

from cds.client.record import Record, record_of

PATIENT_ID = "conformance-1"
LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"

# LOINC code, value, unit, days ago.
_MEASURED = (
    ("39156-5", 34.6, "kg/m2", 30),
    ("29463-7", 104.0, "kg", 30),
    ("8302-2", 173.0, "cm", 30),
    ("8280-0", 118.0, "cm", 30),
    ("14771-0", 8.4, "mmol/L", 20),
    ("1558-6", 151.0, "mg/dL", 21),
    ("4548-4", 7.1, "%", 20),
    ("8867-4", 84.0, "/min", 5),
)


def invented_record(now: datetime) -> Record:
    """Return the record, its dates a few weeks before `now`."""
    resources = [_patient(), _encounter(now), _pressure(now), *(_observation(now, *row) for row in _MEASURED)]
    resources += [_condition(now), _family(now), {"resourceType": "Practitioner", "id": "example"}]
    return record_of({"resourceType": "Bundle", "entry": [{"resource": one} for one in resources]})


def _patient() -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": PATIENT_ID,
        "identifier": [{"system": "urn:oid:2.999.7", "value": "CONFORMANCE-1"}],
        "name": [{"family": "Checklist", "given": ["Conny"]}],
        "gender": "male",
        "birthDate": "1958-04-03",
    }


def _about(kind: str, ident: str, **more: object) -> dict[str, Any]:
    return {"resourceType": kind, "id": ident, "subject": {"reference": f"Patient/{PATIENT_ID}"}, **more}


def _day(now: datetime, ago: int) -> str:
    return (now - timedelta(days=ago)).isoformat(timespec="seconds")


def _coded(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def _quantity(value: float, unit: str) -> dict[str, Any]:
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


def _observation(now: datetime, code: str, value: float, unit: str, ago: int) -> dict[str, Any]:
    return _about(
        "Observation",
        f"o-{code}",
        status="final",
        code=_coded(LOINC, code),
        effectiveDateTime=_day(now, ago),
        valueQuantity=_quantity(value, unit),
    )


def _pressure(now: datetime) -> dict[str, Any]:
    parts = [
        {"code": _coded(LOINC, code), "valueQuantity": _quantity(value, "mm[Hg]")}
        for code, value in (("8480-6", 148.0), ("8462-4", 93.0))
    ]
    code, when = _coded(LOINC, "85354-9"), _day(now, 30)
    return _about("Observation", "o-bp", status="final", code=code, effectiveDateTime=when, component=parts)


def _encounter(now: datetime) -> dict[str, Any]:
    period = {"start": _day(now, 0)}
    return _about("Encounter", "enc-1", status="in-progress", **{"class": {"code": "AMB"}}, period=period)


def _condition(now: datetime) -> dict[str, Any]:
    code = _coded("http://snomed.info/sct", "38341003")  # hypertensive disorder
    return _about("Condition", "c-1", code=code, recordedDate=_day(now, 900))


def _family(now: datetime) -> dict[str, Any]:
    return {
        "resourceType": "FamilyMemberHistory",
        "id": "f-1",
        "status": "completed",
        "patient": {"reference": f"Patient/{PATIENT_ID}"},
        "date": _day(now, 400)[:10],
        "relationship": _coded("http://terminology.hl7.org/CodeSystem/v3-RoleCode", "MTH"),
        "condition": [{"code": _coded("http://snomed.info/sct", "44054006")}],
    }
