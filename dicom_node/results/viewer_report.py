"""The report in the form that OHIF and other Cornerstone viewers turn into measurements (TID 1500, TID 1501).

A viewer of that family makes a measurement of a group only when its numbers hold the coordinates themselves and
the tracking identifier names one of its tools; of the ordinary report it shows the outlines, not the numbers.
Tracking UIDs and numbers are those of the ordinary report.
"""

import highdicom as hd
from pydicom.dataset import Dataset

from clinical.codes import AREA
from clinical.finding import Finding, Reading, ReadingMask
from dicom_node.results.concepts import concept
from dicom_node.results.context import ResultContext
from dicom_node.results.structured_report import algorithm, document, number, outline

# The tool of @cornerstonejs/adapters whose shape is any closed outline.
CORNERSTONE_FREEHAND = "Cornerstone3DTools@^0.1.0:PlanarFreehandROI"


def encode_viewer_report(reading: Reading, mask: ReadingMask, source: Dataset, context: ResultContext) -> Dataset:
    """Return the report: one group for each finding, or one statement that there is none.

    The area comes first: a viewer takes a group's first number as the size of the shape.
    Raises Unsupported when the image cannot be referred to.
    """
    del mask  # the outlines are in the findings
    return document(reading, source, context, [_group(reading, one, context) for one in reading.findings])


def _group(
    reading: Reading, finding: Finding, context: ResultContext
) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    measured = sorted(reading.measurements(finding), key=lambda one: one.what != AREA)
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=context.tracking_uids[finding.number], identifier=CORNERSTONE_FREEHAND
        ),
        finding_category=concept(reading.terms.category),
        finding_type=concept(reading.terms.observation),
        finding_sites=[hd.sr.FindingSite(concept(reading.terms.body_site))],
        algorithm_id=algorithm(reading),
        # Every number, not only the area: OHIF reads the coordinates of each without looking whether it has any.
        measurements=[number(one, _where(reading, finding)) for one in measured],
    )


def _where(reading: Reading, finding: Finding) -> hd.sr.CoordinatesForMeasurement:
    image = hd.sr.SourceImageForMeasurement(
        referenced_sop_class_uid=reading.image.sop_class_uid,
        referenced_sop_instance_uid=reading.image.sop_instance_uid,
    )
    shape = hd.sr.CoordinatesForMeasurement(
        graphic_type=hd.sr.GraphicTypeValues.POLYLINE, graphic_data=outline(finding), source_image=image
    )
    # TID 320 selects coordinates from an image; highdicom writes INFERRED FROM, which is for the number.
    shape.ContentSequence[0].RelationshipType = "SELECTED FROM"
    return shape
