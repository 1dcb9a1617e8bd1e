"""Molar masses by LOINC: what joins a laboratory's mg/dL and mmol/L of one substance.

One table for whoever compares such values: searches by quantity, models that read laboratory values. From IUPAC's
standard atomic weights (2021), of the substance that the code counts: "urea nitrogen" is the nitrogen in urea,
phosphate the phosphorus, haemoglobin its monomer. Insulin and enzymes are counted by effect and not here.
"""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

GLUCOSE, CHOLESTEROL, TRIOLEIN, CREATININE = (Decimal(one) for one in ("180.156", "386.65", "885.4", "113.12"))
_NITROGEN_OF_UREA, _URATE, _BILIRUBIN = Decimal("28.014"), Decimal("168.11"), Decimal("584.66")
_CALCIUM, _PHOSPHORUS, _MAGNESIUM, _IRON = (Decimal(one) for one in ("40.078", "30.974", "24.305", "55.845"))
_HAEMOGLOBIN = Decimal("16114.5")

_CODES: Mapping[Decimal, str] = {
    GLUCOSE: "2345-7 14749-6 1558-6 14771-0 2339-0 15074-8 41653-7 2340-8 5914-7 1521-4 1518-0 20436-2 14995-5",
    CHOLESTEROL: "2093-3 14647-2 2085-9 14646-4 13457-7 39469-2 18262-6 22748-8 2089-1 43396-1 70204-3",
    TRIOLEIN: "2571-8 14927-8",
    CREATININE: "2160-0 14682-9 2161-8 14683-7 38483-4",
    _NITROGEN_OF_UREA: "3094-0 6299-2 14937-7",
    _URATE: "3084-1 14933-6",
    _BILIRUBIN: "1975-2 14631-6 1968-7 14629-0 1971-1 14630-8",
    _CALCIUM: "17861-6 2000-8",
    _PHOSPHORUS: "2777-1 14879-1",
    _MAGNESIUM: "19123-9 2601-3",
    _IRON: "2498-4 14798-3",
    _HAEMOGLOBIN: "718-7 59260-0",
}
BY_LOINC: Mapping[str, Decimal] = MappingProxyType(
    {code: mass for mass, codes in _CODES.items() for code in codes.split()}
)


def molar_mass(loinc: str) -> Decimal | None:
    """Return g/mol of what a LOINC code measures; None where amount and mass are not joined."""
    return BY_LOINC.get(loinc)
