"""Thresholds and metrics of the lung nodule recipe, with a stand-in network whose answer is known."""

import json

import numpy as np
import pytest

pytestmark = pytest.mark.export
pytest.importorskip("sklearn", reason="needs the training stack")

from model_export.datasets.radiograph import Nodule, Radiograph  # noqa: E402
from model_export.recipes.lung_nodule import RECIPE, manifest_document  # noqa: E402
from model_export.recipes.lung_nodule_card import card  # noqa: E402
from model_export.recipes.lung_nodule_data import Sets, load_sets  # noqa: E402
from model_export.recipes.lung_nodule_measure import (  # noqa: E402
    LEAST_REPORT,
    choose_thresholds,
    findings,
    measure,
    overlap,
    probability_map,
    selection_score,
)

SIZE = 512


def view(name, spots=(), nodules=()):
    """A dark picture; spots: (row, column, radius, peak)."""
    pixels = np.zeros((SIZE, SIZE), np.float32)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for row, column, radius, value in spots:
        distance = np.hypot(rows - row, columns - column)
        cone = value * (1 - 0.2 * distance / radius)  # one peak each, not a plateau of them
        pixels = np.where(distance <= radius, cone, pixels).astype(np.float32)
    pixels[:8] = 100  # a bright edge, so that the grey scale is the same in every picture
    return Radiograph(name, name, pixels, tuple(nodules))


def predict(tensor):
    """Say 'nodule' in proportion to the grey value, not at the bright edge."""
    answer = np.where(tensor[..., :1] > 0.95, 0, tensor[..., :1]).astype(np.float32)
    answer[:, :20] = 0
    return answer


def nodule(row, column, radius, readers=4):
    return Nodule((row - radius, column - radius, row + radius + 1, column + radius + 1), 15.0, readers, 2.0)


FOUND = view("found", [(200, 150, 12, 80)], [nodule(200, 150, 12)])
FALSE = view("false", [(300, 300, 12, 60)])
DOUBTFUL = view("doubtful", [(300, 300, 12, 90)], [nodule(300, 300, 12, readers=1)])
EMPTY = view("empty")
THRESHOLDS = {"mask": 0.5, "report": 0.7, "min_area_px": 4}


def test_the_report_threshold_stands_just_above_the_false_mark_that_is_too_many():
    strict = choose_thresholds([FOUND, FALSE], predict)  # one false mark in two pictures is allowed
    assert strict["report"] == LEAST_REPORT
    strict = choose_thresholds([FALSE], predict)  # one in one is not
    assert strict["report"] == pytest.approx(0.601, abs=0.001)
    assert findings(probability_map(FALSE, predict), strict) == []


def test_the_mask_threshold_is_the_one_whose_regions_fit_best():
    blurred = FOUND.pixels.copy()
    rows, columns = np.mgrid[:SIZE, :SIZE]
    halo = np.hypot(rows - 200, columns - 150)
    blurred[(halo > 12) & (halo <= 24)] = 50  # a halo twice as wide, at 0.5
    chosen = choose_thresholds([Radiograph("h", "h", blurred, FOUND.nodules), FALSE], predict)
    assert chosen["mask"] > 0.5 or chosen["report"] < 0.5


def test_a_region_that_is_the_nodule_overlaps_it_fully():
    fit = overlap([FOUND], [probability_map(FOUND, predict)], THRESHOLDS)
    assert fit["nodules"] == 1
    assert fit["iou"] > 0.9
    assert fit["area_ratio"] == pytest.approx(1, abs=0.1)


def test_selection_counts_visible_nodules_and_not_doubtful_ones():
    assert selection_score([FOUND, EMPTY, DOUBTFUL], predict) == 1.0


def test_metrics_are_json_and_the_card_can_be_written_from_them():
    sets = Sets(
        [], [], [FOUND, FALSE, EMPTY, DOUBTFUL], [], [FALSE, FOUND], {"false": False, "found": True}, "0" * 64
    )
    metrics = measure(sets, predict, THRESHOLDS, seed=1)
    json.dumps(metrics, allow_nan=False)
    assert metrics["shown"]["false_per_image"] == 0.0  # the doubtful nodule is no false finding
    assert metrics["shown"]["sensitivity_visible_10mm"]["value"] == 1.0
    assert metrics["real_label_auroc"]["value"] == 1.0
    assert metrics["froc_all"][">=10 mm"]["nodules"] == 1
    text = card(manifest_document(THRESHOLDS, metrics, sets, 1))
    assert "not a medical device" in text
    assert "academic and research" in text


def test_without_the_data_the_recipe_says_so(tmp_path):
    from clinical.errors import PreconditionMissing  # noqa: PLC0415

    with pytest.raises(PreconditionMissing, match="CONSILIUM_DATASETS_DIR"):
        load_sets(tmp_path / RECIPE.data_set)
