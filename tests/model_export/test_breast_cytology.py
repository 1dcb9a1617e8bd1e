"""The cytology model: made from package data, says so first, and is no stand-in for breast-lesion."""

import numpy as np
import pytest

from clinical.errors import IncorrectInput
from model_export.onnx.variants import runner
from model_export.recipe import TrainOptions, quiet

pytestmark = pytest.mark.export
pytest.importorskip("sklearn")
cytology = pytest.importorskip("model_export.recipes.breast_cytology")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("models")
    return cytology.train(None, out, seed=1, progress=quiet, options=TrainOptions())


def test_it_has_a_name_of_its_own_and_says_what_it_is(folder):
    assert folder.name == "breast-cytology"
    text = (folder / "card.md").read_text("utf-8")
    assert text.index("Package data") < text.index("Intended use")


def test_out_of_fold_it_tells_malignant_from_benign(folder):
    found = cytology.evaluate(folder, None, progress=quiet, plots=None)
    assert found["auroc"] > 0.99
    assert found["accuracy"] > 0.96 > found["majority"]


def test_it_reads_no_folder(tmp_path, folder):
    with pytest.raises(IncorrectInput):
        cytology.train(tmp_path, tmp_path, seed=1, progress=quiet, options=TrainOptions())
    with pytest.raises(IncorrectInput):
        cytology.evaluate(folder, tmp_path, progress=quiet, plots=None)


def test_the_graph_is_the_regression():
    run = runner(cytology.graph_of(np.array([1.0, -2.0]), 0.5).SerializeToString())
    said = run({"features": np.array([[1.0, 0.25], [0.0, 1.0]])})["probability"][:, 0]
    assert said.tolist() == pytest.approx([1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(1.5))], abs=1e-12)
