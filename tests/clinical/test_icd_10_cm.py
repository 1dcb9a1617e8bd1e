"""ICD-10-CM against the package that it was made of, and molar masses against their units."""

from decimal import Decimal

import pytest

from clinical import icd_10_cm
from clinical.molar_mass import molar_mass
from clinical.ucum import convert


def test_codes_have_titles_and_stand_below_one_another():
    assert icd_10_cm.title("E11.9") == "Type 2 diabetes mellitus without complications"
    assert icd_10_cm.title("C50.919") == "Malignant neoplasm of unspecified site of unspecified female breast"
    assert icd_10_cm.ancestors("T36.0X1A") == ["T36.0X1", "T36.0X", "T36.0", "T36"]
    assert "E11" in icd_10_cm.ancestors("E11.65")
    assert "E11.65" not in icd_10_cm.ancestors("E11")
    assert icd_10_cm.parent("E11") is None
    assert icd_10_cm.release() == "2026-04"


@pytest.mark.parametrize(
    ("sent", "code"), [("e119", "E11.9"), ("E11.9", "E11.9"), (" R05 ", "R05"), ("E11.X", None), ("", None)]
)
def test_a_code_is_read_with_and_without_its_point(sent, code):
    assert icd_10_cm.normal(sent) == code


@pytest.mark.parametrize("code", ["A00-A09", "4", "E119", "e11.9", "X"])
def test_blocks_and_other_spellings_are_no_codes(code):
    assert not icd_10_cm.is_code(code)


@pytest.mark.slow  # the package reads 10 MB of XML
def test_the_table_is_what_the_package_has():
    source = pytest.importorskip("simple_icd_10_cm")
    codes = [one for one in source.get_all_codes(True) if source.is_category_or_subcategory(one)]
    assert len(codes) > 98_000
    for code in codes[::97]:
        assert icd_10_cm.title(code) == source.get_description(code), code
        above = source.get_parent(code)
        is_category = source.is_category_or_subcategory(above) and above != code  # C7B is a block's name too
        assert icd_10_cm.parent(code) == (above if is_category else None), code


@pytest.mark.parametrize(
    ("loinc", "mass", "amount"),
    [
        ("2345-7", ("90", "mg/dL"), ("5.0", "mmol/L")),
        ("2093-3", ("200", "mg/dL"), ("5.17", "mmol/L")),
        ("2571-8", ("150", "mg/dL"), ("1.69", "mmol/L")),
        ("2160-0", ("1", "mg/dL"), ("88.4", "umol/L")),
        ("3094-0", ("14", "mg/dL"), ("5.0", "mmol/L")),
        ("1975-2", ("1", "mg/dL"), ("17.1", "umol/L")),
        ("17861-6", ("10", "mg/dL"), ("2.50", "mmol/L")),
        ("718-7", ("16", "g/dL"), ("9.93", "mmol/L")),
    ],
)
def test_mass_and_amount_of_a_substance_are_joined_as_laboratories_join_them(loinc, mass, amount):
    found = convert(Decimal(mass[0]), mass[1], amount[1], molar_mass=molar_mass(loinc))
    assert found == pytest.approx(Decimal(amount[0]), rel=Decimal("0.005"))


def test_what_is_counted_by_its_effect_has_no_molar_mass():
    assert molar_mass("27873-9") is None
