import io
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib", reason="needs the export extra")
pytestmark = pytest.mark.export

from model_export import plots  # noqa: E402
from model_export.froc import Estimate  # noqa: E402
from model_export.plots.style import spread, thin  # noqa: E402


def scored(count=400, seed=0):
    rng = np.random.default_rng(seed)
    probability = rng.random(count) ** 2
    return rng.random(count) < probability, probability


ONE = {"model": scored()}
CURVE = {point: Estimate(0.5, 0.4, 0.6) for point in (0.5, 1.0, 4.0)}
MINUTES = np.arange(-60.0, 1)
DRAW = {
    "roc": lambda: plots.roc(ONE, thresholds={"model": 0.3}, resamples=20),
    "precision_recall": lambda: plots.precision_recall(ONE, resamples=20),
    "calibration": lambda: plots.calibration(ONE, resamples=20),
    "selective": lambda: plots.selective(ONE, resamples=20),
    "confusion": lambda: plots.confusion(np.array([[50, 3], [7, 40]]), ("benign", "malignant")),
    "froc": lambda: plots.froc({"15 mm and more (n = 20)": CURVE}),
    "learning": lambda: plots.learning(
        {"loss": {"training": [3, 2, 1], "validation": [[3, 2, 2], [3, 1, np.nan]]}}, chosen=2
    ),
    "bars": lambda: plots.bars({"forest": {"AUROC": (0.9, 0.88, 0.92)}, "none": {"AUROC": None}}, axis="AUROC"),
    "forecast": lambda: plots.forecast_fan(
        (MINUTES, 70 + np.sin(MINUTES)),
        np.array([15.0, 60.0]),
        np.array([[60, 70, 80], [55, 72, 90.0]]),
        observed=(np.arange(1.0, 61), np.full(60, 71.0)),
        usual=(50, 100),
    ),
    "histogram": lambda: plots.histogram({"training": np.array([1.0, 2, np.nan])}, axis="glucose (mmol/L)"),
}


@pytest.fixture(scope="module")
def drawn():
    return [draw() for draw in DRAW.values()]


def test_every_plot_is_a_small_picture_of_the_width_of_a_card_with_a_twin_that_scales(drawn):
    for plot in drawn:
        assert Image.open(io.BytesIO(plot.png)).width == 704
        assert ET.fromstring(plot.svg).get("aria-label") == plot.alt
        assert len(plot.png) <= 60_000
        assert len(plot.svg) <= 60_000


def test_the_same_numbers_give_the_same_bytes(drawn):
    before = {plot.name: plot for plot in drawn}
    for name in ("roc", "confusion", "bars"):
        assert DRAW[name]() == before[name]


def test_who_cannot_see_the_plot_reads_its_figures(drawn):
    words = {plot.name: plot.alt for plot in drawn}
    assert "malignant called benign: 7" in words["confusion"]
    assert "Accuracy 0.900 (0.826–0.945), majority class 0.530" in words["confusion"]
    assert "at 1: 0.50 (0.40–0.60)" in words["froc"]
    assert "AUROC 0." in words["roc"]
    assert "n = 400" in words["roc"]
    assert "missing 33.3 %" in words["histogram"]
    assert "in 60 minutes 72 (55 to 90)" in words["forecast"]
    assert "loss validation from 3 to 2" in words["learning"]


def test_a_figure_that_is_not_known_is_said_and_never_drawn_as_zero(drawn):
    (bars,) = (plot for plot in drawn if plot.name == "bars")
    assert "none: no data" in bars.alt


def test_a_large_set_still_gives_a_small_file():
    three = {"a": scored(6000), "b": scored(6000, 1), "c": scored(6000, 2)}
    plot = plots.calibration(three, resamples=2)
    assert max(len(plot.svg), len(plot.png)) <= 60_000
    assert len(plots.precision_recall(three, resamples=2).svg) <= 60_000


@pytest.mark.parametrize("truth", [[], [True, True]])
def test_a_part_without_a_class_or_without_anybody_is_drawn_as_not_defined(truth):
    truth = np.array(truth, np.bool_)
    series = {"few": (truth, np.linspace(0.1, 0.9, len(truth)))}
    assert "AUROC not defined" in plots.roc(series, thresholds={"few": 0.5}, resamples=5).alt
    plots.precision_recall(series, resamples=5)
    plots.calibration(series, resamples=5)
    plots.selective(series, resamples=5)
    plots.confusion(np.zeros((2, 2), np.int64), ("no", "yes"))
    plots.froc({"none": {}})
    plots.bars({}, axis="AUROC")


def test_intervals_are_over_patients_where_they_are_known():
    truth, probability = scored(200)
    twice = (np.repeat(truth, 5), np.repeat(probability, 5))
    of_patients = plots.roc({"m": (*twice, np.repeat(np.arange(200), 5))}, resamples=200).alt
    assert "n = 1,000 of 200 pat." in of_patients
    ends = [
        alt.split("(")[1].split(")")[0].split("–")
        for alt in (plots.roc({"m": twice}, resamples=200).alt, of_patients)
    ]
    narrow, wide = (float(high) - float(low) for low, high in ends)
    assert narrow < 0.7 * wide


def test_a_figure_of_the_summary_becomes_a_bar_with_its_interval():
    assert plots.bar_of({"auroc": 0.9, "auroc_ci95": [0.8, 0.95]}, "auroc") == (0.9, 0.8, 0.95)
    assert plots.bar_of({"auroc": 0.9, "auroc_ci95": [None, None]}, "auroc") == 0.9
    assert plots.bar_of({}, "auroc") is None


def test_labels_at_the_ends_of_curves_never_touch_and_keep_their_order():
    places = spread([0.5, 0.51, 0.98, 0.99], 0.1)
    assert places == sorted(places)
    assert np.diff(places).min() >= 0.1 - 1e-9
    assert places[-1] <= 1.0
    assert spread([], 0.1) == []


def test_thinning_keeps_the_ends_and_the_corner_of_a_curve():
    x = np.concatenate([np.zeros(5000), np.linspace(0, 1, 5000)])
    y = np.concatenate([np.linspace(0, 1, 5000), np.ones(5000)])
    thinned = thin(x, y)
    assert thinned.shape[1] <= 300
    assert thinned[:, 0].tolist() == [0, 0]
    assert thinned[:, -1].tolist() == [1, 1]
    assert np.abs(thinned - [[0], [1]]).sum(axis=0).min() < 0.01
