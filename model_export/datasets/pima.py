"""Pima women of 21 years and older, examined by the NIDDK: the usual teaching set for diabetes, 768 persons.

Missing values are empty (in the older form of the file they were zeros, which no glucose or pressure can be).
"""

from pathlib import Path

from model_export.datasets import table
from model_export.datasets.table import Choice, Number, Table

NAME = "pima"
FILE = "data.csv.gz"
LAYOUT = (f"{FILE}#pedigree",)
LICENCE = "GPL-2 (as packaged in R mlbench)"
CITATION = (
    "Smith JW, Everhart JE, Dickson WC, Knowler WC, Johannes RS. Using the ADAP learning algorithm to forecast "
    "the onset of diabetes mellitus. Proc Annu Symp Comput Appl Med Care 1988:261-265; PimaIndiansDiabetes2 of "
    "R mlbench"
)
# Glucose: plasma, two hours into an oral glucose tolerance test, and not a fasting value.
COLUMNS = (
    Number("pregnant", "{count}", 0, 25, needed=True),
    Number("glucose", "mg/dL", 20, 800),
    Number("pressure", "mm[Hg]", 20, 200),
    Number("triceps", "mm", 3, 120),
    Number("insulin", "u[IU]/mL", 5, 1500),
    Number("mass", "kg/m2", 10, 100),
    Number("pedigree", "", 0, 5, needed=True),
    Number("age", "a", 20, 110, needed=True),
)
OUTCOME = Choice("diabetes", {"neg": 0.0, "pos": 1.0})


def load(folder: Path) -> Table:
    """Read the table. Raises IncorrectInput with line and column."""
    return table.load(folder / FILE, COLUMNS, OUTCOME)
