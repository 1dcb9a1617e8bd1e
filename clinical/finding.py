"""What a model saw in an image. SEG, SR, Observation, report and card are encodings of these values.

Numbers are rounded here, once, so that every encoding shows the same digits (DESIGN promise 3).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clinical.codes import AREA, CERTAINTY_OF_FINDING, PROBABILITY_OF_CANCER, Coding
from clinical.image import PixelSpacing
from clinical.lesion import LesionAssessment

if TYPE_CHECKING:
    from clinical.comparison import Comparison

MILLIMETRE = "mm"  # UCUM
DAY = "d"  # UCUM
NO_UNIT = "1"  # UCUM: a count
SQUARE_MILLIMETRE = "mm2"  # UCUM
PIXEL = "{pixel}"  # UCUM annotation: a size that must not be read as a distance
PROBABILITY_DECIMALS = 3
LENGTH_DECIMALS = 1


def percent(probability: float) -> float:
    """Return a probability of 0..1 as a percentage, with the decimals that three decimals of it allow."""
    return round(probability * 100, PROBABILITY_DECIMALS - 2)


@dataclass(frozen=True, slots=True)
class Measurement:
    """A value with its UCUM unit and what was measured."""

    what: Coding
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Which model said it. digest: sha256 (hexadecimal) of its manifest, which names all its files."""

    name: str
    version: str
    digest: str

    @property
    def label(self) -> str:
        """Name and version as people read them."""
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class ImageRef:
    """The one image (frame) that was read."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    modality: str
    rows: int
    columns: int
    spacing: PixelSpacing | None


@dataclass(frozen=True, slots=True)
class Finding:
    """One nodule or lesion, in pixels of its source image.

    number: 1 for the most probable; the segment number of the SEG and the number on the card.
    probability: 0..1, rounded to three decimals: the model's score, calibrated only if its card says so.
    centroid_px: (row, column) of the centre, in pixels from the centre of the first pixel.
    box_px: (row0, column0, row1, column1), row1 and column1 exclusive.
    outline_px: closed outline as (row, column) vertices, the first not repeated.
    long_axis, short_axis: in mm when the image states its spacing, else in pixels and said so.
    """

    number: int
    probability: float
    centroid_px: tuple[float, float]
    box_px: tuple[int, int, int, int]
    outline_px: tuple[tuple[float, float], ...]
    long_axis: Measurement
    short_axis: Measurement

    @property
    def certainty(self) -> Measurement:
        """The probability as Certainty of Finding, which PS3.16 writes in percent (TID 4006)."""
        return Measurement(CERTAINTY_OF_FINDING, percent(self.probability), "%")

    @property
    def outlined_px(self) -> float:
        """The area within the outline, in pixels (shoelace formula); of the box when there is no outline."""
        if len(self.outline_px) < 3:
            top, left, bottom, right = self.box_px
            return float((bottom - top) * (right - left))
        following = (*self.outline_px[1:], self.outline_px[0])
        doubled = sum(a[1] * b[0] - b[1] * a[0] for a, b in zip(self.outline_px, following, strict=True))
        return abs(doubled) / 2

    @property
    def has_length(self) -> bool:
        """True when the axes are distances, False when only pixels could be counted."""
        return self.long_axis.unit == MILLIMETRE


@dataclass(frozen=True, slots=True)
class FindingTerms:
    """What the model's segments mean, from its manifest; there are no defaults for these.

    category, kind: segmented property category and type (PS3.3 C.8.20.2), as codes.
    observation: what the Observation and the report say was found.
    body_site: where.
    label: the word on the card, singular ("lung nodule").
    """

    category: Coding
    kind: Coding
    observation: Coding
    body_site: Coding
    label: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What one model saw in one image: the single source of every result.

    findings: numbered from 1, most probable first; empty when the model looked and saw nothing.
    threshold: the probability from which something is a finding. lesions: what more is said of findings, by
    models that assess them. degraded: the CPU computed it because the GPU was away: the same file, but the last
    digits are not those of other readings. comparison: with an earlier image, where there was one to compare with.
    """

    image: ImageRef
    model: ModelRef
    terms: FindingTerms
    threshold: float
    findings: tuple[Finding, ...]
    lesions: tuple[LesionAssessment, ...] = ()
    degraded: bool = False
    comparison: "Comparison | None" = None

    @property
    def caveat(self) -> str:
        """What is to be said of where it was computed; "" when that was as planned."""
        return "Computed on the CPU, because the GPU was away." if self.degraded else ""

    def lesion(self, number: int) -> LesionAssessment | None:
        """Return the assessment of a finding, None when the model gives none."""
        return next((one for one in self.lesions if one.finding == number), None)

    def measurements(self, finding: Finding) -> tuple[Measurement, ...]:
        """Return what is measured of a finding, as every encoding lists it."""
        lesion = self.lesion(finding.number)
        said = () if lesion is None else (Measurement(PROBABILITY_OF_CANCER, percent(lesion.probability), "%"),)
        return (finding.long_axis, finding.short_axis, self.area(finding), finding.certainty, *said)

    def area(self, finding: Finding) -> Measurement:
        """Return the area within a finding's outline: mm2 when its axes are distances, else pixels.

        Holes count as inside, as the outline does not walk around them.
        """
        spacing = self.image.spacing
        of_pixel, unit = (
            (1.0, PIXEL) if spacing is None else (spacing.row_mm * spacing.column_mm, SQUARE_MILLIMETRE)
        )
        return Measurement(AREA, round(finding.outlined_px * of_pixel, LENGTH_DECIMALS), unit)


@dataclass(frozen=True, slots=True)
class ReadingMask:
    """Which pixels belong to which finding: int16, shape (rows, columns); 0 is none, n is finding n."""

    labels: NDArray[np.int16]

    def of(self, number: int) -> NDArray[np.bool_]:
        """Return the mask of one finding, shape (rows, columns)."""
        return np.asarray(self.labels == number)
