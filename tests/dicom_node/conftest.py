"""What the DICOM tests share: peers' programs, data sets and a small phantom."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dicom_node.testing import PhantomTruth, radiograph_phantom


@pytest.fixture
def program():
    """Return the path of a peer's program, or skip with the reason (with CI=true: fail)."""

    def find(name: str) -> str:
        found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
        if found is None:
            if os.environ.get("CI") == "true":
                pytest.fail(f"{name} is not installed")
            pytest.skip(f"{name} is not installed")
        return found

    return find


@pytest.fixture
def data_dir():
    """Return a folder of the shared data, or skip with the reason."""

    def find(name: str) -> Path:
        base = os.environ.get("CONSILIUM_DATA_DIR") or Path(__file__).parents[3] / "shared" / "data"
        folder = Path(base) / name
        if not folder.is_dir():
            pytest.skip(f"data set {name} is not here (CONSILIUM_DATA_DIR)")
        return folder

    return find


@pytest.fixture(scope="session")
def small_phantom() -> tuple[NDArray[np.uint16], PhantomTruth]:
    return radiograph_phantom(1, rows=128, columns=128)
