"""Results as DICOM objects: one module a kind, one line each in ENCODERS."""

from collections.abc import Callable
from dataclasses import dataclass

from pydicom.dataset import Dataset

from clinical.finding import Reading, ReadingMask
from dicom_node.results.context import SEG_SERIES_NUMBER, SR_SERIES_NUMBER, ResultContext, tracking_identifier
from dicom_node.results.segmentation import encode_segmentation
from dicom_node.results.source import normalise_source
from dicom_node.results.structured_report import encode_structured_report


@dataclass(frozen=True, slots=True)
class Encoder:
    """A kind of result. encode answers None when this kind has nothing to say about the reading."""

    kind: str
    series_number: int
    encode: Callable[[Reading, ReadingMask, Dataset, ResultContext], Dataset | None]


ENCODERS = (
    Encoder("SEG", SEG_SERIES_NUMBER, encode_segmentation),
    Encoder("SR", SR_SERIES_NUMBER, encode_structured_report),
)

__all__ = [
    "ENCODERS",
    "Encoder",
    "ResultContext",
    "encode_segmentation",
    "encode_structured_report",
    "normalise_source",
    "tracking_identifier",
]
