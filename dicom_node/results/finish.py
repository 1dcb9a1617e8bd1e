"""What every result object gets last: names, and no trace of the clock or of random numbers."""

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import format_number_as_ds

from clinical.codes import Coding
from clinical.finding import Reading
from clinical.uids import derived_uid
from dicom_node.incoming import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION
from dicom_node.results.context import ResultContext


def code(coding: Coding) -> Dataset:
    """Return a coded concept as a DICOM code sequence item."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = coding.code, coding.scheme, coding.display
    return item


def ds_text(value: float) -> str:
    """Return a number as DS: at most 16 characters (PS3.5 6.2)."""
    return format_number_as_ds(float(value))


def finish(made: Dataset, source: Dataset, reading: Reading, context: ResultContext, what: str) -> Dataset:
    """Return the object as a plain Dataset, encoded the same whenever it is made.

    highdicom puts the present time and fresh UIDs in several places; they are replaced by what the context
    says and what derives from it. Patient orientation is copied: a projection has no other orientation.
    """
    ds = Dataset()
    ds.update(made)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = made.SOPClassUID
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    ds.file_meta = meta
    date, moment = context.created.strftime("%Y%m%d"), context.created.strftime("%H%M%S")
    for stem in ("InstanceCreation", "Content", "Series"):
        setattr(ds, f"{stem}Date", date)
        setattr(ds, f"{stem}Time", moment)
    again = f" (revision {context.revision})" if context.revision > 1 else ""
    ds.SeriesDescription = f"{reading.model.label} {what}"[: 64 - len(again)] + again
    ds.InstanceNumber = context.revision
    ds.ManufacturerModelName = reading.model.name[:64]
    dimension = UID(derived_uid(context.sop_instance_uid, "dimensions"))
    for element in ds.iterall():
        if element.keyword == "DimensionOrganizationUID":
            element.value = dimension
        elif element.keyword in {"ContributionDateTime", "ObservationDateTime"}:
            element.value = date + moment
    for keyword in ("IssuerOfPatientID", "StudyDescription", "TimezoneOffsetFromUTC"):
        if keyword in source and keyword not in ds:
            ds.add(source[keyword])
    return ds
