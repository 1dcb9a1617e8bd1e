"""A laboratory's mg/dL and mmol/L of one substance: the molar mass that its LOINC code implies joins them.

A quantity of such a code gets a second row, in the other dimension: glucose that was sent in mg/dL is found by a
search in mmol/L, and only glucose is found by glucose's mass.
"""

from decimal import Decimal

from clinical import ucum
from clinical.codes import LOINC
from clinical.molar_mass import molar_mass
from fhir_adapters.search.rows import Rows
from record_store.index_rows import QuantityRow

# The parameter that says what a quantity of the same part is of.
_CODED_BY = {"value-quantity": "code", "component-value-quantity": "component-code"}
_OTHER = {ucum.unit("g/L").dimension: "mol/L", ucum.unit("mol/L").dimension: "g/L"}
_INFINITE = float("inf")


def add_the_other_dimension(made: Rows) -> None:
    """Add the rows, to those of an Observation."""
    for row in tuple(made.quantities):
        if row.canon_unit in _OTHER and row.param in _CODED_BY and (mass := _mass(made, row)) is not None:
            lo, hi = (_converted(end, row, mass) for end in (row.lo, row.hi))
            other = ucum.unit(_OTHER[row.canon_unit]).dimension
            made.quantities.append(row._replace(canon_lo=lo, canon_hi=hi, canon_unit=other))


def _mass(made: Rows, row: QuantityRow) -> Decimal | None:
    code = _CODED_BY[row.param]
    masses = (
        molar_mass(token.code)
        for token in made.tokens
        if token.part == row.part and token.param == code and token.system == LOINC
    )
    return next((mass for mass in masses if mass is not None), None)


def _converted(end: float, row: QuantityRow, mass: Decimal) -> float:
    if abs(end) == _INFINITE:
        return end
    into = _OTHER[row.canon_unit]
    value = ucum.convert(Decimal(repr(end)), row.code, into, molar_mass=mass)
    return float(ucum.canonical(value, into)[0])
