"""CBIS-DDSM: what radiologists wrote about masses and calcifications in mammograms, without the pixels.

`assessment` (BI-RADS category) is the reader's own suspicion and comes apart from the descriptors; `pathology`
is the outcome, and BENIGN_WITHOUT_CALLBACK says which assessment was given; `subtlety` was rated with the answer
known. None of them is a feature. Two views of one lesion, and all lesions of a patient, are one group.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_export.datasets import table
from model_export.datasets.splits import Groups, groups_of
from model_export.datasets.table import ZERO_ONE, Choice, Number, Row

NAME = "cbis_ddsm_records"
FILE = "lesions.csv"
LAYOUT = (f"{FILE}#calc_type",)
LICENCE = "CC BY 3.0"
CITATION = (
    "Sawyer-Lee R, Gimenez F, Hoogi A, Rubin D. Curated Breast Imaging Subset of DDSM. The Cancer Imaging Archive "
    "2016, doi:10.7937/K9/TCIA.2016.7O02S9CY; Lee RS et al. Sci Data 2017;4:170177"
)
KIND = Choice("abnormality_type", {"mass": 0.0, "calcification": 1.0})
SIDE = Choice("left_or_right_breast", {"LEFT": 0.0, "RIGHT": 1.0})
VIEW = Choice("image_view", {"CC": 0.0, "MLO": 1.0})
DENSITY = Number("density", "", 0, 4, needed=True)  # ACR 1 to 4; two rows have 0: unknown
ASSESSMENT = Number("assessment", "", 0, 5, needed=True)
OUTCOME = Choice("malignant", ZERO_ONE)
PATHOLOGY = Choice("pathology", {"BENIGN": 0.0, "BENIGN_WITHOUT_CALLBACK": 0.0, "MALIGNANT": 1.0})
SET = Choice("set", {"train": 0.0, "test": 1.0})
# Several words may stand in one cell, joined by "-".
WORDS: Mapping[str, tuple[str, ...]] = {
    "mass_shape": (
        *("ROUND", "OVAL", "LOBULATED", "IRREGULAR", "ARCHITECTURAL_DISTORTION", "LYMPH_NODE"),
        *("ASYMMETRIC_BREAST_TISSUE", "FOCAL_ASYMMETRIC_DENSITY"),
    ),
    "mass_margins": ("CIRCUMSCRIBED", "OBSCURED", "MICROLOBULATED", "ILL_DEFINED", "SPICULATED"),
    "calc_type": (
        *("AMORPHOUS", "COARSE", "DYSTROPHIC", "EGGSHELL", "FINE_LINEAR_BRANCHING", "LARGE_RODLIKE"),
        *("LUCENT_CENTER", "LUCENT_CENTERED", "MILK_OF_CALCIUM", "PLEOMORPHIC", "PUNCTATE", "ROUND_AND_REGULAR"),
        *("SKIN", "VASCULAR"),
    ),
    "calc_distribution": ("CLUSTERED", "LINEAR", "REGIONAL", "DIFFUSELY_SCATTERED", "SEGMENTAL"),
}
NAMES = (
    *("calcification", "right", "mlo", "density"),
    *(f"{column}={word}" for column, words in WORDS.items() for word in words),
)


@dataclass(frozen=True, slots=True)
class Lesions:
    """The table, one entry a lesion and view.

    features: float64 (n, len(NAMES)), words as 0 or 1, density NaN when unknown. assessment: BI-RADS category
        0..5, apart because it is an opinion about the outcome. official_test: the authors' own test part.
    """

    features: NDArray[np.float64]
    malignant: NDArray[np.bool_]
    assessment: NDArray[np.int64]
    official_test: NDArray[np.bool_]
    patient: tuple[str, ...]
    groups: Groups
    sha256: str


def load(folder: Path) -> Lesions:
    """Read the table. Raises IncorrectInput with line and column."""
    fields = (KIND, SIDE, VIEW, DENSITY, ASSESSMENT, OUTCOME, PATHOLOGY, SET)
    rows = table.read(folder / FILE, ["patient_id", *WORDS, *(field.name for field in fields)])
    malignant = np.array([_malignant(row) for row in rows])
    patient = tuple(row.text("patient_id") for row in rows)
    return Lesions(
        features=np.array([_features(row) for row in rows]),
        malignant=malignant,
        assessment=np.array([ASSESSMENT.read(row) for row in rows]).astype(np.int64),
        official_test=np.array([SET.read(row) for row in rows]) > 0,
        patient=patient,
        # Not by equal rows: "oval, circumscribed" of two women is a coincidence and no copy.
        groups=groups_of(patient=patient),
        sha256=hashlib.sha256((folder / FILE).read_bytes()).hexdigest(),
    )


def _malignant(row: Row) -> bool:
    said, known = OUTCOME.read(row), PATHOLOGY.read(row)
    if said != known:
        raise row.refused("malignant", "does not agree with pathology")
    return said > 0


def _features(row: Row) -> list[float]:
    density = DENSITY.read(row) or np.nan
    words = [value for column, known in WORDS.items() for value in _words(row, column, known)]
    return [KIND.read(row), SIDE.read(row), VIEW.read(row), density, *words]


def _words(row: Row, column: str, known: tuple[str, ...]) -> list[float]:
    text = row.text(column)
    found = set(text.split("-")) if text else set()
    if found - set(known):
        raise row.refused(column, f"has a word that is none of {', '.join(known)}")
    return [float(word in found) for word in known]
