"""A reading as a Key Object Selection (PS3.3 A.35.4): the image in which something was found."""

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from clinical.errors import Unsupported
from clinical.finding import Reading, ReadingMask
from dicom_node.results.context import NOT_FOR_DIAGNOSIS, ResultContext
from dicom_node.results.finish import finish
from dicom_node.results.plain import verdict
from dicom_node.results.source import normalise_source
from dicom_node.results.structured_report import device_observer


def encode_key_object(
    reading: Reading, mask: ReadingMask, source: Dataset, context: ResultContext
) -> Dataset | None:
    """Return the selection of the image, or None when nothing was found in it.

    Raises Unsupported when the image cannot be referred to.
    """
    del mask
    if not reading.findings:
        return None
    header = normalise_source(source)
    header.Rows, header.Columns = reading.image.rows, reading.image.columns  # how highdicom knows an image
    try:
        content = hd.ko.KeyObjectSelection(
            document_title=codes.DCM.OfInterest,
            referenced_objects=[header],
            observer_device_context=device_observer(reading, context),
            description=f"{verdict(reading)} by {reading.model.label}. {NOT_FOR_DIAGNOSIS}.",
        )
        made = hd.ko.KeyObjectSelectionDocument(
            evidence=[header],
            content=content,
            series_instance_uid=context.series_instance_uid,
            series_number=context.series_number,
            sop_instance_uid=context.sop_instance_uid,
            instance_number=1,
            manufacturer=context.manufacturer,
        )
    except (AttributeError, KeyError) as problem:
        raise Unsupported("the image's header cannot be referred to by a key object") from problem
    ds = finish(made, header, reading, context, "key image")
    ds.SoftwareVersions = context.software_version
    ds.DeviceSerialNumber = context.device_serial
    return ds
