"""The shipped heart-rate-trend: what it promises, on its own recordings and in the server."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from clinical.trend import summaries, targets, usable, windows
from fhir_adapters.features.heart_rate import heart_rate_record
from model_export.datasets import fitbit_hr, heart_simulator
from model_export.datasets.folders import data_dir, folder_digest
from model_export.datasets.heart_records import observations
from model_runtime.library import Library
from model_runtime.tasks.forecast import Forecast

MODELS = Path(__file__).parents[2] / "models"
FOLDER = MODELS / "heart-rate-trend"


@pytest.fixture(scope="module")
def manifest():
    return Library(MODELS).manifest("heart-rate-trend")


@pytest.fixture(scope="module")
def session():
    return Library(MODELS).verify("heart-rate-trend")


@pytest.fixture(scope="module")
def simulated():
    """A simulated person's day and a half: a stranger to the model."""
    return heart_simulator.recordings(1, 2, 5)["sim00"]


def test_the_figures_that_were_asked_for_are_reached_out_of_fold(manifest):
    known = manifest.metrics["cross_validation"]["known"]
    assert known["skill_mae_30"] >= 0.15
    assert known["skill_mae_60"] >= 0.20
    assert known["direction_60"] >= 0.80
    assert known["direction_60_coverage"] >= 0.70
    assert 0.75 <= known["coverage_p10_p90"] <= 0.85


def test_the_baselines_stand_beside_and_are_worse(manifest):
    found = manifest.metrics["cross_validation"]
    for part in ("known", "unseen"):
        assert found[part]["skill_mae_60"] > found[part]["ridge_skill_mae_60"] > 0
        assert found[part]["mape_complement"] > found[part]["persistence_mape_complement"]
        assert found[part]["within_10pct"] > found[part]["persistence_within_10pct"]


def test_it_is_small_and_has_no_loop(manifest):
    assert (FOLDER / "model.onnx").stat().st_size < 500_000
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 10_000_000
    assert manifest.graph("model").intra_op_threads == 1


def test_quantiles_never_cross_whatever_is_asked(session):
    rng = np.random.default_rng(0)
    rows = {
        spec.name: rng.uniform(20, 250, (512, *spec.shape[1:])).astype(np.float32) for spec in session.graph.inputs
    }
    for values in rows.values():
        values[rng.random(values.shape) < 0.4] = np.nan
    rows["recent"][:, -1, 0] = rng.uniform(30, 200, 512)
    found = session.run(rows)
    assert (np.diff(found["change"], axis=2) >= 0).all()
    assert found["trend"].sum(axis=2) == pytest.approx(np.ones((512, 3)), abs=1e-5)


def test_a_record_in_fhir_gives_the_tensors_that_the_trainer_made(simulated):
    end = 2000
    series = fitbit_hr.part(simulated, 0, end + 1)
    start = datetime(2026, 1, 5, tzinfo=UTC) + timedelta(hours=5)  # as datasets.heart_records writes it
    record = heart_rate_record(observations(series), start + timedelta(minutes=end))
    assert not isinstance(record, str), record
    ends = np.array([end])
    assert usable(series, ends)[0]
    for name, wanted in windows(series, ends).inputs().items():
        np.testing.assert_array_equal(windows(record.series, record.end).inputs()[name], wanted, err_msg=name)


def test_a_stranger_gets_intervals_that_hold_more_often_than_not(session, simulated):
    ends = np.arange(1500, len(simulated) - 60, 5)
    ends = ends[usable(simulated, ends)]
    read = windows(simulated, ends)
    change = session.run(read.inputs())["change"] * read.last[:, None, None]
    came = targets(simulated, ends)[:, 2] - read.last
    inside = (change[:, 2, 0] <= came) & (came <= change[:, 2, 2])
    assert inside[~np.isnan(came)].mean() > 0.5


def test_drift_has_a_reference_for_every_value_that_the_service_reports(manifest, simulated):
    values = summaries(windows(simulated, np.array([2000])))
    assert set(manifest.reference.features) == set(values)
    assert manifest.reference.score is not None


def test_the_card_holds_the_manifests_figures_and_no_blank_answer(manifest):
    card = (FOLDER / "card.md").read_text("utf-8")
    known = manifest.metrics["cross_validation"]["known"]
    assert f"{known['skill_mae_60']:.3f}" in card
    assert f"{known['direction_60']:.3f}" in card
    assert "31. **" in card
    for plot in ("skill", "coverage", "forecast", "learning", "confusion", "calibration"):
        assert f"plots/{plot}.png" in card
        assert (FOLDER / "plots" / f"{plot}.png").exists()


@pytest.mark.skipif(data_dir(fitbit_hr.NAME) is None, reason="the data set fitbit_hr is not here")
def test_it_was_trained_on_all_wearers_of_the_set(manifest):
    (entry,) = manifest.training.data
    assert entry.sha256 == folder_digest(data_dir(fitbit_hr.NAME))
    assert manifest.require(Forecast).subjects == tuple(f"w{number:02d}" for number in range(8))
    assert json.loads((FOLDER / "manifest.json").read_text("utf-8"))["training"]["data"][0]["rows"] == 202023
