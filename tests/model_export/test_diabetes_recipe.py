"""The recipe from data to evaluated file, on a small made-up population, by the command line."""

import gzip
import json

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs the export extra")
from typer.testing import CliRunner

from model_export import cli
from model_export.datasets import nhanes_diabetes as nhanes
from model_export.onnx import gate
from model_export.recipe import by_name, quiet
from model_export.recipes import RECIPES, diabetes_risk
from model_runtime.library import Library

pytestmark = [pytest.mark.export, pytest.mark.slow]
COLUMNS = "seqn,age,sex,race,bmi,waist_cm,diastolic_bp,family_history_diabetes,fasting_glucose_mg_dl,diagnosed"


def write_population(folder, count=900):
    """Write people whose risk rises with age and glucose; half of them have no glucose."""
    rng = np.random.default_rng(7)
    lines = [COLUMNS]
    for person in range(count):
        age, glucose = rng.integers(20, 81), float(np.clip(rng.normal(105, 25), 60, 300))
        risk = 1 / (1 + np.exp(-((age - 60) / 10 + (glucose - 110) / 15)))
        known = f"{glucose:.0f}" if rng.random() < 0.5 else ""
        sex, race = rng.choice(["male", "female"]), rng.choice(["nh_white", "nh_black"])
        values = f"{rng.normal(29, 5):.1f},{rng.normal(98, 12):.1f},{rng.normal(70, 9):.0f},{rng.integers(0, 2)}"
        lines.append(f"{person},{age},{sex},{race},{values},{known},{int(rng.random() < risk)}")
    with gzip.open(folder / nhanes.FILE, "wt") as file:
        file.write("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_population(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(diabetes_risk, "TREE_COUNT", 12)
    patch.setattr(diabetes_risk, "LEAF_SIZES", (10, 40))
    out = tmp_path_factory.mktemp("out")
    result = CliRunner().invoke(cli.app, ["train", "diabetes-risk", "--data", str(data), "--out", str(out)])
    patch.undo()
    assert result.exit_code == 0, result.output
    return out / "diabetes-risk"


def command(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_training_writes_a_model_that_the_server_verifies(folder):
    assert Library(folder.parent).verify("diabetes-risk")
    assert command("verify", folder).exit_code == 0


def test_evaluating_the_file_on_its_own_data_uses_the_held_out_and_repeats_the_manifests_figures(folder, data):
    result = json.loads(command("evaluate", folder, "--data", data, "--json").stdout)
    metrics = Library(folder.parent).manifest("diabetes-risk").metrics
    assert result["persons"] == "held out from training"
    for part in ("as_charted", "no_lab", "lab", "undiagnosed", "subgroups"):
        assert result[part] == metrics[part]
    assert result["lab"]["rows"] < result["no_lab"]["rows"] < 300


def test_evaluating_on_other_data_uses_everybody(folder, tmp_path):
    result = diabetes_risk.evaluate(folder, write_population(tmp_path, count=400), progress=quiet)
    assert result["no_lab"]["rows"] == 400


def test_the_same_seed_gives_the_same_file(folder, data, tmp_path, monkeypatch):
    monkeypatch.setattr(diabetes_risk, "TREE_COUNT", 12)
    monkeypatch.setattr(diabetes_risk, "LEAF_SIZES", (10, 40))
    again = diabetes_risk.train(data, tmp_path, seed=diabetes_risk.SEED, progress=quiet)
    assert (again / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()


def test_a_tampered_folder_fails_verification_in_one_line(folder, tmp_path):
    copy = tmp_path / "diabetes-risk"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "model.onnx").write_bytes(b"no model")
    result = command("verify", copy)
    assert result.exit_code == 1
    assert "sha256" in result.output
    assert "Traceback" not in result.output


def test_a_refusal_of_the_gate_is_one_line_and_exit_1(data, tmp_path, monkeypatch):
    monkeypatch.setattr(diabetes_risk, "TREE_COUNT", 2)
    monkeypatch.setattr(diabetes_risk, "LEAF_SIZES", (40,))
    monkeypatch.setattr(diabetes_risk, "TREES", gate.Limits(1e-12, 10**9))
    result = command("train", "diabetes-risk", "--data", data, "--out", tmp_path)
    assert result.exit_code == 1
    assert "refused, nothing written" in result.output
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_model_or_absent_data_is_said_with_what_to_do(tmp_path, monkeypatch):
    assert "known: diabetes-risk" in command("train", "palm-reading").output
    monkeypatch.setenv("CONSILIUM_DATASETS_DIR", str(tmp_path))
    assert "CONSILIUM_DATASETS_DIR" in command("train", "diabetes-risk").output
    assert "diabetes-risk" in command("list").output


def test_two_recipes_with_one_name_stop_the_command():
    assert set(by_name(RECIPES)) == {recipe.name for recipe in RECIPES}
    with pytest.raises(ValueError, match="same model name"):
        by_name((*RECIPES, RECIPES[0]))


def test_thresholds_find_three_in_four_and_warn_when_every_second_is_right():
    rng = np.random.default_rng(3)
    probability = rng.random(20_000)
    policy = diabetes_risk.choose_policy(rng.random(20_000) < probability, probability)
    # A calibrated uniform score: sensitivity at t is 1 - t^2, so 3/4 at 0.5; above 0.5 three in four are right.
    assert policy["report_from"] == pytest.approx(0.5, abs=0.02)
    assert policy["warn_from"] == policy["report_from"]
