"""How good the lung nodule model is, measured with the server's own transforms and regions.

A picture is looked at once (`look`): its marks (peaks of the map), its findings (what the server would report) and
one score. Nodules that a table does not ask for are passed over: neither found nor false.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.finding import Finding, ReadingMask
from clinical.measure import findings_from_probability
from model_export import froc
from model_export.datasets.radiograph import GRADES as GRADES_FROM
from model_export.datasets.radiograph import READERS_OF_TRUTH, Nodule, Radiograph, outline_of
from model_export.datasets.synthetic import PIXEL_MM, phantom
from model_export.metrics import auroc, intervals, rounded
from model_export.recipes.lung_nodule_data import SPEC, Sets
from model_export.resampling import interval
from model_runtime.transforms import prepare, restore

Float = NDArray[np.float32]
Predict = Callable[[Float], Float]  # (batch, rows, columns, channels) -> (batch, rows, columns, 1)
Wanted = Callable[[Nodule], bool]
Limits = Mapping[str, Any]  # mask, report, min_area_px
SIZES_MM = (0.0, 10.0, 15.0, 20.0)
GRADES = {"visible": 2, "faint": 1, "all": 0}  # least visibility grade of each group of tables
FALSE_MARKS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
PEAK_RADIUS_PX = 12  # of the source picture: two marks nearer than about 9 mm are one
SHOWN_FALSE_MARKS = 0.75  # per image, out of fold: what the report threshold is set for
LEAST_REPORT = 0.1  # a model that is never wrong still may not report everything
MIN_AREA_PX = 16  # of the source image; less is noise at any detector's resolution
SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the report threshold, tried for the mask
PHANTOMS = 100
# Shares of a picture at each edge that its score leaves out: the best of nine margins out of fold (AUROC on NIH
# labels 0.69 to 0.70), and better than means of several peaks or areas.
EDGE_ROWS, EDGE_COLUMNS = 0.10, 0.05


@dataclass(frozen=True, slots=True)
class Look:
    """A picture and what the model says of it.

    probability: float16, in the picture's pixels. marks: (n, 3) row, column, value.
    """

    item: Radiograph
    probability: NDArray[np.float16]
    marks: NDArray[np.float64]

    @property
    def score(self) -> float:
        """One number for the picture: its highest peak, edges left out: markers, neck and abdomen are there."""
        height, width = self.probability.shape
        inside = (np.abs(self.marks[:, 0] / height - 0.5) <= 0.5 - EDGE_ROWS) & (
            np.abs(self.marks[:, 1] / width - 0.5) <= 0.5 - EDGE_COLUMNS
        )
        return float(self.marks[inside, 2].max(initial=0.0))

    def findings(self, limits: Limits) -> tuple[tuple[Finding, ...], ReadingMask]:
        """Return what the server would report, and which pixel belongs to which finding."""
        return findings_from_probability(
            self.probability.astype(np.float32),
            mask_threshold=limits["mask"],
            report_threshold=limits["report"],
            min_area_px=limits["min_area_px"],
            spacing=None,
        )


def look(
    pictures: Sequence[Radiograph], predict: Predict, said: Callable[[int], None] | None = None
) -> list[Look]:
    """Run the model on every picture as the server does. said: called with how many are done."""
    answer = []
    for number, item in enumerate(pictures):
        tensor, place = prepare(item.image, SPEC)
        values = restore(predict(tensor)[0, :, :, 0], place)
        answer.append(Look(item, values.astype(np.float16), froc.peaks(values, radius=PEAK_RADIUS_PX)))
        if said is not None:
            said(number + 1)
    return answer


def marked(looks: Sequence[Look], wanted: Wanted) -> list[froc.Marked]:
    """Return the marks with the boxes that are asked for and those that are passed over."""
    return [
        froc.Marked(
            one.marks,
            tuple(nodule.box for nodule in one.item.nodules if wanted(nodule)),
            tuple(nodule.box for nodule in one.item.nodules if not wanted(nodule)),
        )
        for one in looks
    ]


def asked(grade: int, least_mm: float, kind: str | None = None) -> Wanted:
    """Return which nodules a table asks for: truth, of this grade and size at least."""
    return lambda nodule: (
        nodule.is_truth
        and nodule.grade >= grade
        and (least_mm == 0 or nodule.diameter_mm >= least_mm)
        and (kind is None or nodule.kind == kind)
    )


def _contrast_alone(nodule: Nodule) -> bool:
    """Visible by contrast, 15 mm or more, whatever lies around it: the figure without the rule on surroundings."""
    return nodule.is_truth and nodule.diameter_mm >= 15 and nodule.contrast >= GRADES_FROM[1]


def choose_thresholds(looks: Sequence[Look]) -> dict[str, Any]:
    """Return the manifest's thresholds, from pictures that the models did not learn from.

    report: the lowest that keeps false findings at or below SHOWN_FALSE_MARKS a picture.
    mask: the share of it with which the regions fit the outlines of visible nodules best (Dice).
    """
    report = froc.threshold_for(marked(looks, asked(2, 10.0)), SHOWN_FALSE_MARKS)
    # Rounded up, never down: rounding must not let more false marks through.
    report = min(0.999, max(LEAST_REPORT, float(np.ceil(report * 1000)) / 1000))
    choices = [
        {"mask": round(share * report, 4), "report": report, "min_area_px": MIN_AREA_PX} for share in SHARES
    ]
    return max(choices, key=lambda one: float(np.mean([d for _, d in dice(looks, one, asked(2, 10.0))] or [0])))


def dice(looks: Sequence[Look], limits: Limits, wanted: Wanted) -> list[tuple[str, float]]:
    """Return (patient, Dice) for each wanted nodule: the reported regions that touch its outline; 0 missed."""
    answer = []
    for one in looks:
        nodules = [nodule for nodule in one.item.nodules if wanted(nodule)]
        if not nodules:
            continue
        labels = one.findings(limits)[1].labels
        for nodule in nodules:
            truth = outline_of(one.item, nodule)
            touching = np.setdiff1d(np.unique(labels[truth]), [0])
            region = np.isin(labels, touching)
            both = 2 * float((region & truth).sum())
            answer.append((one.item.patient, both / float(region.sum() + truth.sum())))
    return answer


def measure_projections(looks: Sequence[Look], limits: Limits, seed: int) -> dict[str, Any]:
    """Return FROC by visibility and size, Dice, what the server would show, and the AUROC of whole views."""
    found: dict[str, Any] = {"views": len(looks), "patients": len({one.item.patient for one in looks})}
    for group, grade in GRADES.items():
        for least in SIZES_MM:
            name = group if least == 0 else f"{group}{least:g}"
            found[name] = froc_table(looks, asked(grade, least), seed)
    found["contrast15"] = froc_table(looks, _contrast_alone, seed)
    for name, wanted in {"dice_visible": asked(2, 0.0), "dice_visible15": asked(2, 15.0)}.items():
        values = dice(looks, limits, wanted)
        found.update(_mean(name, values, seed))
        found.update(_mean(f"{name}_found", [one for one in values if one[1] > 0], seed))
    found["shown"] = _shown(looks, limits, seed)
    with_nodule = [one for one in looks if any(asked(2, 10.0)(nodule) for nodule in one.item.nodules)]
    without = [one for one in looks if not one.item.nodules]
    found.update(
        _auroc("image_auroc", [*with_nodule, *without], [True] * len(with_nodule) + [False] * len(without), seed)
    )
    return found


def measure_labelled(looks: Sequence[Look], sets: Sets, limits: Limits, seed: int) -> dict[str, Any]:
    """Return the AUROC against the text labels, CheXNet's on the same pictures, and subgroups."""
    reports = [sets.reports[one.item.name] for one in looks]
    label = [report.nodule_or_mass for report in reports]
    found: dict[str, Any] = {"images": len(looks), "labelled": sum(label)}
    found.update(_auroc("auroc_nodule_or_mass", looks, label, seed))
    chexnet = np.array([report.chexnet for report in reports], np.float64)
    known = np.isfinite(chexnet)
    truth = np.array(label, np.bool_)
    found["chexnet_auroc"] = rounded(auroc(truth[known], chexnet[known]))
    quiet = [len(one.findings(limits)[0]) for one, positive in zip(looks, label, strict=True) if not positive]
    found["findings_per_unlabelled_image"] = rounded(float(np.mean(quiet))) if quiet else None
    groups = {
        "by_view": [report.view for report in reports],
        "by_sex": [report.sex for report in reports],
        "by_age": [_age_band(report.age) for report in reports],
    }
    for name, values in groups.items():
        found[name] = {
            value: _subgroup([n for n, own in enumerate(values) if own == value], looks, label, chexnet)
            for value in sorted(set(values))
            if value
        }
    return found


def _subgroup(
    rows: list[int], looks: Sequence[Look], label: Sequence[bool], chexnet: NDArray[np.float64]
) -> dict[str, Any]:
    truth = np.array([label[row] for row in rows], np.bool_)
    score = np.array([looks[row].score for row in rows], np.float64)
    return {
        "images": len(rows),
        "labelled": int(truth.sum()),
        "auroc": rounded(auroc(truth, score)),
        "chexnet_auroc": rounded(auroc(truth, np.nan_to_num(chexnet[rows]))),
    }


def _age_band(age: float) -> str:
    if not np.isfinite(age):
        return ""
    return "under 45" if age < 45 else "45 to 64" if age < 65 else "65 and over"


def measure_boxed(looks: Sequence[Look], seed: int) -> dict[str, Any]:
    """Return FROC on boxes of experts, nodules and masses apart and together."""
    found: dict[str, Any] = {
        "images": len(looks),
        "patients": len({one.item.patient for one in looks}),
        "images_with_nodule_or_mass": sum(bool(one.item.nodules) for one in looks),
    }
    for name, kind in {"nodule_or_mass": None, "nodule": "nodule", "mass": "mass"}.items():
        found[name] = froc_table(looks, asked(0, 0.0, kind), seed)
    return found


def phantom_picture(number: int) -> Radiograph:
    """Return a made-up chest with one obvious nodule."""
    grey, target = phantom(number)
    rows, columns = np.nonzero(target)
    box = (float(rows.min()), float(columns.min()), float(rows.max() + 1), float(columns.max() + 1))
    across = PIXEL_MM * float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
    nodule = Nodule(box, across, READERS_OF_TRUTH, GRADES_FROM[-1])
    return Radiograph(f"phantom {number}", f"phantom {number}", grey, (nodule,), target > 0)


def measure_phantoms(predict: Predict, limits: Limits, count: int = PHANTOMS) -> dict[str, Any]:
    """Return how many nodules of made-up chests are reported, and the findings elsewhere a chest."""
    hits, false = [], 0
    for number in range(count):
        (one,) = look([phantom_picture(number)], predict)
        found, mask = one.findings(limits)
        touching = np.setdiff1d(np.unique(mask.labels[one.item.mask]), [0])
        hits.append((one.item.patient, float(len(touching) > 0)))
        false += len(found) - len(touching)
    return {"images": count, **_mean("sensitivity", hits, seed=0), "false_per_image": round(false / count, 3)}


def froc_table(looks: Sequence[Look], wanted: Wanted, seed: int) -> dict[str, Any]:
    """Return {"nodules": n, "sens_at_1fp": value, "sens_at_1fp_ci95": [low, high], ...} for FALSE_MARKS."""
    images = marked(looks, wanted)
    count = sum(len(image.wanted) for image in images)
    table: dict[str, Any] = {"nodules": count}
    curve = froc_curve(looks, wanted, seed) if count else {}
    for at in FALSE_MARKS:
        one = curve.get(at)
        table[f"sens_at_{at:g}fp"] = None if one is None else rounded(one.value)
        table[f"sens_at_{at:g}fp_ci95"] = [None, None] if one is None else [rounded(one.low), rounded(one.high)]
    return table


def froc_curve(looks: Sequence[Look], wanted: Wanted, seed: int) -> dict[float, froc.Estimate]:
    """Return the FROC with intervals from drawing patients."""
    return froc.curve(marked(looks, wanted), FALSE_MARKS, patients=[one.item.patient for one in looks], seed=seed)


def _shown(looks: Sequence[Look], limits: Limits, seed: int) -> dict[str, Any]:
    """Sensitivity and false findings of what the server would show (regions, not peaks)."""
    images, false = [], []
    wanted = asked(2, 10.0)
    for one in looks:
        places = [(*finding.centroid_px, 1.0) for finding in one.findings(limits)[0]]
        boxes = [tuple(n.box for n in one.item.nodules if wanted(n) is asked_for) for asked_for in (True, False)]
        images.append(froc.Marked(np.array(places, np.float64).reshape(-1, 3), *boxes))
        false.append(froc.operating_point(images[-1:], 0.5)[1])
    hit = [
        (one.item.patient, float(found))
        for one, image in zip(looks, images, strict=True)
        for found in froc.hits([image], 0.5)
    ]
    return {
        "false_per_image": rounded(float(np.mean(false))) if false else None,
        **_mean("sensitivity_visible10", hit, seed),
    }


def _mean(name: str, values: Sequence[tuple[str, float]], seed: int) -> dict[str, Any]:
    """Return the mean of (patient, value) pairs with its interval over patients."""
    numbers = np.array([value for _, value in values], np.float64)
    groups = np.array([patient for patient, _ in values], np.str_)
    middle = rounded(float(numbers.mean())) if len(numbers) else None
    ends = (
        interval(lambda rows: float(numbers[rows].mean()), len(numbers), seed=seed, groups=groups)
        if len(numbers)
        else (float("nan"), float("nan"))
    )
    return {f"{name}_n": len(numbers), name: middle, f"{name}_ci95": [rounded(end) for end in ends]}


def _auroc(name: str, looks: Sequence[Look], truth: Sequence[bool], seed: int) -> dict[str, Any]:
    labels = np.array(truth, np.bool_)
    score = np.array([one.score for one in looks], np.float64)
    groups = np.array([one.item.patient for one in looks], np.str_)
    ends = intervals({name: auroc}, labels, score, seed=seed, groups=groups)[name]
    return {name: rounded(auroc(labels, score)), f"{name}_ci95": ends}
