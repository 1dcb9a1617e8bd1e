"""The attributes that searches know: where each stands in an object, in the index and in the query models."""

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """Query/Retrieve Levels (PS3.4 C.6.1.1), the highest first."""

    PATIENT = 0
    STUDY = 1
    SERIES = 2
    IMAGE = 3


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute. tag: as a number. column: in the table of its level; patients stand in that of studies.

    counted: it is not in any object, the index works it out.
    """

    tag: int
    keyword: str
    vr: str
    level: Level
    column: str
    counted: bool = False


ATTRIBUTES = (
    Attribute(0x00100010, "PatientName", "PN", Level.PATIENT, "patient_name"),
    Attribute(0x00100020, "PatientID", "LO", Level.PATIENT, "patient_id"),
    Attribute(0x00100021, "IssuerOfPatientID", "LO", Level.PATIENT, "issuer_of_patient_id"),
    Attribute(0x00100030, "PatientBirthDate", "DA", Level.PATIENT, "patient_birth_date"),
    Attribute(0x00100040, "PatientSex", "CS", Level.PATIENT, "patient_sex"),
    Attribute(0x00080020, "StudyDate", "DA", Level.STUDY, "study_date"),
    Attribute(0x00080030, "StudyTime", "TM", Level.STUDY, "study_time"),
    Attribute(0x00080050, "AccessionNumber", "SH", Level.STUDY, "accession_number"),
    Attribute(0x00080061, "ModalitiesInStudy", "CS", Level.STUDY, "modalities_in_study", counted=True),
    Attribute(0x00080062, "SOPClassesInStudy", "UI", Level.STUDY, "sop_classes_in_study", counted=True),
    Attribute(0x00080090, "ReferringPhysicianName", "PN", Level.STUDY, "referring_physician_name"),
    Attribute(0x00081030, "StudyDescription", "LO", Level.STUDY, "study_description"),
    Attribute(0x0020000D, "StudyInstanceUID", "UI", Level.STUDY, "study_uid"),
    Attribute(0x00200010, "StudyID", "SH", Level.STUDY, "study_id"),
    Attribute(0x00201206, "NumberOfStudyRelatedSeries", "IS", Level.STUDY, "number_of_series", counted=True),
    Attribute(0x00201208, "NumberOfStudyRelatedInstances", "IS", Level.STUDY, "number_of_instances", counted=True),
    Attribute(0x00080021, "SeriesDate", "DA", Level.SERIES, "series_date"),
    Attribute(0x00080031, "SeriesTime", "TM", Level.SERIES, "series_time"),
    Attribute(0x00080060, "Modality", "CS", Level.SERIES, "modality"),
    Attribute(0x00080070, "Manufacturer", "LO", Level.SERIES, "manufacturer"),
    Attribute(0x00081010, "StationName", "SH", Level.SERIES, "station_name"),
    Attribute(0x0008103E, "SeriesDescription", "LO", Level.SERIES, "series_description"),
    Attribute(0x00180015, "BodyPartExamined", "CS", Level.SERIES, "body_part_examined"),
    Attribute(0x00181030, "ProtocolName", "LO", Level.SERIES, "protocol_name"),
    Attribute(0x0020000E, "SeriesInstanceUID", "UI", Level.SERIES, "series_uid"),
    Attribute(0x00200011, "SeriesNumber", "IS", Level.SERIES, "series_number"),
    Attribute(0x00200060, "Laterality", "CS", Level.SERIES, "laterality"),
    Attribute(
        0x00201209, "NumberOfSeriesRelatedInstances", "IS", Level.SERIES, "number_of_instances", counted=True
    ),
    Attribute(
        0x00400244, "PerformedProcedureStepStartDate", "DA", Level.SERIES, "performed_procedure_step_start_date"
    ),
    Attribute(
        0x00400245, "PerformedProcedureStepStartTime", "TM", Level.SERIES, "performed_procedure_step_start_time"
    ),
    Attribute(0x00080016, "SOPClassUID", "UI", Level.IMAGE, "sop_class_uid"),
    Attribute(0x00080018, "SOPInstanceUID", "UI", Level.IMAGE, "sop_instance_uid"),
    Attribute(0x00080023, "ContentDate", "DA", Level.IMAGE, "content_date"),
    Attribute(0x00080033, "ContentTime", "TM", Level.IMAGE, "content_time"),
    Attribute(0x00200013, "InstanceNumber", "IS", Level.IMAGE, "instance_number"),
    Attribute(0x00200062, "ImageLaterality", "CS", Level.IMAGE, "image_laterality"),
    Attribute(0x00280008, "NumberOfFrames", "IS", Level.IMAGE, "number_of_frames"),
    Attribute(0x00280010, "Rows", "US", Level.IMAGE, "rows"),
    Attribute(0x00280011, "Columns", "US", Level.IMAGE, "columns"),
    Attribute(0x00280100, "BitsAllocated", "US", Level.IMAGE, "bits_allocated"),
)
BY_TAG = {one.tag: one for one in ATTRIBUTES}
BY_KEYWORD = {one.keyword: one for one in ATTRIBUTES}
# The unique key of each level (PS3.4 C.6.1.1).
UNIQUE = {
    Level.PATIENT: BY_KEYWORD["PatientID"],
    Level.STUDY: BY_KEYWORD["StudyInstanceUID"],
    Level.SERIES: BY_KEYWORD["SeriesInstanceUID"],
    Level.IMAGE: BY_KEYWORD["SOPInstanceUID"],
}
