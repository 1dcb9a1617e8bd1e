"""docs/models.md is what the manifests say; every figure that the models were asked for stands in them."""

from pathlib import Path

import pytest

from model_export.models_page import TARGETS, figure, page
from model_runtime.library import Library

TOP = Path(__file__).parents[2]
KEYS = [(name, target.key) for name, targets in TARGETS.items() for target in targets]


def test_the_page_is_what_the_manifests_say() -> None:
    written = (TOP / "docs" / "models.md").read_text("utf-8")
    assert written == page(TOP / "models"), "write it anew: python -m model_export.models_page"


@pytest.mark.parametrize(("model", "key"), KEYS)
def test_every_figure_that_was_asked_for_was_measured_with_its_interval(model: str, key: str) -> None:
    value, interval = figure(Library(TOP / "models").manifest(model).metrics["cross_validation"], key)
    assert isinstance(value, float | int), f"{key} was not measured"
    assert interval is not None
    assert interval[0] <= value <= interval[1]


def test_targets_are_compared_on_the_right_side() -> None:
    by_key = {target.key: target for target in TARGETS["heart-rate-trend"] + TARGETS["diabetes-risk"]}
    within, above, below = by_key["known.coverage_p10_p90"], by_key["lab.auroc"], by_key["lab.ece"]
    assert [within.reached(value) for value in (0.74, 0.75, 0.85, 0.86)] == [False, True, True, False]
    assert [above.reached(value) for value in (0.9299, 0.93)] == [False, True]
    assert [below.reached(value) for value in (0.02, 0.0201)] == [True, False]
