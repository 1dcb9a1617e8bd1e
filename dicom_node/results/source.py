"""Make a real image's header fit to be copied into a result."""

import copy
import re

from pydicom.dataset import Dataset
from pydicom.uid import UID

from clinical.errors import Unsupported

# Patient, General Study: type 2, so every result must carry them, empty if need be (PS3.3 C.7.1.1, C.7.2.1).
_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_DATE = re.compile(r"[0-9]{8}")
_TIME = re.compile(r"[0-9]{2}(?:[0-9]{2}(?:[0-9]{2}(?:\.[0-9]{1,6})?)?)?")
_SHAPE = {"PatientBirthDate": _DATE, "StudyDate": _DATE, "StudyTime": _TIME, "PatientSex": re.compile(r"[MFO]")}


def normalise_source(source: Dataset) -> Dataset:
    """Return a copy whose patient and study attributes are all there; pixel data is left behind.

    Absent type 2 attributes become empty; a date, time or sex that is not one becomes empty, because
    the result would be invalid with it. Everything else stays as the source wrote it: a PACS files a result
    by it.

    Raises Unsupported when the image does not say which instance it is.
    """
    ds = Dataset()
    for element in source:
        if element.keyword != "PixelData":
            ds.add(copy.deepcopy(element))
    if hasattr(source, "file_meta"):
        ds.file_meta = source.file_meta
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        if not ds.get(keyword):
            raise Unsupported("the image does not say which instance, series and study it is")
        setattr(ds, keyword, UID(str(ds[keyword].value)))
    for keyword in _TYPE_2:
        value = ds.get(keyword)
        shape = _SHAPE.get(keyword)
        if value is None or (shape and not shape.fullmatch(str(value))):
            setattr(ds, keyword, "")
    return ds
