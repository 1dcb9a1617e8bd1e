"""Results as DICOM objects: one module a kind, one line each in ENCODERS."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pydicom.dataset import Dataset

from clinical.finding import Reading, ReadingMask
from dicom_node.results.context import Predecessor, ResultContext, tracking_identifier
from dicom_node.results.key_object import encode_key_object
from dicom_node.results.parametric_map import encode_parametric_map
from dicom_node.results.pdf_report import encode_pdf_report
from dicom_node.results.secondary_capture import encode_secondary_capture
from dicom_node.results.segmentation import encode_fractional, encode_segmentation
from dicom_node.results.source import normalise_source
from dicom_node.results.structured_report import encode_structured_report
from dicom_node.results.viewer_report import encode_viewer_report


@dataclass(frozen=True, slots=True)
class Encoder:
    """A kind of result. encode answers None when this kind has nothing to say about the reading.

    series_number: off the modality's range. needs_picture: it draws on the image, so the context has it.
    """

    kind: str
    series_number: int
    encode: Callable[[Reading, ReadingMask, Dataset, ResultContext], Dataset | None]
    needs_picture: bool = False


ENCODERS = (
    Encoder("SEG", 9001, encode_segmentation),
    Encoder("SR", 9002, encode_structured_report),
    Encoder("SEG-FRACTIONAL", 9003, encode_fractional),
    Encoder("SR-VIEWER", 9004, encode_viewer_report),
    Encoder("SC", 9005, encode_secondary_capture, needs_picture=True),
    Encoder("KO", 9006, encode_key_object),
    Encoder("PDF", 9007, encode_pdf_report),
    Encoder("PM", 9008, encode_parametric_map),
)


def encoders_of(kinds: Iterable[str]) -> tuple[Encoder, ...]:
    """Return the encoders of these kinds, in the order of the table."""
    wanted = frozenset(kinds)
    return tuple(one for one in ENCODERS if one.kind in wanted)


__all__ = [
    "ENCODERS",
    "Encoder",
    "Predecessor",
    "ResultContext",
    "encode_fractional",
    "encode_key_object",
    "encode_parametric_map",
    "encode_pdf_report",
    "encode_secondary_capture",
    "encode_segmentation",
    "encode_structured_report",
    "encode_viewer_report",
    "encoders_of",
    "normalise_source",
    "tracking_identifier",
]
