"""Units as laboratories write them in OBX-6, as UCUM; others stay text (HL7 v2-to-FHIR, CWE[Quantity])."""

import re
from functools import lru_cache
from typing import Any

from clinical.codes import UCUM
from clinical.ucum import is_unit
from fhir_adapters.hl7v2.message import Value
from fhir_adapters.verbatim import Verbatim

Json = dict[str, Any]

# Looked at before UCUM: K, M, G, T, C and F are other things there (kelvin, gauss, tesla, coulomb, farad).
# Written in small letters and without blanks; u is the micro sign.
_SPELLINGS = {
    "%": "%",
    "10*3/uL": "k/ul thou/ul th/ul tsd/ul",
    "10*3/mm3": "k/mm3 thou/mm3",
    "10*6/uL": "m/ul mil/ul mill/ul mio/ul",
    "10*6/mm3": "mill/mm3",
    "10*9/L": "gpt/l",
    "10*12/L": "tpt/l",
    "{cells}/uL": "cells/ul",
    "{cells}/mm3": "cells/mm3",
    "{cells}/[HPF]": "cells/hpf",
    "/[HPF]": "/hpf",
    "/[LPF]": "/lpf",
    "{copies}/mL": "copies/ml",
    "meq/L": "meq/l mval/l",
    "mosm/kg": "mosm/kg mosmol/kg",
    "[IU]/L": "iu/l",
    "[IU]/mL": "iu/ml",
    "m[IU]/mL": "miu/ml",
    "m[IU]/L": "miu/l",
    "u[IU]/mL": "uiu/ml",
    "k[IU]/L": "kiu/l",
    "U/L": "u/l",
    "U/mL": "u/ml",
    "mU/L": "mu/l",
    "uU/mL": "uu/ml",
    "kU/L": "ku/l",
    "mg/dL": "mg/dl mg%",
    "g/dL": "g/dl gm/dl g%",
    "g/L": "gm/l g/l",
    "ug/dL": "ug/dl mcg/dl",
    "ug/L": "ug/l mcg/l",
    "ug/mL": "ug/ml mcg/ml",
    "ng/dL": "ng/dl",
    "ng/mL": "ng/ml",
    "ng/L": "ng/l",
    "pg/mL": "pg/ml",
    "pg/dL": "pg/dl",
    "mg/L": "mg/l",
    "mg/mL": "mg/ml",
    "mmol/L": "mmol/l",
    "umol/L": "umol/l",
    "nmol/L": "nmol/l",
    "pmol/L": "pmol/l",
    "mol/L": "mol/l",
    "mmol/mol": "mmol/mol",
    "mg/g": "mg/g",
    "mg/mmol": "mg/mmol",
    "mg/(24.h)": "mg/24h",
    "mg/d": "mg/d",
    "g/(24.h)": "g/24h",
    "mL": "ml cc",
    "dL": "dl",
    "L": "l",
    "fL": "fl",
    "pg": "pg",
    "g": "gm g",
    "ug": "mcg",
    "kg": "kg",
    "mg": "mg",
    "mL/min": "ml/min",
    "L/min": "l/min",
    "mL/min/{1.73_m2}": "ml/min/1.73m2 ml/min/1.73m^2 ml/min/1.73sqm ml/min/1.73",
    "s": "sec secs seconds s",
    "min": "min mins minutes",
    "h": "hr hrs hours h",
    "d": "days",
    "a": "yrs years",
    "mm/h": "mm/hr mm/h",
    "mm[Hg]": "mmhg",
    "cm[H2O]": "cmh2o",
    "kPa": "kpa",
    "/min": "bpm beats/min /min breaths/min rpm",
    "kg/m2": "kg/m2 kg/m^2 kg/m²",
    "cm": "cm",
    "mm": "mm",
    "m": "m",
    "[in_i]": "in inch inches",
    "[ft_i]": "ft",
    "[lb_av]": "lb lbs",
    "[oz_av]": "oz",
    "Cel": "c degc °c cel",
    "[degF]": "f degf °f",
    "{ratio}": "ratio",
    "{index}": "index",
    "{score}": "score",
    "{INR}": "inr",
    "{titer}": "titer",
    "[pH]": "ph",
}
NAMES = {name: code for code, names in _SPELLINGS.items() for name in names.split()}
# Case tells these apart: G/L and G/l are giga, g/L is grams.
_EXACT = {
    "G/L": "10*9/L",
    "G/l": "10*9/L",
    "T/L": "10*12/L",
    "T/l": "10*12/L",
    "M/uL": "10*6/uL",
    "mU/L": "mU/L",
    "Mio/ul": "10*6/uL",
}
_POWER = re.compile(r"[x*]?10(?:\^|\*|e|exp|)(?P<power>[1-9]|1[0-2])/(?P<per>u?l|mm3|ml|dl)")
_PER = {"ul": "uL", "l": "L", "mm3": "mm3", "ml": "mL", "dl": "dL"}


@lru_cache(maxsize=2048)
def ucum(text: str) -> str | None:
    """Return the UCUM code of a unit as it was written, None when nothing is known of it."""
    if text == "MU/L":  # mega-units, or milli-units of a laboratory that writes all in capitals: nobody can tell
        return None
    if text in _EXACT:
        return _EXACT[text]
    tight = "".join(text.split()).replace("\u00b5", "u").replace("\u03bc", "u")
    small = tight.lower()
    power = _POWER.fullmatch(small)
    if power:
        return f"10*{power['power']}/{_PER[power['per']]}"
    return NAMES.get(small) or (tight if is_unit(tight) else None)


def unit_of(value: Value) -> Json:
    """Return unit, system and code of OBX-6 for a Quantity; no system where its UCUM is not known."""
    written = value.text(1)
    shown = written or value.text(2)
    if not shown:
        return {}
    code = written if value.text(3).upper() == "UCUM" and is_unit(written) else ucum(shown)
    if code is None and value.text(6).upper() == "UCUM" and is_unit(value.text(4)):
        code = value.text(4)
    return {"unit": shown} | ({"system": UCUM, "code": code} if code else {})


def quantity(digits: str, unit: Json, comparator: str = "") -> Json:
    """Return a Quantity. digits: of `datatypes.number`. unit: of `unit_of`."""
    return {"value": Verbatim(digits)} | ({"comparator": comparator} if comparator else {}) | unit
