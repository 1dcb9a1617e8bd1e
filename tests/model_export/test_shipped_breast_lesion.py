"""The breast lesion model as it is shipped: it loads, is small, and says what a radiologist would expect of it."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from clinical.image import GreyImage
from clinical.lesion import Basis
from model_export.recipes.breast_lesion import made_up_picture
from model_runtime.engine import LocalEngine, State
from model_runtime.lesion_diagnosis import diagnose
from model_runtime.lesion_tensors import crop_tensors
from model_runtime.lesion_view import find_outline
from model_runtime.library import Library
from model_runtime.tasks.lesion import DIAGNOSIS, IMAGE, OUTLINE, Lesion

FOLDER = Path(__file__).parents[2] / "models" / "breast-lesion"
NAME = FOLDER.name
SUSPICIOUS = {
    "age": 68.0,
    "shape": frozenset({"irregular"}),
    "margin": frozenset({"spiculated", "indistinct"}),
    "echogenicity": frozenset({"hypoechoic"}),
    "posterior_features": frozenset({"shadowing"}),
}
HARMLESS = {
    "age": 31.0,
    "shape": frozenset({"oval"}),
    "margin": frozenset({"circumscribed"}),
    "echogenicity": frozenset({"anechoic"}),
    "posterior_features": frozenset({"enhancement"}),
}
WANTED = ("dice", "auto", "auto_birads", "outline_birads", "selective", "record_image", "external", "birads")


def outlined(engine, part, picture):
    def run(tensors):
        return engine.run(NAME, {"image": tensors}, graph=OUTLINE)["probability"]

    return find_outline(run, picture, part.image, part.outline)


@pytest.fixture(scope="module")
def engine():
    return LocalEngine(Library(FOLDER.parent))


@pytest.fixture(scope="module")
def part(engine):
    return engine.manifest(NAME).require(Lesion)


@pytest.fixture(scope="module")
def ask(engine, part):
    """ask(record, views) -> Diagnosis, as the server asks."""

    def run(inputs):
        return engine.run(NAME, inputs, graph=DIAGNOSIS)

    return lambda record, views=(): diagnose(run, part, record, views)


@pytest.fixture(scope="module")
def tokens(engine, part):
    """Tokens of a made-up picture, outlined by the model."""
    picture = made_up_picture(np.random.default_rng(5))
    outline = outlined(engine, part, picture)
    assert outline is not None
    return engine.run(NAME, crop_tensors(picture, outline, part.crop), graph=IMAGE)["tokens"][0]


def test_it_loads_and_reproduces_its_golden_outputs(engine):
    assert engine.warm(NAME).state is State.READY


def test_the_outline_graph_has_no_chain_of_tiles_and_few_nodes():
    kinds = [node.op_type for node in onnx.load(FOLDER / "outline.onnx").graph.node]
    assert len(kinds) <= 60
    assert not {"Tile", "Loop", "Scan"} & set(kinds)


def test_the_transformer_keeps_its_exact_gelu():
    kinds = {node.op_type for node in onnx.load(FOLDER / "diagnosis.onnx").graph.node}
    assert "Erf" in kinds


def test_the_folder_is_below_10_mb():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 10_000_000


def test_a_spiculated_shadowing_mass_is_more_suspicious_than_a_cyst(ask):
    assert ask(SUSPICIOUS).probability > 0.8
    assert ask(HARMLESS).probability < 0.15


def test_the_probability_rises_with_the_category(ask):
    said = [ask({"birads": frozenset({category})}).probability for category in ("2", "3", "4", "5")]
    assert said == sorted(said)
    assert said[0] < 0.1
    assert said[-1] > 0.8


def test_it_works_with_record_image_or_both_and_says_which(ask, tokens):
    assert ask(HARMLESS).basis is Basis.RECORD
    assert ask({}, [tokens]).basis is Basis.IMAGE
    assert ask(HARMLESS, [tokens]).basis is Basis.BOTH
    assert ask({}) is None


def test_the_image_moves_what_a_category_says(ask, tokens):
    four = {"birads": frozenset({"4"})}
    assert ask(four, [tokens]).probability != ask(four).probability


def test_the_two_graphs_agree_on_the_image_alone(engine, part, ask, tokens):
    picture = made_up_picture(np.random.default_rng(5))
    outline = outlined(engine, part, picture)
    alone = engine.run(NAME, crop_tensors(picture, outline, part.crop), graph=IMAGE)["probability"].item()
    assert ask({}, [tokens]).probability == pytest.approx(alone, abs=0.0006)


def test_a_flat_picture_has_no_lesion(engine, part):
    flat = GreyImage(np.full((200, 180), 90, np.float32))
    assert outlined(engine, part, flat) is None


def test_its_figures_are_out_of_fold_and_stand_beside_the_category_alone(engine):
    found = engine.manifest(NAME).metrics["cross_validation"]
    assert found["judged"] == "cross-validation, out of fold"
    assert set(WANTED) <= set(found)
    assert found["auto_birads"]["auroc"] > found["birads"]["auroc"]
    assert found["auto_birads"]["majority"] < found["auto_birads"]["accuracy"]


def test_the_picture_does_not_worsen_the_record(engine):
    found = engine.manifest(NAME).metrics["cross_validation"]
    assert found["record_image"]["auroc"] >= found["record"]["auroc"]
