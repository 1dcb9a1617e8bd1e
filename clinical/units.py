"""UCUM units as clinicians read them. Codes travel; these words are for people only."""

SHOWN = {"a": "years", "mm[Hg]": "mmHg", "kg/m2": "kg/m²", "{pixel}": "pixels"}


def shown_unit(ucum: str) -> str:
    """Return a unit for display; a code that people read as it is stays itself."""
    return SHOWN.get(ucum, ucum)
