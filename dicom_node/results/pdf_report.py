"""A reading as an Encapsulated PDF (PS3.3 A.45.1): the report for archives that show no structured report."""

from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from clinical.codes import CHEST_IMAGING_STUDY
from clinical.finding import Reading, ReadingMask
from dicom_node.results.context import NOT_FOR_DIAGNOSIS, ResultContext
from dicom_node.results.finish import code, finish
from dicom_node.results.pdf_text import pdf
from dicom_node.results.plain import begin, image_meant, in_words, verdict
from dicom_node.results.source import normalise_source


def encode_pdf_report(reading: Reading, mask: ReadingMask, source: Dataset, context: ResultContext) -> Dataset:
    """Return the report as a document of text, also when nothing was found.

    Raises Unsupported when the image cannot be referred to.
    """
    del mask
    header = normalise_source(source)
    ds = begin(header, context, EncapsulatedPDFStorage, "DOC")
    title = f"{reading.model.label} report"
    document = pdf(_lines(reading, header, context), title)
    ds.AcquisitionDateTime = ""
    ds.BurnedInAnnotation = "YES"
    ds.SourceInstanceSequence = [image_meant(reading)]
    ds.DocumentTitle = title
    ds.ConceptNameCodeSequence = [code(CHEST_IMAGING_STUDY)]
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocumentLength = len(document)
    ds.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    return finish(ds, header, reading, context, "PDF report")


def _lines(reading: Reading, header: Dataset, context: ResultContext) -> list[tuple[int, str]]:
    image, made = reading.image, context.created
    day = str(header.StudyDate)
    return [
        (16, NOT_FOR_DIAGNOSIS),
        (10, "Result of an AI model, not reviewed by a human."),
        (10, ""),
        (10, f"Patient: {header.PatientName}, ID {header.PatientID}, born {header.PatientBirthDate}"),
        (10, f"Study of {day or 'unknown date'}, accession number {header.AccessionNumber or 'none'}"),
        (10, f"Image {image.sop_instance_uid} ({image.modality}, {image.rows} x {image.columns})"),
        (10, ""),
        (13, verdict(reading)),
        *((11, in_words(reading, one)) for one in reading.findings),
        *([(10, reading.comparison.in_words)] if reading.comparison is not None else []),
        (10, ""),
        (10, f"Threshold {reading.threshold}. {_of_sizes(reading)}"),
        *([(10, reading.caveat)] if reading.caveat else []),
        (10, f"Model {reading.model.label}, manifest sha256 {reading.model.digest}"),
        (10, f"{context.manufacturer} {context.software_version}, {made:%Y-%m-%d %H:%M:%S}"),
        (10, f"Revision {context.revision}"),
    ]


def _of_sizes(reading: Reading) -> str:
    spacing = reading.image.spacing
    if spacing is None:
        return "Sizes are in pixels: the image does not state its pixel spacing."
    return f"Sizes by {spacing.origin} of {spacing.row_mm} x {spacing.column_mm} mm."
