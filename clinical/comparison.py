"""What one model version says of two images of a patient, side by side. Findings are not matched one to one.

Without a registration of the two images nothing tells which finding of one is which of the other, so nothing here
calls a finding new, gone, larger or smaller: counts and the longest axis stand side by side, and people judge.
"""

from dataclasses import dataclass
from datetime import date

from clinical.codes import INTERVAL, LONG_AXIS, NUMBER_OF_LESIONS
from clinical.finding import DAY, MILLIMETRE, NO_UNIT, ImageRef, Measurement, Reading
from clinical.image import SpacingOrigin

# In the patient, or calibrated: what the detector or an uncalibrated spacing says depends on the magnification.
TRUE_SPACING = frozenset((SpacingOrigin.PIXEL_SPACING, SpacingOrigin.ULTRASOUND_REGION))
NOT_MATCHED = "Findings of the two images are not matched one to one."


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two images. longest_mm: the longest axis of its findings; None where there is no true length."""

    count: int
    longest_mm: float | None

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """What is told of it, as every encoding lists it."""
        longest = () if self.longest_mm is None else (Measurement(LONG_AXIS, self.longest_mm, MILLIMETRE),)
        return (Measurement(NUMBER_OF_LESIONS, self.count, NO_UNIT), *longest)


@dataclass(frozen=True, slots=True)
class Comparison:
    """prior: the earlier image. day: of its study (YYYY-MM-DD). label: what the model looks for, singular.

    reading_id: of the stored reading of the prior; "" when it was read for this comparison and nothing was
    published of it. report: SOP and series instance UID of that reading's SR, None where there is none.
    """

    prior: ImageRef
    day: str
    interval_days: int
    then: Side
    now: Side
    label: str
    reading_id: str = ""
    report: tuple[str, str] | None = None

    @property
    def interval(self) -> Measurement:
        """The time between the two studies."""
        return Measurement(INTERVAL, self.interval_days, DAY)

    @property
    def in_words(self) -> str:
        """Both sides in two sentences, the digits those of every encoding."""
        counts = f"{_counted(self.then.count, self.label)} then, {self.now.count or 'none'} now"
        days = f"{self.interval_days} day{'' if self.interval_days == 1 else 's'} before"
        image = f"Compared with the image of {self.day}, {days}, by the same model version"
        return f"{image}: {counts}{self._sizes}. {NOT_MATCHED}"

    @property
    def _sizes(self) -> str:
        then, now = self.then.longest_mm, self.now.longest_mm
        if then is not None and now is not None:
            return f"; longest axis {then} mm then, {now} mm now"
        if self.then.count and self.now.count:
            return "; sizes are not compared, as not both images state lengths in the patient"
        return ""


def compare(reading: Reading, prior: Reading, *, day: date, prior_day: date) -> Comparison:
    """Return the comparison of an image's reading with that of an earlier one, by the same model version.

    Lengths are told only when both images have a true spacing.
    """
    true = all(
        one.image.spacing is not None and one.image.spacing.origin in TRUE_SPACING for one in (reading, prior)
    )
    return Comparison(
        prior=prior.image,
        day=prior_day.isoformat(),
        interval_days=(day - prior_day).days,
        then=_side(prior, true),
        now=_side(reading, true),
        label=reading.terms.label,
    )


def _side(reading: Reading, true: bool) -> Side:
    lengths = [one.long_axis.value for one in reading.findings if one.has_length]
    return Side(len(reading.findings), max(lengths, default=None) if true else None)


def _counted(count: int, label: str) -> str:
    return f"{count or 'no'} {label}{'' if count == 1 else 's'}"
