"""What is read of a step, and what a report on one holds: pure."""

from datetime import UTC, datetime

import pytest
from pydicom.dataset import Dataset

from clinical.codes import OBJECT_SET_INCOMPLETE
from clinical.errors import IncorrectInput
from dicom_node.query.worklist import Code
from dicom_node.ups import reports, workitem
from dicom_node.ups.states import Answer, said_by
from dicom_node.ups.workitem import read_workitem
from tests.dicom_node.ups.peer import code, step

BEGAN, ENDED = datetime(2026, 1, 2, 12, 0, tzinfo=UTC), datetime(2026, 1, 2, 12, 1, 30, tzinfo=UTC)
WORK = reports.Work(
    "CONSILIUM",
    [Code("110004", "DCM", "Computer Aided Detection")],
    BEGAN,
    ENDED,
    [
        reports.OutputSeries(
            "1.7", "1.8", (("1.2.3", "1.9"),), ("PACS",), ("https://ai/dicom-web/studies/1.7/series/1.8",)
        )
    ],
)


def test_codes_stations_and_words_of_a_step_are_read() -> None:
    request = Dataset()
    request.RequestedProcedureDescription = "Thorax"
    request.RequestedProcedureCodeSequence = [code("399208008", "SCT", "Plain chest X-ray")]
    found = read_workitem(step(ReferencedRequestSequence=[request], WorklistLabel="AI"))
    assert found.codes == (Code("110004", "DCM", "Computer Aided Detection"),)
    assert found.stations == (Code("CONSILIUM", "99HOSP", "AI"),)
    assert found.labels == ("Chest nodules", "AI", "Thorax", "Plain chest X-ray")


def test_series_of_one_study_are_one_input_and_one_that_names_no_objects_means_all() -> None:
    whole = step()
    first, second = step(objects=("1.1", "1.2")), step(objects=("1.3",))
    both = step(InputInformationSequence=[*first.InputInformationSequence, *second.InputInformationSequence])
    assert [one.objects for one in read_workitem(both).inputs] == [("1.1", "1.2", "1.3")]
    mixed = step(InputInformationSequence=[*first.InputInformationSequence, *whole.InputInformationSequence])
    assert [one.objects for one in read_workitem(mixed).inputs] == [()]


def test_a_place_with_a_control_character_is_none() -> None:
    (found,) = read_workitem(step(retrieve_ae="PA\0CS", retrieve_url="https://ai/rs\0/studies/1")).inputs
    assert (found.retrieve_ae, found.retrieve_url) == ("", "")
    (found,) = read_workitem(step(retrieve_ae="PACS", retrieve_url="https://ai/rs/studies/1")).inputs
    assert (found.retrieve_ae, found.retrieve_url) == ("PACS", "https://ai/rs/studies/1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"ProcedureStepState": "DONE"},
        {"SOPInstanceUID": "../1"},
        {"InputInformationSequence": [Dataset()]},
        {"InputInformationSequence": [step(study=f"1.7.{n}").InputInformationSequence[0] for n in range(65)]},
    ],
)
def test_a_step_that_cannot_be_trusted_is_refused_without_its_values(wrong) -> None:
    ds = step()
    for keyword, value in wrong.items():
        ds.add_new(keyword, "CS" if isinstance(value, str) else "SQ", value)
    with pytest.raises(IncorrectInput) as refused:
        read_workitem(ds)
    assert "DONE" not in refused.value.message
    assert "../1" not in refused.value.message


def test_what_a_step_says_is_not_shown_with_its_patient() -> None:
    assert "P1" not in repr(read_workitem(step(patient_id="P1")))


def test_a_completed_step_says_who_did_what_when_and_where_the_results_are() -> None:
    ds = reports.performed(WORK)
    (done,) = ds.UnifiedProcedureStepPerformedProcedureSequence
    assert done.PerformedStationNameCodeSequence[0].CodeValue == "CONSILIUM"
    assert done.PerformedWorkitemCodeSequence[0].CodeValue == "110004"
    assert done.PerformedProcedureStepStartDateTime.startswith("20260102120000")
    assert done.PerformedProcedureStepEndDateTime == "20260102120130.000000+0000"
    (made,) = done.OutputInformationSequence
    assert (made.StudyInstanceUID, made.SeriesInstanceUID) == ("1.7", "1.8")
    assert made.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.9"
    assert made.DICOMRetrievalSequence[0].RetrieveAETitle == "PACS"
    assert made.WADORSRetrievalSequence[0].RetrieveURL == "https://ai/dicom-web/studies/1.7/series/1.8"
    assert ds.ProcedureStepProgressInformationSequence[0].ProcedureStepProgress == 100


def test_a_canceled_step_says_why_in_words_and_as_a_code() -> None:
    ds = reports.discontinued(WORK, OBJECT_SET_INCOMPLETE, "its study is not here")
    (item,) = ds.ProcedureStepProgressInformationSequence
    (reason,) = item.ProcedureStepDiscontinuationReasonCodeSequence
    assert (reason.CodeValue, reason.CodingSchemeDesignator) == ("110523", "DCM")
    assert item.ReasonForCancellation == "its study is not here"
    assert item.ProcedureStepCancellationDateTime == "20260102120130.000000+0000"


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (0x0000, Answer.DONE), (0x0001, Answer.DONE), (0xB305, Answer.DONE), (0xB304, Answer.CONFLICT),
        (0x0107, Answer.DONE), (0x0116, Answer.DONE),
        (0xB306, Answer.CONFLICT), (0xC300, Answer.CONFLICT), (0xC301, Answer.CONFLICT), (0xC302, Answer.CONFLICT),
        (0xC307, Answer.GONE), (0x0112, Answer.GONE), (0xC304, Answer.REFUSED), (0x0110, Answer.REFUSED),
        (0xC3FF, Answer.REFUSED),
    ],
)  # fmt: skip
def test_statuses_mean_what_the_standard_says(status, answer) -> None:
    assert said_by(status).answer is answer
    assert (f"0x{status:04X}" in said_by(status).words) is (answer is not Answer.DONE)


def test_the_question_for_scheduled_steps_names_what_rules_look_at() -> None:
    asked = workitem.scheduled_steps()
    assert asked.ProcedureStepState == "SCHEDULED"
    assert {"ScheduledWorkitemCodeSequence", "ScheduledStationNameCodeSequence", "InputReadinessState"} <= set(
        asked.dir()
    )
