"""BrEaST-Lesions-USG: breast ultrasound pictures with a BI-RADS record and outlines, one patient a row.

`clinical.csv`, `images/caseNNN.png`, `masks/caseNNN_tumor.png`. Benign and malignant lesions are proven by biopsy
or follow-up. Three columns tell the answer (LEAKS): no record may be made of them. The category is the
radiologist's own suspicion: figures stand with and without it. Licence: CC BY 4.0.
"""

from collections.abc import Mapping
from pathlib import Path

from clinical.breast_codes import BREAST_RECORD
from clinical.errors import IncorrectInput
from clinical.lesion import Kind, RecordValues
from model_export.datasets.ultrasound import LesionPicture, one_of, read_mask, read_picture, read_table

NAME = "breast_usg"
LAYOUT = ("clinical.csv#Posterior_features", "images", "masks")
LICENCE = "CC BY 4.0"
CITATION = (
    "Pawłowska A, Ćwierz-Pieńkowska A, Domalik A, et al. Curated benchmark dataset for ultrasound based breast "
    "lesion analysis. Sci Data 2024;11:148. doi 10.1038/s41597-024-02984-z"
)
LEAKS = ("Verification", "Interpretation", "Diagnosis", "Classification")
CLASSES = ("benign", "malignant", "normal")
NOT_KNOWN = ("", "not available", "not applicable")
# Feature of clinical.breast_codes -> column.
COLUMN_OF = {
    feature.name: "BIRADS" if feature.name == "birads" else feature.name.capitalize() for feature in BREAST_RECORD
}
# Words of the table -> value of clinical.breast_codes, where they are not the same in lower case and underscores.
WORDS = {
    "homogeneous: fat": "homogeneous_fat",
    "homogeneous: fibroglandular": "homogeneous_fibroglandular",
    "heterogeneous: predominantly fat": "heterogeneous_fat",
    "heterogeneous: predominantly fibroglandular": "heterogeneous_fibroglandular",
    "peau d`orange": "peau_d_orange",
    "family history of breast/ovarian cancer": "family_history",
    "personal history of breast cancer": "personal_history",
    "HRT/hormonal contraception": "hormones",
    "complex cystic/solid": "complex",
    "in a mass": "in_mass",
}
MARGIN_PREFIX = "not circumscribed - "


def load(folder: Path) -> tuple[LesionPicture, ...]:
    """Read all pictures that show a lesion, in the order of the table; normal breasts have none and are left out.

    Raises IncorrectInput naming line and column when a field is not what it must be. Words of a descriptor that
    nobody knows make that descriptor unknown for the row: a radiologist may write what no other row has.
    """
    rows = read_table(
        folder / "clinical.csv", ("CaseID", "Image_filename", "Mask_tumor_filename", *COLUMN_OF.values())
    )
    if len({row["CaseID"] for row in rows}) != len(rows):
        raise IncorrectInput("a case stands twice in clinical.csv: copies would leak across a split")
    pictures = []
    for line, row in enumerate(rows, start=2):
        said = one_of(row, "Classification", CLASSES, line)
        if said != "normal":
            pictures.append(_picture(folder, row, said == "malignant", line))
    return tuple(pictures)


def record_of(row: Mapping[str, str], columns: Mapping[str, str], line: int) -> RecordValues:
    """Return what a row's columns say. columns: feature -> column.

    Raises IncorrectInput when a column tells the answer, or an age is no plausible number.
    """
    leaking = sorted(set(columns.values()) & set(LEAKS))
    if leaking:
        raise IncorrectInput(f"the columns {', '.join(leaking)} tell the diagnosis and may not be a record")
    record: dict[str, float | frozenset[str]] = {}
    for feature in BREAST_RECORD:
        text = row[columns[feature.name]].strip() if feature.name in columns else ""
        if text in NOT_KNOWN:
            continue
        if feature.kind is Kind.NUMBER:
            record[feature.name] = _age(text, line)
            continue
        allowed = {value.name for value in feature.values}
        found = [word for word in map(_word, text.removeprefix(MARGIN_PREFIX).split("&")) if word in allowed]
        if found:
            # A choice has one value; where the table has two (lactating & ...) the last is the more telling.
            record[feature.name] = frozenset(found if feature.kind is Kind.SEVERAL else found[-1:])
    return record


def _picture(folder: Path, row: dict[str, str], malignant: bool, line: int) -> LesionPicture:
    pixels = read_picture(folder / "images" / row["Image_filename"])
    return LesionPicture(
        site=NAME,
        name=row["Image_filename"].removesuffix(".png"),
        patient=row["CaseID"],
        pixels=pixels,
        mask=read_mask(folder / "masks" / row["Mask_tumor_filename"], pixels.shape),
        malignant=malignant,
        record=record_of(row, COLUMN_OF, line),
        fold=None,
        reported={},
    )


def _word(text: str) -> str:
    text = text.strip()
    return WORDS.get(text, text.lower().replace(" ", "_"))


def _age(text: str, line: int) -> float:
    try:
        age = float(text)
    except ValueError:
        raise IncorrectInput(f"line {line}: Age is not a number") from None
    if not 0 < age <= 120:
        raise IncorrectInput(f"line {line}: Age is outside 0..120")
    return age
