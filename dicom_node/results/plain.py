"""What the kinds that no library writes begin with: patient, study, series, equipment, and the image meant."""

from pydicom.dataset import Dataset

from clinical.codes import DICOM_DCM, Coding
from clinical.finding import Finding, Reading
from dicom_node.results.context import ResultContext
from dicom_node.results.finish import code

# Patient and General Study (PS3.3 C.7.1.1, C.7.2.1); the source is normalised, so all of them are there.
_COPIED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
DERIVED_FROM = Coding(DICOM_DCM, "121322", "Source image for image processing operation")


def begin(header: Dataset, context: ResultContext, sop_class: str, modality: str) -> Dataset:
    """Return an object of this study with its identities and equipment. header: of `normalise_source`."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _COPIED:
        setattr(ds, keyword, header[keyword].value)
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, context.sop_instance_uid
    ds.SeriesInstanceUID, ds.SeriesNumber, ds.Modality = (
        context.series_instance_uid,
        context.series_number,
        modality,
    )
    ds.Manufacturer, ds.DeviceSerialNumber = context.manufacturer, context.device_serial
    ds.SoftwareVersions = context.software_version
    ds.ConversionType = "WSD"
    return ds


def image_meant(reading: Reading, purpose: Coding | None = None) -> Dataset:
    """Return a reference to the image that was read."""
    item = Dataset()
    item.ReferencedSOPClassUID = reading.image.sop_class_uid
    item.ReferencedSOPInstanceUID = reading.image.sop_instance_uid
    if purpose is not None:
        item.PurposeOfReferenceCodeSequence = [code(purpose)]
    return item


def in_words(reading: Reading, finding: Finding) -> str:
    """Return a finding's numbers in one line, the digits those of every other result."""
    said = ", ".join(
        f"{one.what.display} {one.value} {one.unit.strip('{}')}" for one in reading.measurements(finding)
    )
    return f"{finding.number}: {said}"


def verdict(reading: Reading) -> str:
    """Return in one sentence how many findings there are."""
    count = len(reading.findings)
    if count == 0:
        return f"No {reading.terms.label} found"
    return f"{count} {reading.terms.label}{'s' if count > 1 else ''} found"
