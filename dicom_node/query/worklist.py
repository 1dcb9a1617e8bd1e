"""Modality Worklist as SCU (PS3.4 annex K): what was ordered under an accession number."""

from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom.sop_class import ModalityWorklistInformationFind

from clinical.days import as_written_today
from clinical.laterality import side_of
from dicom_node.destinations import Destination, SendTimeouts
from dicom_node.query.scu import QUICK, find

MOST_STEPS = 32


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value, by PS3.3 section 8."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Order:
    """One scheduled procedure step and the order that it belongs to; "" where the worklist says nothing.

    accession_issuer: Issuer of Accession Number Sequence (0008,0051): its local name, else its universal one as a
    URI. patient_name: family and given name. side: "L", "R" or "B", where codes or words say it and do not
    contradict one another.
    """

    accession_number: str
    study_uid: str
    patient_id: str
    issuer_of_patient_id: str
    patient_birth_date: str
    patient_sex: str
    requested_procedure_id: str
    description: str
    codes: tuple[Code, ...]
    reason: str
    step_description: str
    step_codes: tuple[Code, ...]
    modality: str
    scheduled_date: str
    scheduled_time: str
    referring_physician: str
    side: str
    accession_issuer: str = ""
    patient_name: tuple[str, str] = ("", "")

    def __repr__(self) -> str:
        # A repr lands in logs and tracebacks; the patient must not.
        return f"Order(modality={self.modality!r}, side={self.side!r}, ...)"


def orders_of(
    worklist: Destination,
    calling_ae: str,
    *,
    accession_number: str = "",
    patient_id: str = "",
    study_uid: str = "",
    requested_procedure_id: str = "",
    timeouts: SendTimeouts = QUICK,
) -> list[Order]:
    """Return what is scheduled under these keys, of which one has to be given. Raises Unanswered, ValueError.

    requested_procedure_id: with patient_id; by itself it is unique nowhere but in its own worklist.
    """
    if not (accession_number or patient_id or study_uid):
        raise ValueError("a worklist is asked for one order, patient or study, and not for everything")
    wanted = _wanted(accession_number, patient_id, study_uid)
    wanted.RequestedProcedureID = requested_procedure_id
    found = find(
        worklist, calling_ae, wanted, model=ModalityWorklistInformationFind, most=MOST_STEPS, timeouts=timeouts
    )
    asked = {
        "accession_number": accession_number,
        "patient_id": patient_id,
        "study_uid": study_uid,
        "requested_procedure_id": requested_procedure_id,
    }
    orders = [read_order(one) for one in found]
    # A worklist may not match on a key and answer with everything: another patient's order must not come through.
    return [
        one for one in orders if all(not value or getattr(one, name) == value for name, value in asked.items())
    ]


def _wanted(accession_number: str, patient_id: str, study_uid: str) -> Dataset:
    ds, step, code = Dataset(), Dataset(), Dataset()
    issuer = Dataset()
    for keyword in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning"):
        setattr(code, keyword, "")
    for keyword in ("LocalNamespaceEntityID", "UniversalEntityID", "UniversalEntityIDType"):
        setattr(issuer, keyword, "")
    for keyword in (
        "Modality", "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime",
        "ScheduledProcedureStepDescription", "ScheduledStationAETitle", "ScheduledProcedureStepID",
    ):  # fmt: skip
        setattr(step, keyword, "")
    step.ScheduledProtocolCodeSequence = Sequence([code])
    for keyword in (
        "PatientName", "PatientBirthDate", "PatientSex", "IssuerOfPatientID", "RequestedProcedureID",
        "RequestedProcedureDescription", "ReasonForTheRequestedProcedure", "ReferringPhysicianName",
    ):  # fmt: skip
        setattr(ds, keyword, "")
    ds.AccessionNumber, ds.PatientID, ds.StudyInstanceUID = accession_number, patient_id, study_uid
    ds.IssuerOfAccessionNumberSequence = Sequence([issuer])
    ds.RequestedProcedureCodeSequence = Sequence([code])
    ds.ScheduledProcedureStepSequence = Sequence([step])
    return ds


def read_order(ds: Dataset) -> Order:
    """Return a worklist item as a value; what cannot be read is ""."""
    step = _items(ds, "ScheduledProcedureStepSequence")[:1]
    first = step[0] if step else Dataset()
    codes, step_codes = (
        _codes(ds, "RequestedProcedureCodeSequence"),
        _codes(first, "ScheduledProtocolCodeSequence"),
    )
    description, step_description = (
        _text(ds, "RequestedProcedureDescription"),
        _text(first, "ScheduledProcedureStepDescription"),
    )
    named = (*codes, *step_codes)
    return Order(
        accession_number=_text(ds, "AccessionNumber"),
        study_uid=_text(ds, "StudyInstanceUID"),
        patient_id=_text(ds, "PatientID"),
        issuer_of_patient_id=_text(ds, "IssuerOfPatientID"),
        patient_birth_date=as_written_today(_text(ds, "PatientBirthDate")),
        patient_sex=_text(ds, "PatientSex"),
        requested_procedure_id=_text(ds, "RequestedProcedureID"),
        description=description,
        codes=codes,
        reason=_text(ds, "ReasonForTheRequestedProcedure"),
        step_description=step_description,
        step_codes=step_codes,
        modality=_text(first, "Modality"),
        scheduled_date=as_written_today(_text(first, "ScheduledProcedureStepStartDate")),
        scheduled_time=_text(first, "ScheduledProcedureStepStartTime"),
        referring_physician=_text(ds, "ReferringPhysicianName"),
        side=side_of(
            (one.value for one in named), (description, step_description, *(one.meaning for one in named))
        ),
        accession_issuer=_issuer(ds),
        patient_name=_name(ds),
    )


def _issuer(ds: Dataset) -> str:
    """Return who issued the accession number, by PS3.3 10.14 (HL7 v2 Hierarchic Designator)."""
    one = next(iter(_items(ds, "IssuerOfAccessionNumberSequence")), Dataset())
    universal = _text(one, "UniversalEntityID")
    prefix = {"ISO": "urn:oid:", "UUID": "urn:uuid:", "URI": ""}.get(_text(one, "UniversalEntityIDType"))
    if universal and prefix is not None:
        universal = prefix + universal
    return _text(one, "LocalNamespaceEntityID") or universal


def _name(ds: Dataset) -> tuple[str, str]:
    try:
        name = ds.get("PatientName")
        return (str(name.family_name), str(name.given_name)) if name else ("", "")
    except (TypeError, ValueError, AttributeError):
        return "", ""


def _codes(ds: Dataset, keyword: str) -> tuple[Code, ...]:
    read = (
        Code(_text(item, "CodeValue"), _text(item, "CodingSchemeDesignator"), _text(item, "CodeMeaning"))
        for item in _items(ds, keyword)
    )
    return tuple(one for one in read if one.value)


def _items(ds: Dataset, keyword: str) -> list[Any]:
    try:
        return list(ds.get(keyword) or ())
    except (TypeError, ValueError, AttributeError):
        return []


def _text(ds: Dataset, keyword: str) -> str:
    """Return a value in one line: a control character in it would match nothing, and PostgreSQL takes no NUL."""
    try:
        value = str(ds.get(keyword) or "")
        return "".join(one if one.isprintable() else " " for one in value).strip()
    except (TypeError, ValueError, AttributeError):
        return ""
