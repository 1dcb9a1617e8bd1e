"""Coded concepts and units as highdicom has them."""

import highdicom as hd

from clinical.codes import UCUM, Coding

UNIT_MEANING = {
    "1": "no units",
    "d": "day",
    "mm": "millimeter",
    "mm2": "square millimeter",
    "{pixel}": "pixel",
    "%": "percent",
}


def concept(coding: Coding) -> hd.sr.CodedConcept:
    """Return a coded concept."""
    return hd.sr.CodedConcept(coding.code, coding.scheme, coding.display)


def unit(code: str) -> hd.sr.CodedConcept:
    """Return a unit of UCUM."""
    return concept(Coding(UCUM, code, UNIT_MEANING.get(code, code)))
