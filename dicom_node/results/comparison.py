"""A reading beside that of an earlier image, in the report: a measurement group (TID 1501) for each point in time.

Both hold the same two numbers. TID 1502 tells them apart: time points "prior" (1) and "current" (2).
"""

from collections.abc import Sequence

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ComprehensiveSRStorage

from clinical.codes import LONG_AXIS, MAXIMUM_OF
from clinical.comparison import Comparison
from clinical.finding import ImageRef, Measurement, Reading
from clinical.uids import derived_uid
from dicom_node.results.concepts import concept, unit
from dicom_node.results.context import ResultContext

PRIOR, CURRENT = "prior", "current"


def comparison_groups(reading: Reading, context: ResultContext) -> list[Dataset]:
    """Return the groups, none for a reading that was compared with nothing.

    The prior's holds the interval, the words (a Comment), and the report of the prior where there is one.
    """
    compared = reading.comparison
    if compared is None:
        return []
    prior = _group(reading, compared.prior, (*compared.then.measurements, compared.interval), PRIOR, context)
    words = hd.sr.TextContentItem(
        name=codes.DCM.Comment, value=compared.in_words, relationship_type=hd.sr.RelationshipTypeValues.CONTAINS
    )
    prior[0].ContentSequence.append(words)
    if compared.report is not None:
        report = hd.sr.CompositeContentItem(
            name=codes.DCM.PreviousReports,
            referenced_sop_class_uid=ComprehensiveSRStorage,
            referenced_sop_instance_uid=compared.report[0],
            relationship_type=hd.sr.RelationshipTypeValues.CONTAINS,
        )
        prior[0].ContentSequence.append(report)
    return [prior, _group(reading, reading.image, compared.now.measurements, CURRENT, context)]


def evidence_of(comparison: Comparison | None) -> list[Dataset]:
    """Return what the groups refer to beside the image that was read: the prior image, and its report."""
    if comparison is None:
        return []
    image = comparison.prior
    found = [_instance(image.study_uid, image.series_uid, image.sop_class_uid, image.sop_instance_uid)]
    if comparison.report is not None:
        uid, series = comparison.report
        found.append(_instance(image.study_uid, series, ComprehensiveSRStorage, uid))
    return found


def _group(
    reading: Reading,
    image: ImageRef,
    measured: Sequence[Measurement],
    when: str,
    context: ResultContext,
) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    source = hd.sr.SourceImageForMeasurementGroup(
        referenced_sop_class_uid=image.sop_class_uid, referenced_sop_instance_uid=image.sop_instance_uid
    )
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=derived_uid(context.sop_instance_uid, "comparison", when),
            identifier=f"all {reading.terms.label}s, {when} image",
        ),
        time_point_context=hd.sr.TimePointContext(time_point=when, time_point_order=1 if when == PRIOR else 2),
        source_images=[source],
        finding_type=concept(reading.terms.observation),
        finding_sites=[hd.sr.FindingSite(concept(reading.terms.body_site))],
        measurements=[_number(one) for one in measured],
    )


def _number(one: Measurement) -> hd.sr.Measurement:
    return hd.sr.Measurement(
        name=concept(one.what),
        value=one.value,
        unit=unit(one.unit),
        derivation=concept(MAXIMUM_OF) if one.what == LONG_AXIS else None,
    )


def _instance(study: str, series: str, sop_class: str, uid: str) -> Dataset:
    ds = Dataset()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, uid
    return ds
