"""Symptoms at a diabetes hospital in Sylhet: 520 rows of which 251 are distinct.

Copies of test rows in training are how published accuracies of 97 to 99 % came about; `load` returns the groups
and `splits` keeps them whole. A hospital sample of established disease: not future risk, no general population.
"""

from pathlib import Path

from model_export.datasets import table
from model_export.datasets.table import YES_NO, Choice, Column, Number, Table

NAME = "sylhet_early_diabetes"
FILE = "data.csv.gz"
LAYOUT = (f"{FILE}#polyuria",)
LICENCE = "CC BY 4.0 (as recalled by the set's README, not checked)"
CITATION = (
    "Islam MMF, Ferdousi R, Rahman S, Bushra HY. Likelihood prediction of diabetes at early stage using data "
    "mining techniques. 2020. UCI Machine Learning Repository 529, doi:10.24432/C5VG8H"
)
SYMPTOMS = (
    "polyuria",
    "polydipsia",
    "sudden_weight_loss",
    "weakness",
    "polyphagia",
    "genital_thrush",
    "visual_blurring",
    "itching",
    "irritability",
    "delayed_healing",
    "partial_paresis",
    "muscle_stiffness",
    "alopecia",
    "obesity",
)
COLUMNS: tuple[Column, ...] = (
    Number("age", "a", 10, 110, needed=True),
    Choice("gender", {"Female": 0.0, "Male": 1.0}),
    *(Choice(symptom, YES_NO) for symptom in SYMPTOMS),
)
OUTCOME = Choice("class", {"Negative": 0.0, "Positive": 1.0})


def load(folder: Path) -> Table:
    """Read the table. Raises IncorrectInput with line and column."""
    return table.load(folder / FILE, COLUMNS, OUTCOME, same="row_group")
