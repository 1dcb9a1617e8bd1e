"""Two models over the same images: what they agree about, as values. Pure: rows in, JSON out.

No row names a patient: studies and images are digests.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from clinical.agreement import DECIMALS, TwoByTwo, differences, kappa_interval, median, overlap, same_findings
from clinical.finding import Finding, Reading, ReadingMask
from clinical.proportion import Proportion
from record_store.shadow_readings import Subgroup

CAVEAT = "Agreement is not accuracy: nobody says here what the images show, and both models may be wrong together."
SMALLEST_GROUP = 10
NOT_STATED = "not stated"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Side:
    """What one model said of an image. seconds: None where that was not kept, as of a live reading."""

    reading: Reading
    mask: ReadingMask
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One image, read by both. first is the live model, second the one in shadow.

    probability: the highest of each; malignancy, long_mm, short_mm: of the findings that are the same.
    dice, iou: of all that each marked. findings: how many each made; same: how many of these are the same.
    """

    study: str
    image: str
    subgroup: Subgroup
    findings: tuple[int, int]
    same: int
    probability: tuple[float, float] | None
    malignancy: tuple[tuple[float, float], ...]
    long_mm: tuple[tuple[float, float], ...]
    short_mm: tuple[tuple[float, float], ...]
    dice: float | None
    iou: float | None
    seconds: tuple[float | None, float | None]

    @property
    def table(self) -> TwoByTwo:
        """Finding or none, as a table of one image."""
        return TwoByTwo.of(first=self.findings[0] > 0, second=self.findings[1] > 0)


def row_of(study: str, image: str, subgroup: Subgroup, first: Side, second: Side) -> Row:
    """Return what two readings of an image have in common. study, image: digests."""
    one, other = first.reading, second.reading
    same_shape = first.mask.labels.shape == second.mask.labels.shape
    pairs = same_findings(first.mask.labels, second.mask.labels) if same_shape else []
    found = [(_numbered(one, a), _numbered(other, b)) for a, b in pairs]
    both = bool(one.findings and other.findings)
    shared = overlap(first.mask.labels > 0, second.mask.labels > 0) if both and same_shape else None
    lengths = [(a, b) for a, b in found if a.has_length and b.has_length]
    return Row(
        study=study,
        image=image,
        subgroup=subgroup,
        findings=(len(one.findings), len(other.findings)),
        same=len(pairs),
        probability=(_highest(one), _highest(other)) if both else None,
        malignancy=_malignancy(one, other, pairs),
        long_mm=tuple((a.long_axis.value, b.long_axis.value) for a, b in lengths),
        short_mm=tuple((a.short_axis.value, b.short_axis.value) for a, b in lengths),
        dice=shared.dice if shared else None,
        iou=shared.iou if shared else None,
        seconds=(first.seconds, second.seconds),
    )


def nothing_found(study: str, image: str, subgroup: Subgroup, seconds: tuple[float | None, float | None]) -> Row:
    """Return what `row_of` does of an image in which neither found anything."""
    return Row(study, image, subgroup, (0, 0), 0, None, (), (), (), None, None, seconds)


def _numbered(reading: Reading, number: int) -> Finding:
    return next(one for one in reading.findings if one.number == number)


def _highest(reading: Reading) -> float:
    return max(one.probability for one in reading.findings)


def _malignancy(one: Reading, other: Reading, pairs: Sequence[tuple[int, int]]) -> tuple[tuple[float, float], ...]:
    said = [(one.lesion(a), other.lesion(b)) for a, b in pairs]
    return tuple((a.probability, b.probability) for a, b in said if a is not None and b is not None)


def compared(rows: Sequence[Row], *, smallest: int = SMALLEST_GROUP) -> Json:
    """Return every figure over all rows, and those of the subgroups.

    smallest: images from which on a subgroup is told of; a smaller one is only named.
    """
    return {
        "caveat": CAVEAT,
        **_figures(rows),
        "subgroups": {name: _groups(rows, pick, smallest) for name, pick in SUBGROUPS.items()},
    }


SUBGROUPS: Mapping[str, Callable[[Subgroup], str]] = {
    "modality": lambda one: one.modality,
    "manufacturer": lambda one: one.manufacturer,
    "sex": lambda one: one.sex,
    "age": lambda one: one.age_band,
}


def _figures(rows: Sequence[Row]) -> Json:
    studies: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        studies[row.study].append(row)
    tables = [sum((one.table for one in group), TwoByTwo()) for group in studies.values()]
    whole = [_of_study(group) for group in studies.values()]
    overlaps = [(row.dice, row.iou) for row in rows if row.dice is not None and row.iou is not None]
    found = [sum(row.findings[side] for row in rows) for side in (0, 1)]
    same = sum(row.same for row in rows)
    return {
        "images": len(rows),
        "studies": len(studies),
        "finding_or_none": {"image": _agreement(tables), "study": _agreement(whole)},
        "findings": {"same": same, "only_live": found[0] - same, "only_shadow": found[1] - same},
        "overlap": {
            "n": len(overlaps),
            "dice": _rounded(median([dice for dice, _ in overlaps])),
            "iou": _rounded(median([iou for _, iou in overlaps])),
        },
        "highest_probability": asdict(
            differences([row.probability for row in rows if row.probability is not None])
        ),
        "probability_of_malignancy": asdict(differences([pair for row in rows for pair in row.malignancy])),
        "long_axis_mm": asdict(differences([pair for row in rows for pair in row.long_mm])),
        "short_axis_mm": asdict(differences([pair for row in rows for pair in row.short_mm])),
        "seconds_an_image": {"live": _seconds(rows, 0), "shadow": _seconds(rows, 1)},
    }


def _of_study(rows: Sequence[Row]) -> TwoByTwo:
    first, second = (any(row.findings[side] for row in rows) for side in (0, 1))
    return TwoByTwo.of(first=first, second=second)


def _agreement(studies: Sequence[TwoByTwo]) -> Json:
    table = sum(studies, TwoByTwo())
    interval = kappa_interval(studies)
    return {
        "both": table.both,
        "only_live": table.first,
        "only_shadow": table.second,
        "neither": table.neither,
        "agreement": Proportion(table.both + table.neither, table.n).to_json(),
        "kappa": _rounded(table.kappa),
        "kappa_interval": None if interval is None else [round(one, DECIMALS) for one in interval],
        "positive_agreement": _rounded(table.positive_agreement),
        "negative_agreement": _rounded(table.negative_agreement),
    }


def _seconds(rows: Sequence[Row], side: int) -> Json:
    taken = [one for row in rows if (one := row.seconds[side]) is not None]
    slow = float(np.percentile(taken, 95)) if taken else None
    return {"n": len(taken), "median": _rounded(median(taken)), "p95": _rounded(slow)}


def _groups(rows: Sequence[Row], pick: Callable[[Subgroup], str], smallest: int) -> Json:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[pick(row.subgroup) or NOT_STATED].append(row)
    told: Json = {}
    for name, group in sorted(groups.items()):
        small = len(group) < smallest
        told[name] = {"suppressed": f"fewer than {smallest} images"} if small else _figures(group)
    return told


def counted(reasons: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Return how often each reason is given, the most frequent first."""
    total: Counter[str] = Counter()
    for each in reasons:
        total.update(each)
    return dict(total.most_common())


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DECIMALS)
