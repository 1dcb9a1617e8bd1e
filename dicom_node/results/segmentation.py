"""A reading as a DICOM Segmentation (PS3.3 A.51), one segment for each finding: binary, or fractional."""

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes

from clinical.errors import IncorrectInput, Unsupported
from clinical.finding import Finding, Reading, ReadingMask
from dicom_node.results.context import ResultContext, tracking_identifier
from dicom_node.results.finish import code, ds_text, finish
from dicom_node.results.source import normalise_source, placed_where_needed

# Distinct on a grey image; CIELab as unsigned 16 bit (PS3.3 C.10.7.1.1). OHIF warns when they are absent.
_COLOURS = ((34885, 53485, 50171), (46243, 17029, 48316), (56355, 30069, 58082), (36665, 42919, 14906))


def encode_segmentation(
    reading: Reading, mask: ReadingMask, source: Dataset, context: ResultContext
) -> Dataset | None:
    """Return a BINARY SEG with segment n = finding n, or None when there are no findings.

    The pixels are those of `mask`, unchanged. Arguments, answer and errors as `_encode`.
    """
    return _encode(reading, mask, source, context, hd.seg.SegmentationTypeValues.BINARY)


def encode_fractional(
    reading: Reading, mask: ReadingMask, source: Dataset, context: ResultContext
) -> Dataset | None:
    """Return a FRACTIONAL SEG (PROBABILITY, 255 = 1): a pixel of finding n has finding n's probability.

    For readers that show how sure the model is; OHIF does not draw it. Otherwise as `encode_segmentation`.
    """
    return _encode(reading, mask, source, context, hd.seg.SegmentationTypeValues.FRACTIONAL)


def _encode(
    reading: Reading,
    mask: ReadingMask,
    source: Dataset,
    context: ResultContext,
    kind: hd.seg.SegmentationTypeValues,
) -> Dataset | None:
    """Return the segmentation, or None when there are no findings.

    A segmentation without segments is not allowed (Segment Sequence is type 1) and an all-empty one says
    "here is a nodule of no pixels"; that nothing was found stands in the structured report.

    source: the image's header.
    Raises IncorrectInput when a finding has no pixels, Unsupported when the image cannot be referred to.
    """
    if not reading.findings:
        return None
    header = placed_where_needed(normalise_source(source), reading)
    planes = [mask.of(one.number) for one in reading.findings]
    if mask.labels.shape != (reading.image.rows, reading.image.columns) or not all(one.any() for one in planes):
        raise IncorrectInput("the mask does not hold the findings of this reading")
    header.Rows, header.Columns = mask.labels.shape
    stacked = np.stack(planes, axis=-1)[None]
    fractional = kind is hd.seg.SegmentationTypeValues.FRACTIONAL
    pixels = stacked * np.array([one.probability for one in reading.findings]) if fractional else stacked
    try:
        made = hd.seg.Segmentation(
            source_images=[header],
            pixel_array=pixels.astype(np.float32 if fractional else np.uint8),
            segmentation_type=kind,
            segment_descriptions=[_segment(reading, one, context) for one in reading.findings],
            series_instance_uid=context.series_instance_uid,
            series_number=context.series_number,
            sop_instance_uid=context.sop_instance_uid,
            instance_number=1,
            manufacturer=context.manufacturer,
            manufacturer_model_name=reading.model.name,
            software_versions=context.software_version,
            device_serial_number=context.device_serial,
            content_label="AI_FINDINGS",
        )
    except (AttributeError, KeyError) as problem:
        raise Unsupported("the image's header cannot be referred to by a segmentation") from problem
    ds = finish(made, header, reading, context, "segmentation")
    ds.PixelData = made.PixelData
    _place_segment_numbers(ds)
    add_geometry(ds, reading)
    if "PatientOrientation" not in ds and "PatientOrientation" in header:
        ds.PatientOrientation = header.PatientOrientation
    return ds


def _segment(reading: Reading, finding: Finding, context: ResultContext) -> hd.seg.SegmentDescription:
    terms, model = reading.terms, reading.model
    segment = hd.seg.SegmentDescription(
        segment_number=finding.number,
        segment_label=tracking_identifier(reading, finding.number)[:64],
        segmented_property_category=hd.sr.CodedConcept.from_dataset(code(terms.category)),
        segmented_property_type=hd.sr.CodedConcept.from_dataset(code(terms.kind)),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=model.name[:64],
            version=model.version[:64],
            family=codes.cid7162.ArtificialIntelligence,
            parameters={"note": reading.caveat} if reading.caveat else None,
        ),
        tracking_uid=context.tracking_uids[finding.number],
        tracking_id=tracking_identifier(reading, finding.number),
        anatomic_regions=[hd.sr.CodedConcept.from_dataset(code(terms.body_site))],
    )
    segment.RecommendedDisplayCIELabValue = list(_COLOURS[(finding.number - 1) % len(_COLOURS)])
    return segment


def _place_segment_numbers(ds: Dataset) -> None:
    """Say the segment of each frame in the frame's own group, also when there is only one segment.

    highdicom then puts it into the shared groups, where readers (its own included) do not look for it.
    """
    shared = ds.SharedFunctionalGroupsSequence[0]
    if "SegmentIdentificationSequence" in shared:
        for frame in ds.PerFrameFunctionalGroupsSequence:
            frame.SegmentIdentificationSequence = shared.SegmentIdentificationSequence
        del shared.SegmentIdentificationSequence


def add_geometry(ds: Dataset, reading: Reading) -> None:
    """Add pixel measures and plane orientation, which OHIF reads without looking whether they are there.

    They are optional for a projection (PS3.3 A.51.5). The spacing is the image's own; without one there is
    none. Row to the right, column down: the segmentation lies on the image as it is stored.
    """
    shared = ds.SharedFunctionalGroupsSequence[0]
    frames = ds.PerFrameFunctionalGroupsSequence
    if "PixelMeasuresSequence" not in shared and "PixelMeasuresSequence" not in frames[0]:
        measures = Dataset()
        spacing = reading.image.spacing
        if spacing is not None:
            measures.PixelSpacing = [ds_text(spacing.row_mm), ds_text(spacing.column_mm)]
            measures.SliceThickness = "1"
        shared.PixelMeasuresSequence = Sequence([measures])
    for group in (shared, *frames):
        for stated in group.get("PixelMeasuresSequence", ()):
            if "SliceThickness" not in stated:  # type 1C: as for a projection, where the image does not say
                stated.SliceThickness = "1"
    if "PlaneOrientationSequence" not in shared and "PlaneOrientationSequence" not in frames[0]:
        orientation = Dataset()
        orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        shared.PlaneOrientationSequence = Sequence([orientation])
