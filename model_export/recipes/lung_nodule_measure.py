"""How good the lung nodule model is, measured with the server's own transforms and regions.

Nodules that no reader of the projection could see (`Nodule.is_visible`), that are small, or that too few
readers outlined are passed over, unless a table says that it counts them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.finding import Finding, ReadingMask
from clinical.measure import findings_from_probability
from model_export import froc
from model_export.datasets.radiograph import Nodule, Radiograph, ellipse_distance
from model_export.datasets.synthetic import insert_nodule
from model_export.recipes.lung_nodule_data import SPEC, Sets
from model_runtime.transforms import prepare, restore

Float = NDArray[np.float32]
Predict = Callable[[Float], Float]  # (batch, rows, columns, channels) -> (batch, rows, columns, 1)
Wanted = Callable[[Nodule], bool]
SELECT_AT = (0.5, 1.0, 2.0, 4.0)  # false marks per image at which training is watched
JUDGED_FROM_MM = 10.0  # smaller nodules are hardly visible in any projection
SHOWN_FALSE_MARKS = 0.75  # per image, on the validation patients: what the report threshold is set for
LEAST_REPORT = 0.1  # a model that is never wrong on validation still may not report everything
MIN_AREA_PX = 16  # of the source image; less is noise at any detector's resolution
SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the report threshold, tried for the mask
SIZES_MM = (0.0, 10.0, 15.0, 20.0)


def probability_map(item: Radiograph, predict: Predict) -> Float:
    """Return the model's map in the pixels of the picture."""
    tensor, place = prepare(item.image, SPEC)
    return restore(predict(tensor)[0, :, :, 0], place)


def clearly(nodule: Nodule) -> bool:
    """Say whether a nodule counts when thresholds are chosen: truth, visible, 10 mm or more."""
    return nodule.is_truth and nodule.is_visible and nodule.diameter_mm >= JUDGED_FROM_MM


def mark(pictures: Sequence[Radiograph], maps: Sequence[Float], wanted: Wanted = clearly) -> list[froc.Marked]:
    """Turn maps into marks; nodules that are not wanted are passed over, not counted as false."""
    return [
        froc.Marked(
            froc.peaks(values),
            tuple(n.box for n in item.nodules if wanted(n)),
            tuple(n.box for n in item.nodules if not wanted(n)),
        )
        for item, values in zip(pictures, maps, strict=True)
    ]


def selection_score(pictures: Sequence[Radiograph], predict: Predict) -> float:
    """Return the mean sensitivity for visible nodules over SELECT_AT."""
    marked = mark(pictures, [probability_map(item, predict) for item in pictures])
    return float(np.mean([froc.sensitivity(marked, at) for at in SELECT_AT]))


def choose_thresholds(pictures: Sequence[Radiograph], predict: Predict) -> dict[str, Any]:
    """Return the manifest's thresholds, chosen on validation pictures.

    report: the lowest that keeps false findings at or below SHOWN_FALSE_MARKS per image.
    mask: the share of it with which the regions of found nodules overlap the outlines best.
    """
    maps = [probability_map(item, predict) for item in pictures]
    report = froc.threshold_for(mark(pictures, maps), SHOWN_FALSE_MARKS)
    # Rounded up, never down: rounding must not let more false marks through.
    report = min(0.999, max(LEAST_REPORT, float(np.ceil(report * 1000)) / 1000))
    choices = [
        {"mask": round(share * report, 4), "report": report, "min_area_px": MIN_AREA_PX} for share in SHARES
    ]
    return max(choices, key=lambda one: overlap(pictures, maps, one)["iou"] or 0.0)


def overlap(
    pictures: Sequence[Radiograph], maps: Sequence[Float], thresholds: Mapping[str, Any]
) -> dict[str, Any]:
    """Return how well the regions of found visible nodules fit: intersection over union, and area ratio (median).

    The readers' outline stands as the ellipse of its box, which is nearer to one reader's outline than the
    union of all four.
    """
    ious, ratios = [], []
    for item, values in zip(pictures, maps, strict=True):
        reported, mask = _reported(values, thresholds)
        for nodule in filter(clearly, item.nodules):
            truth = ellipse_distance(item.pixels.shape, nodule.box) <= 1
            own = [f for f in reported if truth[round(f.centroid_px[0]), round(f.centroid_px[1])]]
            if own:
                region = mask.of(own[0].number)
                ious.append((region & truth).sum() / (region | truth).sum())
                ratios.append(region.sum() / truth.sum())
    if not ious:
        return {"nodules": 0, "iou": None, "area_ratio": None}
    median = [round(float(np.median(values)), 3) for values in (ious, ratios)]
    return {"nodules": len(ious), "iou": median[0], "area_ratio": median[1]}


def measure(sets: Sets, predict: Predict, thresholds: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the metrics of the card: test projections, then real radiographs never trained on."""
    maps = [probability_map(item, predict) for item in sets.test]
    found: dict[str, Any] = {
        "test_views": len(sets.test),
        "froc_visible": _by_size(sets.test, maps, seed, visible=True),
        "froc_all": _by_size(sets.test, maps, seed, visible=False),
        "shown": _shown(sets.test, maps, thresholds, seed),
        "overlap": overlap(sets.test, maps, thresholds),
        "image_auroc": _image_auroc(sets.test, maps, seed),
    }
    if sets.real_test:
        real = [probability_map(item, predict) for item in sets.real_test]
        label = [sets.real_label[item.name] for item in sets.real_test]
        negative = [values for values, is_labelled in zip(real, label, strict=True) if not is_labelled]
        count = [len(findings(values, thresholds)) for values in negative]
        found["real_label_auroc"] = {
            "images": len(label),
            "labelled": sum(label),
            **_json(froc.auroc([float(values.max()) for values in real], label, seed=seed)),
        }
        found["real_findings_per_unlabelled_image"] = round(float(np.mean(count)), 3)
        found["real_added_nodules"] = added_nodules(
            [item for item in sets.real_test if not sets.real_label[item.name]], predict, thresholds, seed
        )
    return found


def findings(values: Float, thresholds: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Return the centres (row, column) of what the server would report."""
    return [finding.centroid_px for finding in _reported(values, thresholds)[0]]


def _reported(values: Float, thresholds: Mapping[str, Any]) -> tuple[tuple[Finding, ...], ReadingMask]:
    return findings_from_probability(
        values,
        mask_threshold=thresholds["mask"],
        report_threshold=thresholds["report"],
        min_area_px=thresholds["min_area_px"],
        spacing=None,
    )


def added_nodules(
    pictures: Sequence[Radiograph], predict: Predict, thresholds: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Return how many nodules added to real radiographs are reported: a known place, but made-up shadows."""
    rng = np.random.default_rng(seed)
    hits = []
    for item in pictures:
        grey = item.pixels / np.float32(255)
        target = np.zeros(grey.shape, np.uint8)
        if not insert_nodule(grey, target, np.ones(grey.shape, np.bool_), rng):
            continue
        values = probability_map(Radiograph(item.name, item.patient, grey), predict)
        hits.append(any(target[round(row), round(column)] for row, column in findings(values, thresholds)))
    return {"images": len(hits), **_json(_share(hits, seed))}


def _by_size(
    pictures: Sequence[Radiograph], maps: Sequence[Float], seed: int, *, visible: bool
) -> dict[str, dict[str, Any]]:
    answer = {}
    for least in SIZES_MM:

        def wanted(nodule: Nodule, least: float = least) -> bool:
            return nodule.is_truth and nodule.diameter_mm >= least and (nodule.is_visible or not visible)

        marked = mark(pictures, maps, wanted)
        points = froc.curve(marked, seed=seed)
        answer[f">={least:g} mm"] = {
            "nodules": sum(len(image.wanted) for image in marked),
            **{f"{at:g}": _json(estimate) for at, estimate in points.items()},
        }
    return answer


def _shown(
    pictures: Sequence[Radiograph], maps: Sequence[Float], thresholds: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Sensitivity and false findings of what the server would show (regions, not peaks)."""
    marked, false = [], []
    for item, values in zip(pictures, maps, strict=True):
        marks = np.array([(*centre, 1.0) for centre in findings(values, thresholds)]).reshape(-1, 3)
        wanted = tuple(n.box for n in item.nodules if clearly(n))
        other = tuple(n.box for n in item.nodules if not clearly(n))
        marked.append(froc.Marked(marks, wanted, other))
        false.append(froc.operating_point(marked[-1:], 0.5)[1])
    found = froc.hits(marked, 0.5)
    return {
        "false_per_image": round(float(np.mean(false)), 3),
        "sensitivity_visible_10mm": _json(_share(found, seed)),
    }


def _image_auroc(pictures: Sequence[Radiograph], maps: Sequence[Float], seed: int) -> dict[str, Any]:
    """Views with a visible nodule of 10 mm or more against views without any outline."""
    score, truth = [], []
    for item, values in zip(pictures, maps, strict=True):
        has = any(clearly(n) for n in item.nodules)
        if has or not item.nodules:
            score.append(float(values.max()))
            truth.append(has)
    return {
        "positive": sum(truth),
        "negative": len(truth) - sum(truth),
        **_json(froc.auroc(score, truth, seed=seed)),
    }


def _share(hits: Sequence[bool], seed: int) -> froc.Estimate:
    if not hits:
        return froc.Estimate(float("nan"), float("nan"), float("nan"))
    values = np.asarray(hits, np.float64)
    draws = np.random.default_rng(seed).choice(values, (1000, len(values))).mean(axis=1)
    low, high = np.percentile(draws, (2.5, 97.5))
    return froc.Estimate(float(values.mean()), float(low), float(high))


def _json(estimate: froc.Estimate) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return round(value, 3) if np.isfinite(value) else None

    return {"value": number(estimate.value), "ci95": [number(estimate.low), number(estimate.high)]}
