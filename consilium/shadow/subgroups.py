"""Of which machine and kind of patient an image is, coarse enough to compare models by."""

from pydicom.dataset import Dataset

from clinical.days import day_of
from record_store.shadow_readings import Subgroup

BANDS = ((18, "under 18"), (40, "18 to 39"), (60, "40 to 59"), (80, "60 to 79"))
OLDEST = "80 and older"
_PART_OF_YEAR = {"Y": 1.0, "M": 1 / 12, "W": 1 / 52.1775, "D": 1 / 365.25}


def subgroup_of(header: Dataset) -> Subgroup:
    """Return what an image states: Modality, Manufacturer (0008,0070), Patient's Sex (0010,0040), age in bands."""
    years = age_in_years(header)
    return Subgroup(
        modality=_text(header, "Modality")[:16],
        manufacturer=" ".join(_text(header, "Manufacturer").upper().split())[:64],
        sex=sex if (sex := _text(header, "PatientSex").upper()) in {"F", "M", "O"} else "",
        age_band="" if years is None else next((name for below, name in BANDS if years < below), OLDEST),
    )


def age_in_years(header: Dataset) -> float | None:
    """Return Patient's Age (0010,1010), or what birth and study date make; None where neither says it."""
    stated = _text(header, "PatientAge")
    if len(stated) == 4 and stated[:3].isdecimal() and stated[3] in _PART_OF_YEAR:
        return int(stated[:3]) * _PART_OF_YEAR[stated[3]]
    born, made = (day_of(_text(header, name)) for name in ("PatientBirthDate", "StudyDate"))
    if born is None or made is None or made < born:
        return None
    return (made - born).days / 365.25


def _text(header: Dataset, keyword: str) -> str:
    # PostgreSQL takes no NUL in a text, and a line of a terminal no control character.
    return "".join(filter(str.isprintable, str(header.get(keyword) or ""))).strip()
