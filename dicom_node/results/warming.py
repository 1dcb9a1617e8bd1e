"""One small result made and thrown away: a library's first object takes most of a second, its second 30 ms."""

from datetime import UTC, datetime

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage

from clinical.codes import LONG_AXIS, LUNG, NODULE_OF_LUNG, SHORT_AXIS
from clinical.finding import Finding, FindingTerms, ImageRef, Measurement, ModelRef, Reading, ReadingMask
from clinical.uids import derived_uid
from dicom_node.results.context import ResultContext
from dicom_node.results.segmentation import encode_segmentation
from dicom_node.results.structured_report import encode_structured_report

_SIDE = 16
_UNIT = "{pixel}"


def warm() -> None:
    """Write a segmentation and a report of nobody's image, so that the first study need not wait for it."""
    uids = {name: derived_uid("warming", name) for name in ("study", "series", "instance", "result", "finding")}
    image = ImageRef(
        study_uid=uids["study"],
        series_uid=uids["series"],
        sop_instance_uid=uids["instance"],
        sop_class_uid=ComputedRadiographyImageStorage,
        modality="CR",
        rows=_SIDE,
        columns=_SIDE,
        spacing=None,
    )
    finding = Finding(
        number=1,
        probability=0.5,
        centroid_px=(6.0, 6.0),
        box_px=(4, 4, 9, 9),
        outline_px=((4, 4), (4, 8), (8, 8), (8, 4)),
        long_axis=Measurement(LONG_AXIS, 5.0, _UNIT),
        short_axis=Measurement(SHORT_AXIS, 5.0, _UNIT),
    )
    terms = FindingTerms(NODULE_OF_LUNG, NODULE_OF_LUNG, NODULE_OF_LUNG, LUNG, "nodule")
    reading = Reading(image, ModelRef("warming", "0", "0" * 64), terms, 0.5, (finding,))
    labels = np.zeros((_SIDE, _SIDE), np.int16)
    labels[4:9, 4:9] = 1
    context = ResultContext(
        sop_instance_uid=uids["result"],
        series_instance_uid=uids["result"],
        series_number=1,
        tracking_uids={1: uids["finding"]},
        manufacturer="-",
        software_version="-",
        device_serial="-",
        created=datetime(2000, 1, 1, tzinfo=UTC),
    )
    for encode in (encode_segmentation, encode_structured_report):
        encode(reading, ReadingMask(labels), _header(image), context)


def _header(image: ImageRef) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = image.sop_class_uid, image.sop_instance_uid
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = image.study_uid, image.series_uid, image.modality
    ds.Rows = ds.Columns = _SIDE
    return ds
