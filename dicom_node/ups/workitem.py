"""A workitem as a value: the step that is asked for, and where its input lies (PS3.3 C.30.2, 10-3b). Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

from clinical.errors import IncorrectInput
from dicom_node.incoming import DECODER_ERRORS
from dicom_node.query.scu import text_of
from dicom_node.query.worklist import Code
from dicom_node.uids import checked_uid
from dicom_node.ups.states import StepState

READY = "READY"
MOST_INPUTS = 64  # studies of one step
MOST_OBJECTS = 20_000
_ASKED = (
    "SOPClassUID", "SOPInstanceUID", "InputReadinessState", "ProcedureStepLabel", "WorklistLabel",
    "ScheduledProcedureStepStartDateTime", "ScheduledProcedureStepPriority",
)  # fmt: skip
_ASKED_CODES = ("ScheduledWorkitemCodeSequence", "ScheduledStationNameCodeSequence")


# What `read_workitem` looks at, for N-GET; SOP class and instance are in its response anyway.
ATTRIBUTES = (
    *(one for one in _ASKED if not one.startswith("SOP")), *_ASKED_CODES, "ProcedureStepState", "PatientID",
    "IssuerOfPatientID", "ReferencedRequestSequence", "InputInformationSequence",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Input:
    """A study of the Input Information. objects: SOP instance UIDs that are named, none where all are meant.

    retrieve_ae, retrieve_url: AE title and WADO-RS address of who has it, "" where nobody is named.
    """

    study_uid: str
    objects: tuple[str, ...] = ()
    retrieve_ae: str = ""
    retrieve_url: str = ""


@dataclass(frozen=True, slots=True)
class Workitem:
    """A step; "" and () where it says nothing. labels: words that say what is to be done.

    readiness: Input Readiness State (0040,4041).
    """

    uid: str
    state: StepState
    readiness: str
    codes: tuple[Code, ...]
    stations: tuple[Code, ...]
    labels: tuple[str, ...]
    patient_id: str
    issuer_of_patient_id: str
    inputs: tuple[Input, ...]

    def __repr__(self) -> str:
        # A repr lands in logs and tracebacks; the patient must not.
        return f"Workitem(state={self.state!r}, inputs={len(self.inputs)}, ...)"


def scheduled_steps() -> Dataset:
    """Return the Identifier that asks a worklist for what is scheduled (PS3.4 CC.2.8.2)."""
    ds, code, request = Dataset(), Dataset(), Dataset()
    for keyword in _ASKED:
        setattr(ds, keyword, "")
    for keyword in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning"):
        setattr(code, keyword, "")
    for keyword in _ASKED_CODES:
        setattr(ds, keyword, [code])
    request.RequestedProcedureDescription = ""
    request.RequestedProcedureCodeSequence = [code]
    ds.ReferencedRequestSequence = [request]
    ds.ProcedureStepState = StepState.SCHEDULED.value
    return ds


def read_workitem(ds: Dataset) -> Workitem:
    """Return a data set of C-FIND, N-GET or UPS-RS as a value.

    Raises IncorrectInput for one without a UID or with a state that there is not, or with too many inputs.
    """
    try:
        state = StepState(text_of(ds, "ProcedureStepState"))
    except ValueError:
        raise IncorrectInput("Procedure Step State is none of PS3.3 C.30.1") from None
    requests = list(_items(ds, "ReferencedRequestSequence"))
    asked = [code for one in requests for code in codes_of(one, "RequestedProcedureCodeSequence")]
    labels = (
        text_of(ds, "ProcedureStepLabel"),
        text_of(ds, "WorklistLabel"),
        *(text_of(one, "RequestedProcedureDescription") for one in requests),
        *(code.meaning for code in asked),
    )
    return Workitem(
        uid=checked_uid(text_of(ds, "SOPInstanceUID"), "SOP Instance UID"),
        state=state,
        readiness=text_of(ds, "InputReadinessState"),
        codes=codes_of(ds, "ScheduledWorkitemCodeSequence"),
        stations=codes_of(ds, "ScheduledStationNameCodeSequence"),
        labels=tuple(one for one in labels if one),
        patient_id=text_of(ds, "PatientID"),
        issuer_of_patient_id=text_of(ds, "IssuerOfPatientID"),
        inputs=_inputs(list(_items(ds, "InputInformationSequence"))),
    )


def codes_of(ds: Dataset, keyword: str) -> tuple[Code, ...]:
    """Return the codes of a sequence; those without a value are left out."""
    read = (
        Code(*(text_of(item, one) for one in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")))
        for item in _items(ds, keyword)
    )
    return tuple(one for one in read if one.value)


def _inputs(items: Sequence[Dataset]) -> tuple[Input, ...]:
    found: dict[str, list[Dataset]] = {}
    for item in items:
        uid = checked_uid(text_of(item, "StudyInstanceUID"), "Study Instance UID of the input")
        found.setdefault(uid, []).append(item)
    if len(found) > MOST_INPUTS:
        raise IncorrectInput(f"more than {MOST_INPUTS} studies are the input")
    return tuple(_input(uid, of_study) for uid, of_study in found.items())


def _input(uid: str, items: Sequence[Dataset]) -> Input:
    # One item a series: where one of them names no objects, the whole series is meant.
    named = [
        [text_of(one, "ReferencedSOPInstanceUID") for one in _items(item, "ReferencedSOPSequence")]
        for item in items
    ]
    objects = [checked_uid(one, "SOP Instance UID of the input") for some in named for one in some]
    if len(objects) > MOST_OBJECTS:
        raise IncorrectInput(f"more than {MOST_OBJECTS} objects are the input")
    places = (
        text_of(place, "RetrieveAETitle") for item in items for place in _items(item, "DICOMRetrievalSequence")
    )
    urls = (text_of(place, "RetrieveURL") for item in items for place in _items(item, "WADORSRetrievalSequence"))
    # A control character is in no title and no address, and PostgreSQL keeps no NUL.
    url = next((one for one in urls if one and one.isprintable()), "")
    title = next((one.split("\\")[0] for one in places if one and one.isprintable()), "")
    return Input(uid, tuple(dict.fromkeys(objects)) if all(named) else (), title[:16], url)


def _items(ds: Dataset, keyword: str) -> Iterator[Any]:
    try:
        yield from ds.get(keyword) or ()
    except DECODER_ERRORS:
        return
