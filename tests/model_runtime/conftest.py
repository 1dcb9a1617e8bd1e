from pathlib import Path

import numpy as np
import pytest

from model_export.testing import write_tiny_risk, write_tiny_segmentation, write_tiny_variants
from model_runtime.testing import DIABETES_FEATURES


@pytest.fixture(scope="session")
def _made_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_tiny_risk(folder)
    write_tiny_segmentation(folder)
    write_tiny_variants(folder)
    return folder


@pytest.fixture
def models(_made_once, tmp_path) -> Path:
    """A folder with three tiny models, one of them with two graphs, to be altered at will."""
    target = tmp_path / "models"
    for source in _made_once.iterdir():
        (target / source.name).mkdir(parents=True)
        for file in source.iterdir():
            (target / source.name / file.name).write_bytes(file.read_bytes())
    return target


@pytest.fixture
def one_row() -> dict:
    features = np.full((1, len(DIABETES_FEATURES)), np.nan)
    features[0, -1] = 126.0
    return {"features": features}
