"""The recipe from data to evaluated file, on a small made-up population, by the command line."""

import gzip
import json

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs the export extra")
from typer.testing import CliRunner

from clinical.explanation import explainer_of
from model_export import cli
from model_export.datasets import nhanes_2009_2012, nhanes_fhir
from model_export.datasets import nhanes_diabetes as nhanes
from model_export.metrics import auroc
from model_export.onnx import gate
from model_export.recipe import by_name, quiet
from model_export.recipes import RECIPES, diabetes_measure, diabetes_release, diabetes_risk
from model_export.recipes.diabetes_blend import struck_out
from model_export.recipes.diabetes_features import DESIGNS, FEATURES, NAMES
from model_export.recipes.diabetes_fit import People, cross_validate, fit, splits_of
from model_export.recipes.diabetes_graph import graph_of
from model_export.recipes.diabetes_measure import policy_of
from model_runtime.library import Library
from model_runtime.tasks.risk import Risk

pytestmark = [pytest.mark.export, pytest.mark.slow]
COLUMNS = (
    "seqn,age,sex,race,bmi,waist_cm,diastolic_bp,family_history_diabetes,general_health,smokes_now,vigorous_activity,"
    "moderate_activity,pregnancies,fasting_glucose_mg_dl,fasting_insulin_uU_ml,told_diabetes,diagnosed"
)
EARLIER = (
    "seqn,cycle,age,sex,race,bmi,diastolic_bp,hdl_mmol_l,smoke_now,smoke_100,phys_active,general_health,diagnosed"
)


def write_population(folder, count=500, seed=7, *, laboratory=True, anybody=True):
    """Write people whose risk rises with age and glucose; half of them have no glucose."""
    rng = np.random.default_rng(seed)
    lines = [COLUMNS]
    for person in range(count):
        age, glucose = rng.integers(20, 81), float(np.clip(rng.normal(105, 25), 60, 300))
        risk = anybody / (1 + np.exp(-((age - 60) / 10 + (glucose - 110) / 15)))
        lab = f"{glucose:.0f},{rng.uniform(3, 30):.1f}" if laboratory and rng.random() < 0.5 else ","
        sick = rng.random() < risk
        told = "yes" if sick else rng.choice(["no", "borderline"], p=[0.95, 0.05])
        sex, race = rng.choice(["male", "female"]), rng.choice(["nh_white", "nh_black"])
        body = f"{rng.normal(29, 5):.1f},{rng.normal(98, 12):.1f},{rng.normal(70, 9):.0f},{rng.integers(0, 2)}"
        habits = f"{rng.integers(1, 6)},{rng.choice(['', '0', '1'])},{rng.integers(0, 2)},1,"
        lines.append(f"{seed}{person:05},{age},{sex},{race},{body},{habits},{lab},{told},{int(sick)}")
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(folder / nhanes.FILE, "wt") as file:
        file.write("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    external = folder / nhanes_2009_2012.NAME
    external.mkdir()
    person = "{},2009-2010,{},male,White,31.2,80,1.3,No,Yes,No,Good,{}"
    with gzip.open(external / nhanes_2009_2012.FILE, "wt") as file:
        file.write("\n".join([EARLIER, *(person.format(n, 20 + n, int(n > 40)) for n in range(60))]))
    write_population(folder / nhanes.NAME)
    return folder


@pytest.fixture(scope="module", autouse=True)
def few_resamples():
    patch = pytest.MonkeyPatch()
    patch.setattr(diabetes_measure, "RESAMPLES", 20)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    arguments = ["train", "diabetes-risk", "--data", str(data / nhanes.NAME), "--out", str(out), "--quick"]
    result = CliRunner().invoke(cli.app, [*arguments, "--keep-trainer"])
    assert result.exit_code == 0, result.output
    return out / "diabetes-risk"


def command(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_training_writes_a_model_of_two_graphs_that_the_server_verifies(folder):
    assert set(Library(folder.parent).verify_all("diabetes-risk")) == {"no_lab", "lab"}
    assert command("verify", folder).exit_code == 0


def test_a_quick_model_says_on_its_card_that_it_is_of_no_use(folder):
    assert "is of no use" in (folder / "card.md").read_text("utf-8").split("## ")[0]


def test_race_education_and_insurance_are_no_inputs_and_race_is_reported(folder):
    manifest = Library(folder.parent).manifest("diabetes-risk")
    names = {feature.name for feature in manifest.require(Risk).features}
    assert not {name for name in names if any(word in name for word in ("race", "ethnic", "educ", "insur"))}
    assert set(manifest.metrics["cross_validation"]["no_lab"]["subgroups"]["race_ethnicity"]) == {
        "nh_black",
        "nh_white",
    }


def test_evaluating_on_its_own_data_gives_the_stored_figures_and_says_that_they_are_out_of_fold(folder, data):
    result = json.loads(command("evaluate", folder, "--data", data / nhanes.NAME, "--json").stdout)
    stored = Library(folder.parent).manifest("diabetes-risk").metrics
    assert result["sets"][nhanes.NAME]["judged"] == "cross-validation, out of fold"
    for part in ("no_lab", "lab", "undiagnosed"):
        assert result[part] == json.loads(json.dumps(stored["cross_validation"][part]))
    assert result["lab"]["rows"] < result["no_lab"]["rows"] == 500
    # The earlier cycle lies beside it and is measured; 20 draws differ from 1000 only in the intervals.
    assert result["external"]["auroc"] == stored["external"]["auroc"]
    assert result["external"]["cycle"] == "2009-2010"


def test_evaluating_on_other_people_measures_everybody_and_draws_plots(folder, tmp_path):
    other = write_population(tmp_path / "nhanes_diabetes", count=200, seed=8)
    result = diabetes_risk.evaluate(folder, other, progress=quiet, plots=tmp_path / "plots")
    assert result["no_lab"]["rows"] == 200
    assert result["judged"] == "all subjects, none in training"
    assert (tmp_path / "plots" / "roc.png").exists()


@pytest.mark.parametrize("lacks", [{"laboratory": False}, {"anybody": False}])
def test_people_without_laboratory_or_without_a_case_give_null_and_no_crash(folder, tmp_path, lacks):
    other = write_population(tmp_path / "nhanes_diabetes", count=60, seed=9, **lacks)
    plots = tmp_path / "plots" if "laboratory" in lacks else None
    result = diabetes_risk.evaluate(folder, other, progress=quiet, plots=plots)
    assert result["lab"]["auroc"] is None
    json.dumps(result, allow_nan=False)


def test_the_same_seed_gives_the_same_graph_and_another_does_not(data):
    persons = nhanes.load(data / nhanes.NAME)
    people = People(persons.person, persons.features, persons.diagnosed, ~persons.borderline)
    design = DESIGNS["no_lab"]
    one, again, other = (graph_of(fit(design, people, seed, quick=True), design) for seed in (1, 1, 2))
    assert one.SerializeToString() == again.SerializeToString() != other.SerializeToString()


@pytest.mark.parametrize("graph", ["no_lab", "lab"])
def test_the_explanation_adds_up_to_what_the_graph_says_with_any_inputs_missing(folder, graph):
    library = Library(folder.parent)
    explainer = explainer_of(library.arrays("diabetes-risk", f"{graph}_explanation"))
    rng = np.random.default_rng(1)
    limits = np.array([(FEATURES[n].minimum, FEATURES[n].maximum) for n in DESIGNS[graph].picked], np.float64)
    rows = rng.uniform(limits[:, 0], limits[:, 1], (200, len(limits)))
    optional = [name not in DESIGNS[graph].requires for name in DESIGNS[graph].features]
    rows[(rng.random(rows.shape) < 0.4) & optional] = np.nan
    said = library.verify("diabetes-risk", graph=graph).run({"features": rows})["log_odds"][:, 0]
    assert max(abs(explainer.explain(row).score - score) for row, score in zip(rows, said, strict=True)) <= 1e-9


def test_what_cannot_be_known_is_not_predicted_out_of_fold(data):
    persons = nhanes.load(data / nhanes.NAME)
    coins = np.random.default_rng(0).random(len(persons)) < 0.3
    people = People(persons.person, persons.features, coins, ~persons.borderline)
    found = cross_validate(DESIGNS["no_lab"], people, splits_of(people, 1), 1, quiet, quick=True)
    assert not np.isnan(found.probability).any()
    assert auroc(coins, found.probability) < 0.6  # a fold that had seen its own persons would be above 0.7


def test_what_the_server_reads_of_a_person_is_what_the_survey_wrote(data):
    persons = nhanes.load(data / nhanes.NAME)
    read = nhanes_fhir.server_rows(persons.features[:100], FEATURES)
    assert np.array_equal(read, persons.features[:100], equal_nan=True)


def test_copies_lose_inputs_at_random_but_never_what_the_server_asks_for():
    rows = np.ones((4000, len(NAMES)))
    lost = np.isnan(struck_out(rows, (0, 1), seed=3))
    assert not lost[:, :2].any()
    assert lost[:, 2:].mean() == pytest.approx(0.4, abs=0.02)  # half of MOST_STRUCK_OUT


def test_the_trainer_is_kept_on_request_and_takes_the_tensor_of_its_graph(folder):
    joblib = pytest.importorskip("joblib")
    rows = np.full((3, 10), np.nan)
    rows[:, :2] = [[30, 0], [50, 1], [70, 0]]
    trainer = joblib.load(folder / "trainer" / "no_lab.joblib")
    given = Library(folder.parent).verify("diabetes-risk", graph="no_lab").run({"features": rows})["probability"]
    assert np.abs(trainer.predict_proba(rows)[:, 1:] - given).max() <= 1e-12


def test_a_tampered_explanation_fails_verification_in_one_line(folder, tmp_path):
    copy = tmp_path / "diabetes-risk"
    copy.mkdir()
    for file in folder.iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    (copy / "lab_explanation.npz").write_bytes(b"no arrays")
    result = command("verify", copy)
    assert result.exit_code == 1
    assert "sha256" in result.output
    assert "Traceback" not in result.output


def test_a_refusal_of_the_gate_is_one_line_and_exit_1(tmp_path, tmp_path_factory, monkeypatch):
    few = write_population(tmp_path_factory.mktemp("few") / nhanes.NAME, count=160)
    monkeypatch.setattr(diabetes_release, "TREES", gate.Limits(1e-12, 10**9))
    result = command("train", "diabetes-risk", "--data", few, "--out", tmp_path, "--quick")
    assert result.exit_code == 1
    assert "refused, nothing written" in result.output
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_model_or_absent_data_is_said_with_what_to_do(tmp_path, monkeypatch):
    assert "diabetes-risk" in command("train", "palm-reading").output
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
    policy = policy_of(rng.random(20_000) < probability, probability, 0.75, 0.5)
    # A calibrated uniform score: sensitivity at t is 1 - t^2, so 3/4 at 0.5; above 0.5 three in four are right.
    assert policy.report_from == pytest.approx(0.5, abs=0.02)
    assert policy.warn_from == policy.report_from
