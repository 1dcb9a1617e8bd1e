"""The shipped lung nodule model, and the gate that it went through."""

from pathlib import Path

import numpy as np
import pytest

from clinical.image import GreyImage
from clinical.measure import findings_from_probability
from dicom_node.testing import radiograph_phantom
from model_runtime.library import Library
from model_runtime.tasks.segmentation import Segmentation
from model_runtime.transforms import prepare, restore

MODELS = Path(__file__).resolve().parents[2] / "models"
NAME = "lung-nodule"
SIZE = 512  # of a phantom: what the model sees of any image


@pytest.fixture(scope="module")
def session():
    pytest.importorskip("onnxruntime", reason="needs an onnxruntime: install consilium-cds[cpu]")
    return Library(MODELS).verify(NAME)


def part():
    return Library(MODELS).manifest(NAME).require(Segmentation)


def read(session, pixels):
    """What the server would report for these pixels."""
    model = part()
    tensor, place = prepare(GreyImage(np.asarray(pixels, np.float32)), model.image)
    limits = model.thresholds
    return findings_from_probability(
        restore(session.run({"image": tensor})["probability"][0, :, :, 0], place),
        mask_threshold=limits.mask,
        report_threshold=limits.report,
        min_area_px=limits.min_area_px,
        spacing=None,
    )


def test_the_shipped_model_is_what_its_manifest_says_and_reproduces_its_golden_output(session):
    folder = MODELS / NAME
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 10_000_000
    assert part().image.channels == session.graph.inputs[0].shape[-1]
    assert 0 < part().thresholds.mask <= part().thresholds.report < 1


def test_the_card_says_what_it_was_trained_on_and_that_it_is_no_medical_device():
    card = (MODELS / NAME / "card.md").read_text("utf-8")
    for words in ("not a medical device", "simulated radiographs", "academic and research", "CC BY 3.0"):
        assert words in card


@pytest.mark.export
def test_no_patient_s_picture_is_shipped(session):
    """The golden input is a made-up chest, made again here from the seed."""
    recipe = pytest.importorskip("model_export.recipes.lung_nodule", reason="needs the training stack")
    golden = Library(MODELS).golden(NAME).inputs["image"]
    assert np.abs(golden[0] - recipe.gate_rows(recipe.SEED, 1)[0]).max() < 1e-5
    assert {file.stem for file in (MODELS / NAME / "plots").iterdir()} == {"froc", "roc", "learning", "phantom"}


@pytest.mark.slow
def test_the_nodule_of_the_phantom_is_found_where_it_is(session):
    seeds = range(1000, 1012)
    found, false = 0, 0
    for seed in seeds:
        pixels, truth = radiograph_phantom(seed, rows=SIZE, columns=SIZE)
        findings, mask = read(session, pixels)
        own = [f for f in findings if truth.masks[0][round(f.centroid_px[0]), round(f.centroid_px[1])]]
        found += bool(own)
        false += len(findings) - len(own)
        if own:
            assert (mask.of(own[0].number) & truth.masks[0]).any()
    assert found >= 0.9 * len(seeds)
    assert false <= 0.25 * len(seeds)


@pytest.mark.slow
def test_a_phantom_without_nodule_is_left_alone(session):
    assert (
        sum(
            len(read(session, radiograph_phantom(seed, 0, rows=SIZE, columns=SIZE)[0])[0])
            for seed in range(2000, 2008)
        )
        <= 2
    )


def test_a_blank_image_has_no_findings(session):
    assert read(session, np.zeros((700, 500)))[0] == ()


def test_the_figures_that_were_asked_for_are_in_the_manifest_out_of_fold():
    figures = Library(MODELS).manifest(NAME).metrics["cross_validation"]
    for group in ("visible15", "visible", "all"):
        assert 0 <= figures["drr"][group]["sens_at_1fp"] <= figures["drr"][group]["sens_at_4fp"] <= 1
    low, high = figures["nih"]["auroc_nodule_or_mass_ci95"]
    assert low < figures["nih"]["auroc_nodule_or_mass"] < high
    assert figures["nih"]["chexnet_auroc"] > 0.7
    assert figures["phantom"]["sensitivity"] >= 0.95


@pytest.mark.export
def test_the_graph_has_at_most_60_nodes():
    onnx = pytest.importorskip("onnx", reason="needs the training stack")
    nodes = onnx.load(MODELS / NAME / "model.onnx").graph.node
    assert len(nodes) <= 60
    assert {node.op_type for node in nodes}.isdisjoint({"Tile", "Loop"})


@pytest.mark.export
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_phantom_recipe_needs_no_data(tmp_path):
    pytest.importorskip("tensorflow", reason="needs the training stack")
    from model_export.recipe import TrainOptions, quiet  # noqa: PLC0415
    from model_export.recipes import lung_nodule_phantom  # noqa: PLC0415

    options = TrainOptions(quick=True)
    folder = lung_nodule_phantom.train(None, tmp_path, seed=1, progress=quiet, options=options)
    manifest = Library(tmp_path).manifest(folder.name)
    assert manifest.name == "lung-nodule-phantom"
    assert manifest.notice.startswith("Synthetic")
