"""Wisconsin Diagnostic Breast Cancer: 569 fine needle aspirates, 30 numbers of cell nuclei each.

Comes with scikit-learn, so no folder is read. Cytology measured by a program on a microscope's picture: nothing of
it is in a usual chart. One row a patient; no row stands twice.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clinical.errors import IncorrectInput

TABLE = "wdbc"
LICENCE = "CC BY 4.0 (UCI Machine Learning Repository)"
CITATION = (
    "Wolberg W, Mangasarian O, Street N, Street W. Breast Cancer Wisconsin (Diagnostic). UCI Machine Learning "
    "Repository 1993. doi 10.24432/C5DW2B; as shipped by scikit-learn"
)
FEATURES = 30


@dataclass(frozen=True, slots=True)
class Aspirates:
    """features: float64 (n, 30) in the order of names. malignant: by histology."""

    names: tuple[str, ...]
    features: NDArray[np.float64]
    malignant: NDArray[np.bool_]
    sha256: str


def load() -> Aspirates:
    """Return the table. Raises IncorrectInput when scikit-learn's copy is not the published one."""
    from sklearn.datasets import load_breast_cancer  # noqa: PLC0415 - loaders need no training stack

    found = load_breast_cancer()
    features = np.asarray(found.data, np.float64)
    malignant = np.asarray(found.target) == list(found.target_names).index("malignant")
    if features.shape != (569, FEATURES) or int(malignant.sum()) != 212 or not np.isfinite(features).all():
        raise IncorrectInput("scikit-learn's breast cancer table is not the published one")
    if len(np.unique(features, axis=0)) != len(features):
        raise IncorrectInput("a row stands twice: copies would leak across a split")
    names = tuple(str(name).replace(" ", "_") for name in found.feature_names)
    digest = hashlib.sha256(features.tobytes() + malignant.tobytes()).hexdigest()
    return Aspirates(names, features, malignant, digest)
