"""A reading as a TID 1500 Measurement Report in a Comprehensive SR (PS3.16 TID 1500, TID 1410).

Every number is the Reading's, digit for digit. The document is PRELIMINARY and UNVERIFIED: a person has not
looked at it.
"""

from collections.abc import Sequence

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from clinical.codes import ABSENT, CHEST_IMAGING_STUDY, DICOM_DCM, Coding
from clinical.errors import Unsupported
from clinical.finding import Finding, Measurement, Reading, ReadingMask
from clinical.uids import derived_uid
from dicom_node.results.comparison import comparison_groups, evidence_of
from dicom_node.results.concepts import concept, unit
from dicom_node.results.context import Predecessor, ResultContext, tracking_identifier
from dicom_node.results.finish import finish
from dicom_node.results.source import normalise_source

PRESENCE = Coding(DICOM_DCM, "121052", "Presence of property")


def encode_structured_report(
    reading: Reading, mask: ReadingMask, source: Dataset, context: ResultContext
) -> Dataset:
    """Return the report: one group for each finding, or one statement that there is none.

    A group (TID 1410) holds the outline on the source image, tracking identifier and UID (those of the segment
    and of the Observation), the finding and its site, axes and area in the Reading's unit, the probability as
    Certainty of Finding in percent, that of malignancy as Probability of cancer where the model assesses it,
    and the algorithm (TID 4019). Beside them stands what was compared with an earlier image (comparison.py).

    Raises Unsupported when the image cannot be referred to.
    """
    del mask  # the outlines are in the findings
    groups = [_group(reading, one, context) for one in reading.findings]
    return document(reading, source, context, groups, comparison_groups(reading, context))


def document(
    reading: Reading,
    source: Dataset,
    context: ResultContext,
    groups: Sequence[Dataset],
    beside: Sequence[Dataset] = (),
) -> Dataset:
    """Return the document around the findings' groups, without any it says that nothing was found; others beside.

    Raises Unsupported when the image cannot be referred to.
    """
    header = normalise_source(source)
    report = hd.sr.MeasurementReport(
        observation_context=_observer(reading, context),
        procedure_reported=concept(CHEST_IMAGING_STUDY),
        imaging_measurements=[*(groups or [_nothing_found(reading, context)]), *beside],
        title=codes.DCM.ImagingMeasurementReport,
    )
    try:
        made = hd.sr.ComprehensiveSR(
            evidence=[header, *(evidence_of(reading.comparison) if beside else ())],
            content=report[0],
            series_instance_uid=context.series_instance_uid,
            series_number=context.series_number,
            sop_instance_uid=context.sop_instance_uid,
            instance_number=1,
            manufacturer=context.manufacturer,
            is_complete=True,
            is_final=False,
            is_verified=False,
        )
    except (AttributeError, KeyError) as problem:
        raise Unsupported("the image's header cannot be referred to by a report") from problem
    ds = finish(made, header, reading, context, "report")
    ds.SoftwareVersions = context.software_version
    ds.DeviceSerialNumber = context.device_serial
    if context.predecessor is not None:
        ds.PredecessorDocumentsSequence = [_replaced(ds, context.predecessor)]
    return ds


def _replaced(ds: Dataset, before: Predecessor) -> Dataset:
    """Return the reference to the document that this one replaces (PS3.3 C.17.2)."""
    instance, series, study = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = ds.SOPClassUID, before.sop_instance_uid
    series.SeriesInstanceUID, series.ReferencedSOPSequence = before.series_instance_uid, [instance]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = ds.StudyInstanceUID, [series]
    return study


def _group(
    reading: Reading, finding: Finding, context: ResultContext
) -> hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    terms = reading.terms
    image = hd.sr.SourceImageForRegion(
        referenced_sop_class_uid=reading.image.sop_class_uid,
        referenced_sop_instance_uid=reading.image.sop_instance_uid,
    )
    return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=context.tracking_uids[finding.number], identifier=tracking_identifier(reading, finding.number)
        ),
        referenced_region=hd.sr.ImageRegion(
            graphic_type=hd.sr.GraphicTypeValues.POLYLINE, graphic_data=outline(finding), source_image=image
        ),
        finding_category=concept(terms.category),
        finding_type=concept(terms.observation),
        finding_sites=[hd.sr.FindingSite(concept(terms.body_site))],
        algorithm_id=algorithm(reading),
        measurements=[number(one) for one in reading.measurements(finding)],
    )


def _nothing_found(reading: Reading, context: ResultContext) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """Say that the model looked at this image and that what it looks for is absent (TID 1501)."""
    image = hd.sr.SourceImageForMeasurementGroup(
        referenced_sop_class_uid=reading.image.sop_class_uid,
        referenced_sop_instance_uid=reading.image.sop_instance_uid,
    )
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=derived_uid(context.sop_instance_uid, "nothing found"), identifier=f"no {reading.terms.label}"
        ),
        source_images=[image],
        finding_type=concept(reading.terms.observation),
        finding_sites=[hd.sr.FindingSite(concept(reading.terms.body_site))],
        algorithm_id=algorithm(reading),
        qualitative_evaluations=[hd.sr.QualitativeEvaluation(name=concept(PRESENCE), value=concept(ABSENT))],
    )


def algorithm(reading: Reading) -> hd.sr.AlgorithmIdentification:
    """Return which model said it (TID 4019)."""
    return hd.sr.AlgorithmIdentification(
        name=reading.model.name,
        version=reading.model.version,
        parameters=[reading.caveat] if reading.caveat else None,
        family=codes.cid7162.ArtificialIntelligence,
    )


def outline(finding: Finding) -> NDArray[np.float64]:
    """Return the closed outline as (column, row) in image coordinates.

    DICOM counts from the corner of the first pixel, whose centre is (0.5, 0.5) (PS3.3 C.18.6.1.1); ours
    counts from its centre. An outline of fewer than three vertices becomes the finding's box.
    """
    vertices = [(column + 0.5, row + 0.5) for row, column in finding.outline_px]
    if len(vertices) < 3:
        top, left, bottom, right = finding.box_px
        vertices = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return np.asarray([*vertices, vertices[0]], np.float64)


def number(measurement: Measurement, *where: hd.sr.CoordinatesForMeasurement) -> hd.sr.Measurement:
    """Return a value with its unit and, in the viewer's form, where it was measured."""
    return hd.sr.Measurement(
        name=concept(measurement.what),
        value=measurement.value,
        unit=unit(measurement.unit),
        referenced_coordinates=list(where) or None,
    )


def _observer(reading: Reading, context: ResultContext) -> hd.sr.ObservationContext:
    return hd.sr.ObservationContext(observer_device_context=device_observer(reading, context))


def device_observer(reading: Reading, context: ResultContext) -> hd.sr.ObserverContext:
    """Return the model on this installation as the observer (TID 1004)."""
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=context.device_uid,
        name=reading.model.label,
        manufacturer_name=context.manufacturer,
        model_name=reading.model.name,
        serial_number=context.device_serial,
    )
    return hd.sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
