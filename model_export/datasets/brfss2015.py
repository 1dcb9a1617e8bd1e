"""BRFSS 2015 telephone interviews, balanced: 12 of the 21 diabetes indicators.

Half of the rows have diabetes because the others were thinned out: a probability learned here must be moved to the
true prevalence (`PREVALENCE`) before anybody is told it.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_export.datasets import table
from model_export.datasets.table import ZERO_ONE, Choice, Number, Table

NAME = "brfss2015_5050"
FILE = "data.csv.gz"
LAYOUT = (f"{FILE}#HighChol",)
LICENCE = (
    "public domain (US government work); the cleaned table CC0 (as recalled by the set's README, not checked)"
)
CITATION = (
    "Centers for Disease Control and Prevention. Behavioral Risk Factor Surveillance System 2015; cleaned table "
    "of A. Teboul, UCI Machine Learning Repository 891"
)
PREVALENCE = 0.139  # of the 253,680 interviews before balancing
COLUMNS = (
    Choice("HighBP", ZERO_ONE),
    Choice("HighChol", ZERO_ONE),
    Choice("CholCheck", ZERO_ONE),
    Number("BMI", "kg/m2", 10, 100, needed=True),
    Choice("Smoker", ZERO_ONE),
    Choice("PhysActivity", ZERO_ONE),
    Choice("AnyHealthcare", ZERO_ONE),
    Number("GenHlth", "", 1, 5, needed=True),  # 1 excellent to 5 poor
    Number("MentHlth", "d", 0, 30, needed=True),  # bad days of the last 30
    Number("PhysHlth", "d", 0, 30, needed=True),
    Choice("Sex", ZERO_ONE),  # 1 is male
    Number("Age", "", 1, 13, needed=True),  # bands: 1 is 18-24, then five years each, 13 is 80 and over
)
OUTCOME = Choice("Diabetes_binary", ZERO_ONE)


def load(folder: Path) -> Table:
    """Read the table. Raises IncorrectInput with line and column.

    Equal rows are mostly coincidences of coarse answers; keeping them together costs nothing and hides no leak.
    """
    return table.load(folder / FILE, COLUMNS, OUTCOME, same="row_group")


def at_prevalence(probability: NDArray[np.float64], prevalence: float = PREVALENCE) -> NDArray[np.float64]:
    """Move probabilities learned on halves to the true prevalence: the odds are multiplied by its odds."""
    weighed = probability * prevalence
    return np.asarray(weighed / (weighed + (1 - probability) * (1 - prevalence)))
