"""NHANES as the CDC publishes it: a folder of transport files (`DEMO_H.XPT`, `BMX_H.XPT`, ...), one cycle or more.

They become the rows of the table `nhanes_diabetes`, with the same names and codes, so that one loader checks them.
The choice of variables is that of the table's authors: first pressure reading, questionnaire items on close
relatives, sleep, smoking, recreational activity. Refused, "don't know" and not asked are all missing.

    DEMO (age, sex, race, education), DIQ (diagnosis): needed, for each cycle
    BMX, BPX, GLU, INS, MCQ, PAQ, SLQ, SMQ, HIQ, HSQ, RHQ: what is there is read
"""

import csv
import gzip
import io
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clinical.errors import IncorrectInput
from model_export.datasets.xpt import read_xpt

NAME = "nhanes_xpt"
LAYOUT = ("DEMO_*.[xX][pP][tT]", "DIQ_*.[xX][pP][tT]")
LICENCE = "public domain (US government work)"
CITATION = (
    "Centers for Disease Control and Prevention, National Center for Health Statistics. National Health and "
    "Nutrition Examination Survey"
)
ADULT_YEARS = 20
DIABETES_FROM_MG_DL = 126.0  # fasting plasma glucose, ADA
CYCLES = {letter: f"{year}-{year + 1}" for letter, year in zip("BCDEFGHIJ", range(2001, 2018, 2), strict=True)}
_FILE = re.compile(r"(?P<part>[A-Z]+)_(?P<letter>[A-Z])\.XPT", re.IGNORECASE)
Values = NDArray[np.float64]
YES_NO = {1: "1.0", 2: "0.0"}
ONE_TO_FIVE = {number: f"{number}.0" for number in range(1, 6)}
RACE = {1: "mexican_american", 2: "other_hispanic", 3: "nh_white", 4: "nh_black", 6: "nh_asian", 7: "other"}
# Column of the table: (variables, the first that the cycle has; code -> word).
CODED: Mapping[str, tuple[tuple[str, ...], Mapping[int, str]]] = {
    "sex": (("RIAGENDR",), {1: "male", 2: "female"}),
    "race": (("RIDRETH3", "RIDRETH1"), {**RACE, 5: "other"}),  # RIDRETH1 knows 5 "other" and no 6, 7
    "education": (("DMDEDUC2",), ONE_TO_FIVE),
    "family_history_diabetes": (("MCQ300C",), YES_NO),
    "vigorous_activity": (("PAQ650",), YES_NO),
    "moderate_activity": (("PAQ665",), YES_NO),
    "smokes_now": (("SMQ040",), {1: "1.0", 2: "1.0", 3: "0.0"}),
    "insured": (("HIQ011",), YES_NO),
    "asthma": (("MCQ010",), YES_NO),
    "general_health": (("HSD010", "HUQ010"), ONE_TO_FIVE),
    "told_diabetes": (("DIQ010",), {1: "yes", 2: "no", 3: "borderline"}),
}
# Column of the table: (variables; values from here on are codes such as 77 "refused").
MEASURED: Mapping[str, tuple[tuple[str, ...], float]] = {
    "bmi": (("BMXBMI",), np.inf),
    "waist_cm": (("BMXWAIST",), np.inf),
    "diastolic_bp": (("BPXDI1",), np.inf),
    "fasting_glucose_mg_dl": (("LBXGLU",), np.inf),
    "fasting_insulin_uU_ml": (("LBXIN",), np.inf),
    "sleep_hours": (("SLD012", "SLD010H"), 77),
    "pregnancies": (("RHQ160",), 77),
}


def rows(folder: Path) -> list[dict[str, str]]:
    """Return the adults with a known answer about diabetes, as `csv.DictReader` gives the rows of the table.

    Raises IncorrectInput when a file is damaged, a needed one is missing, or a person stands twice.
    """
    cycles: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        match = _FILE.fullmatch(path.name)
        if match and match["letter"].upper() in CYCLES:
            cycles.setdefault(match["letter"].upper(), {})[match["part"].upper()] = path
    if not cycles:
        raise IncorrectInput("no NHANES transport file with a cycle in its name, such as DEMO_H.XPT")
    return [row for letter, files in sorted(cycles.items()) for row in _cycle(CYCLES[letter], files)]


def write_table(folder: Path, file: Path) -> None:
    """Write the rows as `data.csv.gz`, with equal bytes for equal rows."""
    found = rows(folder)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(found[0]) if found else ["seqn"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    file.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def _cycle(cycle: str, files: Mapping[str, Path]) -> Iterable[dict[str, str]]:
    for part in ("DEMO", "DIQ"):
        if part not in files:
            raise IncorrectInput(f"the cycle {cycle} lacks its file {part}")
    variables = _variables(files)
    for person in variables["RIDAGEYR"]:
        row = _row(person, cycle, variables)
        if row is not None:
            yield row


def _variables(files: Mapping[str, Path]) -> dict[str, dict[int, float]]:
    """Return {variable: {person: value}}; missing values are left out."""
    wanted = {"RIDAGEYR", *(name for names, _ in [*CODED.values(), *MEASURED.values()] for name in names)}
    found: dict[str, dict[int, float]] = {}
    for path in files.values():
        columns = read_xpt(path)
        persons = columns.get("SEQN")
        if persons is None or persons.dtype.kind != "f" or np.isnan(persons.astype(np.float64)).any():
            raise IncorrectInput(f"{path.name} has no person number SEQN in every row")
        if wanted & set(columns) and len(np.unique(persons)) != len(persons):
            raise IncorrectInput(f"{path.name} has a person twice")
        numbers = persons.astype(np.int64).tolist()
        for name in wanted & set(columns):
            values = columns[name].astype(np.float64).tolist()
            pairs = zip(numbers, values, strict=True)
            found.setdefault(name, {}).update({person: value for person, value in pairs if not math.isnan(value)})
    for name in ("RIDAGEYR", "RIAGENDR", "DIQ010"):
        if name not in found:
            raise IncorrectInput(f"the files lack the variable {name}")
    return found


def _row(person: int, cycle: str, variables: Mapping[str, Mapping[int, float]]) -> dict[str, str] | None:
    """Return the row of an adult whose diagnosis and sex are known, else None."""
    age = int(variables["RIDAGEYR"][person])
    row = {"seqn": str(person), "cycle": cycle, "age": str(age)}
    for column, (names, words) in CODED.items():
        row[column] = words.get(int(_first(names, person, variables, -1.0)), "")
    for column, (names, codes_from) in MEASURED.items():
        value = _first(names, person, variables, np.nan)
        row[column] = repr(value) if value < codes_from else ""
    if age < ADULT_YEARS or not row["told_diabetes"] or not row["sex"]:
        return None
    return {**row, **_outcomes(row)}


def _first(
    names: Iterable[str], person: int, variables: Mapping[str, Mapping[int, float]], otherwise: float
) -> float:
    return next((variables[name][person] for name in names if person in variables.get(name, {})), otherwise)


def _outcomes(row: Mapping[str, str]) -> dict[str, str]:
    """Return what the table derives: diagnosed by a doctor, by glucose, and by glucose alone."""
    diagnosed = row["told_diabetes"] == "yes"
    glucose = row["fasting_glucose_mg_dl"]
    by_glucose = str(float(float(glucose) >= DIABETES_FROM_MG_DL)) if glucose else ""
    return {
        "diagnosed": str(int(diagnosed)),
        "glucose_diabetes": by_glucose,
        "undiagnosed": "" if diagnosed else by_glucose,
    }
