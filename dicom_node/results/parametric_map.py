"""A reading as a Parametric Map (PS3.3 A.75): of each pixel, how probable the finding is that it belongs to."""

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from clinical.codes import CERTAINTY_OF_FINDING
from clinical.errors import Unsupported
from clinical.finding import Reading, ReadingMask
from dicom_node.results.concepts import concept
from dicom_node.results.context import NOT_FOR_DIAGNOSIS, ResultContext
from dicom_node.results.finish import finish
from dicom_node.results.segmentation import add_geometry
from dicom_node.results.source import laterality_of, normalise_source, placed


def encode_parametric_map(
    reading: Reading, mask: ReadingMask, source: Dataset, context: ResultContext
) -> Dataset | None:
    """Return the map in 32-bit floating point, 0..1, or None when nothing was found.

    0 outside the findings means "no finding here": what the model thought below its threshold is not in a Reading.
    Raises Unsupported when the image cannot be referred to.
    """
    if not reading.findings:
        return None
    header = placed(normalise_source(source), reading)
    header.Rows, header.Columns = mask.labels.shape
    by_label = np.array([0.0, *(one.probability for one in reading.findings)], np.float32)
    meaning = hd.pm.RealWorldValueMapping(
        lut_label="PROBABILITY",
        lut_explanation=f"Probability of {reading.terms.label}"[:64],
        unit=codes.UCUM.NoUnits,
        value_range=(0.0, 1.0),
        slope=1.0,
        intercept=0.0,
        quantity_definition=concept(CERTAINTY_OF_FINDING),
    )
    try:
        made = hd.pm.ParametricMap(
            source_images=[header],
            pixel_array=by_label[mask.labels][None, ..., None],
            series_instance_uid=context.series_instance_uid,
            series_number=context.series_number,
            sop_instance_uid=context.sop_instance_uid,
            instance_number=1,
            manufacturer=context.manufacturer,
            manufacturer_model_name=reading.model.name,
            software_versions=context.software_version,
            device_serial_number=context.device_serial,
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[[meaning]],
            voi_lut_transformations=[hd.VOILUTTransformation(window_center=0.5, window_width=1.0)],
            content_label="AI_PROBABILITY",
            content_description=NOT_FOR_DIAGNOSIS,
        )
    except (AttributeError, KeyError) as problem:
        raise Unsupported("the image's header cannot be referred to by a parametric map") from problem
    ds = finish(made, header, reading, context, "probability map")
    ds.FloatPixelData = made.FloatPixelData
    ds.Laterality = laterality_of(header)
    add_geometry(ds, reading)
    return ds
