"""Make a real image's header fit to be copied into a result."""

import copy
import re
from collections.abc import Iterable

from highdicom import SpecificCharacterSetValues
from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage, MRImageStorage
from pydicom.valuerep import format_number_as_ds

from clinical.days import day_of
from clinical.errors import Unsupported
from clinical.finding import Reading
from clinical.uids import derived_uid

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
# Images that have a place in the patient by definition; without it highdicom writes nothing about them.
_MUST_BE_PLACED = frozenset((CTImageStorage, MRImageStorage))
_PLACE = ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient")
_TEXTS = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
_DATES = ("PatientBirthDate", "StudyDate")
# Also the form of ACR-NEMA, 10:09:30: PS3.5 6.2 forbids to write it, and old senders still do. 60: a leap second.
_TIME = re.compile(r"([01][0-9]|2[0-3])(?::?([0-5][0-9])(?::?((?:[0-5][0-9]|60)(?:\.[0-9]{1,6})?))?)?")
_SHAPE = {"StudyTime": _TIME, "PatientSex": re.compile(r"([MFO])")}


def normalise_source(source: Dataset) -> Dataset:
    """Return a copy whose patient and study attributes are all there; pixel data is left behind.

    Absent type 2 attributes become empty; a date, time or sex that is not one becomes empty, because
    the result would be invalid with it, and one in the form of ACR-NEMA takes today's. Everything else stays as
    the source wrote it: a PACS files a result by it, save that a character set that highdicom does not write (the
    usual Japanese one) becomes UTF-8, and so does none where a text needs one: senders that declare nothing mostly
    mean Latin 1, as which it is read.

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
    stated = ds.get("SpecificCharacterSet")
    if not _written_by_highdicom(stated) or (not stated and _needs_a_character_set(ds)):
        ds.SpecificCharacterSet = "ISO_IR 192"
    if ds.get("PatientIdentityRemoved") == "YES" and not ds.get("DeidentificationMethod"):
        ds.DeidentificationMethod = "not stated by the source"  # type 1C then (PS3.3 C.7.1.1)
    for keyword in _TYPE_2:
        if ds.get(keyword) is None:
            setattr(ds, keyword, "")
    for keyword in _DATES:
        day = day_of(str(ds.get(keyword)))
        setattr(ds, keyword, f"{day:%Y%m%d}".zfill(8) if day else "")
    for keyword, shape in _SHAPE.items():
        found = shape.fullmatch(str(ds.get(keyword)))
        setattr(ds, keyword, "".join(found.groups("")) if found else "")
    return ds


def _needs_a_character_set(ds: Dataset) -> bool:
    return any(element.VR in _TEXTS and not str(element.value).isascii() for element in ds)


def _written_by_highdicom(stated: object) -> bool:
    names = [stated] if isinstance(stated, str) else list(stated) if isinstance(stated, Iterable) else []
    return {str(one) for one in names} <= {one.value for one in SpecificCharacterSetValues}


def laterality_of(header: Dataset) -> str:
    """Return the side that an image says it shows, L or R, else "" (type 2C of a paired part: PS3.3 C.7.3.1).

    An Image Laterality of B or U is no series Laterality.
    """
    stated = (str(header.get(keyword) or "") for keyword in ("Laterality", "ImageLaterality"))
    return next((side for side in stated if side in {"L", "R"}), "")


def placed_where_needed(header: Dataset, reading: Reading) -> Dataset:
    """Return a header that a segmentation can refer to: a slice that lacks a part of its place as by `placed`."""
    return placed(header, reading) if header.SOPClassUID in _MUST_BE_PLACED else header


def placed(header: Dataset, reading: Reading) -> Dataset:
    """Give an image without a place a frame of reference that it shares with nothing.

    It is the image's own plane, first pixel at the origin: a viewer can neither fuse it nor place it in the body.
    A parametric map must have one (PS3.3 A.75.3), so a projection needs it there too.
    """
    if not all(header.get(keyword) for keyword in _PLACE):
        for keyword in _PLACE:  # a part of a place is none
            if keyword in header:
                del header[keyword]
    spacing = reading.image.spacing
    size = [1.0, 1.0] if spacing is None else [spacing.row_mm, spacing.column_mm]
    for keyword, value in (
        ("FrameOfReferenceUID", derived_uid(reading.image.sop_instance_uid, "plane of the image")),
        ("ImagePositionPatient", [0, 0, 0]),
        ("ImageOrientationPatient", [1, 0, 0, 0, 1, 0]),
        ("PixelSpacing", [format_number_as_ds(one) for one in size]),
        ("SliceThickness", 1),
    ):
        if not header.get(keyword):
            setattr(header, keyword, value)
    return header
