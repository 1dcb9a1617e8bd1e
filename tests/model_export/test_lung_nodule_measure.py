"""Thresholds and figures of the lung nodule recipe, with a stand-in network whose answer is known."""

import json

import numpy as np
import pytest

from model_export.datasets.nih_cxr import Report
from model_export.datasets.radiograph import Nodule, Radiograph
from model_export.recipes import lung_nodule_measure as judge
from model_export.recipes.lung_nodule_card import card
from model_export.recipes.lung_nodule_data import Sets

SIZE = 512
THRESHOLDS = {"mask": 0.5, "report": 0.7, "min_area_px": 4}


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


def look(*pictures):
    return judge.look(pictures, predict)


def test_the_report_threshold_stands_just_above_the_false_mark_that_is_too_many():
    assert judge.choose_thresholds(look(FOUND, FALSE))["report"] == judge.LEAST_REPORT  # one in two is allowed
    strict = judge.choose_thresholds(look(FALSE))  # one in one is not
    assert strict["report"] == pytest.approx(0.601, abs=0.001)
    assert look(FALSE)[0].findings(strict)[0] == ()


def test_the_mask_threshold_is_the_one_whose_regions_fit_best():
    blurred = FOUND.pixels.copy()
    rows, columns = np.mgrid[:SIZE, :SIZE]
    halo = np.hypot(rows - 200, columns - 150)
    blurred[(halo > 12) & (halo <= 24)] = 50  # a halo twice as wide, at 0.5
    chosen = judge.choose_thresholds(look(Radiograph("h", "h", blurred, FOUND.nodules), FALSE))
    assert chosen["mask"] > 0.5 or chosen["report"] < 0.5


def test_a_region_that_is_the_nodule_has_a_dice_near_one_and_a_missed_nodule_has_zero():
    hidden = view("hidden", nodules=[nodule(100, 300, 12)])
    found = judge.dice(look(FOUND, hidden), THRESHOLDS, judge.asked(2, 0.0))
    assert [patient for patient, _ in found] == ["found", "hidden"]
    assert found[0][1] > 0.9
    assert found[1][1] == 0.0


def test_what_a_table_does_not_ask_for_is_neither_found_nor_false():
    table = judge.froc_table(look(FOUND, DOUBTFUL, EMPTY), judge.asked(2, 10.0), seed=1)
    assert (table["nodules"], table["sens_at_0.25fp"]) == (1, 1.0)


def test_a_table_of_nothing_is_null_and_not_zero():
    table = judge.froc_table(look(EMPTY), judge.asked(2, 10.0), seed=1)
    assert (table["nodules"], table["sens_at_1fp"], table["sens_at_1fp_ci95"]) == (0, None, [None, None])


def test_the_figures_of_projections_have_the_keys_that_were_asked_for():
    figures = judge.measure_projections(look(FOUND, FALSE, EMPTY, DOUBTFUL), THRESHOLDS, seed=1)
    json.dumps(figures, allow_nan=False)
    assert figures["visible15"]["sens_at_1fp"] == 1.0
    assert figures["visible15"]["sens_at_4fp"] == 1.0
    assert figures["dice_visible"] > 0.9
    assert figures["shown"]["false_per_image"] == 0.0  # the doubtful nodule is no false finding
    assert figures["shown"]["sensitivity_visible10"] == 1.0


def test_text_labels_are_judged_beside_chexnet_and_by_view():
    reports = {
        "found": Report(True, 0.2, "PA", "F", 50.0),
        "empty": Report(False, 0.1, "AP", "M", 30.0),
        "false": Report(False, 0.3, "PA", "F", float("nan")),
    }
    figures = judge.measure_labelled(look(FOUND, EMPTY, FALSE), Sets(reports=reports), THRESHOLDS, seed=1)
    json.dumps(figures, allow_nan=False)
    assert figures["auroc_nodule_or_mass"] == 1.0
    assert figures["chexnet_auroc"] == 0.5
    assert figures["by_view"]["PA"]["auroc"] == 1.0
    assert figures["by_view"]["AP"]["auroc"] is None  # one class only
    assert set(figures["by_age"]) == {"45 to 64", "under 45"}


def test_a_held_out_part_may_lack_every_nodule_and_every_label():
    reports = {"empty": Report(False, float("nan"), "", "", float("nan"))}
    for figures in (
        judge.measure_projections(look(EMPTY), THRESHOLDS, seed=1),
        judge.measure_labelled(look(EMPTY), Sets(reports=reports), THRESHOLDS, seed=1),
        judge.measure_boxed(look(EMPTY), seed=1),
    ):
        json.dumps(figures, allow_nan=False)


def test_a_phantom_counts_as_found_where_a_reported_region_touches_it():
    assert judge.measure_phantoms(lambda x: np.ones_like(x[..., :1]), THRESHOLDS, 2)["sensitivity"] == 1.0
    assert judge.measure_phantoms(lambda x: np.zeros_like(x[..., :1]), THRESHOLDS, 2)["sensitivity"] == 0.0


def test_the_card_says_first_what_restricts_the_use():
    from model_export.recipes.lung_nodule import manifest_document  # noqa: PLC0415

    looks = look(FOUND, FALSE, EMPTY)
    figures = {"drr": judge.measure_projections(looks, THRESHOLDS, seed=1), "nih": None, "chestxdet": None}
    document = manifest_document(Sets(), THRESHOLDS, {"cross_validation": figures}, seed=1)
    text = card({**document, "graphs": {}})
    assert text.index("academic and research purposes only") < text.index("Intended use")
    assert "not a medical device" in text


def test_without_the_data_the_recipe_says_so(tmp_path):
    from clinical.errors import IncorrectInput  # noqa: PLC0415
    from model_export.recipes.lung_nodule_data import load_sets  # noqa: PLC0415

    with pytest.raises(IncorrectInput):
        load_sets(tmp_path / "lidc_drr")
