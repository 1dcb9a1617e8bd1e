"""UCUM: which codes are units, and what is the same quantity."""

import json
from decimal import Decimal
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.errors import IncorrectInput
from clinical.ucum import AVOGADRO, UnknownUnit, canonical, convert, is_unit, unit

TABLE = json.loads(files("clinical").joinpath("ucum.json").read_text())
GLUCOSE = Decimal("180.156")


@pytest.mark.parametrize(
    "code",
    ["1", "%", "mg/dL", "mmol/L", "mm[Hg]", "10*3/uL", "10*-3", "{beats}/min", "/min", "kg/m2", "m-2", "m+2",
     "mL/min/{1.73_m2}", "u[IU]/mL", "%{HemoglobinA1C}", "g/(8.h){shift}", "L/(min.m2)", "Cel", "[degF]", "[pH]",
     "2.2", "[in_i]", "dam", "Kibit", "10^12/L"],
)  # fmt: skip
def test_what_laboratories_write_are_units(code):
    assert is_unit(code)


@pytest.mark.parametrize(
    "code",
    ["", " ", "mmHg", "foo", "MMOL/L", "kkg", "m//s", "m.", ".m", "(m", "m)", "m{a}2", "{a}b", "mg/{a", "[x",
     "m g", "0", "m0", "m0.5", "k", "mg/dl ", "µg", "{ä}", "m" * 300, "(" * 50 + "m" + ")" * 50],
)  # fmt: skip
def test_what_ucum_does_not_have_is_refused(code):
    assert not is_unit(code)
    with pytest.raises(UnknownUnit):
        unit(code)


@pytest.mark.parametrize(
    ("value", "code", "other", "into"),
    [
        ("6.1", "mmol/L", "6100", "umol/L"),
        ("98.6", "[degF]", "37", "Cel"),
        ("-40", "Cel", "-40", "[degF]"),
        ("310.15", "K", "37", "Cel"),
        ("180", "[lb_av]", "81.6466266", "kg"),
        ("70", "[in_i]", "177.8", "cm"),
        ("120", "mm[Hg]", "15.99864", "kPa"),
        ("5", "10*3/uL", "5", "10*9/L"),
        ("5.5", "%", "0.055", "1"),
        ("60", "{beats}/min", "1", "Hz"),
        ("9", "Cel/min", "0.15", "K/s"),  # a difference has no zero
        ("1", "[mi_i]/h", "0.44704", "m/s"),
        ("2", "[iU]/mL", "2000", "[iU]/L"),
    ],
)
def test_a_value_is_the_same_in_every_unit_of_its_kind(value, code, other, into):
    assert round(convert(Decimal(value), code, into), 12) == Decimal(other)
    assert round(convert(Decimal(other), into, code), 12) == Decimal(value)
    here, there = canonical(Decimal(value), code), canonical(Decimal(other), into)
    assert here[1] == there[1]
    assert abs(here[0] - there[0]) <= abs(here[0]) * Decimal("1e-25")


@pytest.mark.parametrize(
    ("code", "into"), [("kg", "m"), ("mg/dL", "mmol/L"), ("[iU]", "g"), ("[iU]", "[arb'U]"), ("[pH]", "mol/L")]
)
def test_what_does_not_measure_the_same_is_not_converted(code, into):
    with pytest.raises(IncorrectInput, match="do not measure the same"):
        convert(Decimal(1), code, into)


def test_mass_and_amount_are_joined_by_the_substances_molar_mass():
    assert round(convert(Decimal(100), "mg/dL", "mmol/L", molar_mass=GLUCOSE), 4) == Decimal("5.5507")
    assert round(convert(Decimal("5.5507"), "mmol/L", "mg/dL", molar_mass=GLUCOSE), 1) == 100
    with pytest.raises(IncorrectInput):
        convert(Decimal(1), "mg", "mmol/L", molar_mass=GLUCOSE)
    assert Decimal(TABLE["atoms"]["mol"]["value"]) * Decimal("1e23") == AVOGADRO


@given(st.sampled_from(sorted(TABLE["atoms"])), st.sampled_from(["", "k", "m", "u", "da"]), st.integers(-3, 3))
def test_every_atom_of_the_table_means_something(atom, prefix, power):
    assert is_unit(atom)
    code = prefix + atom
    if is_unit(code) and power:
        raised = f"{code}{power}" if not atom[-1].isdigit() else f"({code})"
        assert unit(raised).scale > 0


@given(st.text(max_size=20))
def test_any_text_is_a_unit_or_is_refused(text):
    is_unit(text)
