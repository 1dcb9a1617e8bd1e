"""What a performer tells a worklist: its claim, how far it is, what came of it (PS3.4 CC.2.1, CC.2.5-3). Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydicom.dataset import Dataset

from clinical.codes import Coding
from dicom_node.query.worklist import Code
from dicom_node.ups.states import StepState

OUR_SCHEME = "99CONSILIUM"  # of station names, by PS3.16 8.2 a private one
_WORDS, _CODE, _MEANING = 1024, 16, 64  # PS3.5 6.2: ST, SH, LO
_CONTACT = ("ContactURI", "ContactDisplayName")
_TERMS = ("ReasonForCancellation", "ProcedureStepDiscontinuationReasonCodeSequence", *_CONTACT)


@dataclass(frozen=True, slots=True)
class OutputSeries:
    """Results of one series. objects: SOP class and instance UIDs. retrieve_...: from whom."""

    study_uid: str
    series_uid: str
    objects: tuple[tuple[str, str], ...]
    retrieve_aes: tuple[str, ...] = ()
    retrieve_urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """What was done. codes: Performed Workitem Code, those that were scheduled. station: our AE title."""

    station: str
    codes: Sequence[Code]
    began: datetime
    ended: datetime
    outputs: Sequence[OutputSeries] = ()


def state_change(state: StepState, transaction_uid: str) -> Dataset:
    """Return the Action Information of Change UPS State (PS3.4 table CC.2.1-1)."""
    ds = Dataset()
    ds.TransactionUID, ds.ProcedureStepState = transaction_uid, state.value
    return ds


def progress(percent: int, words: str) -> Dataset:
    """Return how far a step in progress is. words: without patient data."""
    ds, item = Dataset(), Dataset()
    item.ProcedureStepProgress = str(percent)
    item.ProcedureStepProgressDescription = words[:_WORDS]
    ds.ProcedureStepProgressInformationSequence = [item]
    return ds


def performed(work: Work) -> Dataset:
    """Return what COMPLETED needs: the Performed Procedure Sequence, and that all is done."""
    ds = progress(100, "done")
    ds.UnifiedProcedureStepPerformedProcedureSequence = [_performed(work)]
    return ds


def discontinued(work: Work, reason: Coding, words: str) -> Dataset:
    """Return what CANCELED needs: the reason in words and as a code, and results that there are all the same."""
    ds = Dataset()
    item = Dataset()
    item.ProcedureStepProgressDescription = words[:_WORDS]
    item.ProcedureStepCancellationDateTime = _date_time(work.ended)
    item.ReasonForCancellation = words[:_WORDS]
    item.ProcedureStepDiscontinuationReasonCodeSequence = [_code(Code(reason.code, reason.scheme, reason.display))]
    ds.ProcedureStepProgressInformationSequence = [item]
    ds.UnifiedProcedureStepPerformedProcedureSequence = [_performed(work)]
    return ds


def cancel_terms(asked: Dataset | None) -> Dataset:
    """Return what a request to cancel says of why and by whom (PS3.4 table CC.2.2-1), and nothing else of it."""
    ds = Dataset()
    if asked is not None:
        for keyword in _TERMS:
            if keyword in asked and not asked[keyword].is_empty:
                ds.add(asked[keyword])
    if not all(str(one.value).isascii() for one in ds.iterall()):
        ds.SpecificCharacterSet = "ISO_IR 192"  # else whatever it is put into can be told to nobody
    return ds


def canceled_on_request(terms: Dataset, default: Coding, at: datetime) -> Dataset:
    """Return what CANCELED needs of a step that nobody began. terms: see `cancel_terms`. default: the reason."""
    ds, item, contact = Dataset(), Dataset(), Dataset()
    for one in terms:
        (ds if one.keyword == "SpecificCharacterSet" else contact if one.keyword in _CONTACT else item).add(one)
    if "ProcedureStepDiscontinuationReasonCodeSequence" not in item:
        reason = Code(default.code, default.scheme, default.display)
        item.ProcedureStepDiscontinuationReasonCodeSequence = [_code(reason)]
    item.ProcedureStepCancellationDateTime = _date_time(at)
    if len(contact):
        item.ProcedureStepCommunicationsURISequence = [contact]
    ds.ProcedureStepProgressInformationSequence = [item]
    return ds


def _performed(work: Work) -> Dataset:
    item = Dataset()
    item.PerformedStationNameCodeSequence = [_code(Code(work.station, OUR_SCHEME, work.station))]
    item.PerformedWorkitemCodeSequence = [_code(one) for one in work.codes]
    item.PerformedProcedureStepStartDateTime = _date_time(work.began)
    item.PerformedProcedureStepEndDateTime = _date_time(work.ended)
    item.OutputInformationSequence = [_output(one) for one in work.outputs]
    return item


def _output(one: OutputSeries) -> Dataset:
    """Return an item of the Referenced Instances and Access Macro (PS3.3 table 10-3b)."""
    item = Dataset()
    item.TypeOfInstances = "DICOM"
    item.StudyInstanceUID, item.SeriesInstanceUID = one.study_uid, one.series_uid
    item.ReferencedSOPSequence = [_reference(*pair) for pair in one.objects]
    if one.retrieve_aes:
        item.DICOMRetrievalSequence = [_with("RetrieveAETitle", title) for title in one.retrieve_aes]
    if one.retrieve_urls:
        item.WADORSRetrievalSequence = [_with("RetrieveURL", url) for url in one.retrieve_urls]
    return item


def _reference(sop_class: str, sop_instance: str) -> Dataset:
    item = _with("ReferencedSOPClassUID", sop_class)
    item.ReferencedSOPInstanceUID = sop_instance
    return item


def _with(keyword: str, value: str) -> Dataset:
    item = Dataset()
    setattr(item, keyword, value)
    return item


def _code(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = code.value[:_CODE], code.scheme[:_CODE]
    item.CodeMeaning = code.meaning[:_MEANING]
    return item


def _date_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y%m%d%H%M%S.%f+0000")
