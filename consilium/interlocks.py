"""What keeps a study from being read until a person has looked: a result in doubt must never be a silent one.

Pure: headers in, a reason out. Reasons are sentences without a word of the image's.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dicom_node.header import Header  # a settings check must not wait for pydicom

TEST_IMAGES = "its images say that they are of a phantom or a test"
TWO_IDENTITIES = "its images give the patient different names, birth dates or sexes"
NO_SIDE = "an image of a paired part of the body does not say which side it shows"
TWO_SIDES = "an image names two different sides"
MERGED = "its patient's chart has been merged into another, or is no longer in use"
OTHER_PERSON = "its images and its patient's chart give different birth dates or sexes"
OTHERS_ORDER = "the order with its accession number is for another patient"
SEVERAL_ORDERED = "orders with its accession number are for different patients"
OTHER_SIDE = "an image shows another side than was ordered"

# Words by themselves: nobody is held for being called Testa, nor a study for a stress test.
_TEST_PATIENT = frozenset(("PHANTOM", "TEST", "TESTPATIENT", "QC", "QA", "DUMMY"))
_TEST_STUDY = frozenset(("PHANTOM", "QC", "QA"))
_WORD = re.compile(r"[^\W_]+")
_SIDES = frozenset("LRB")
_GENDER = {"M": "male", "F": "female"}
_STATED_SEX = frozenset(_GENDER)


@dataclass(frozen=True, slots=True)
class Interlocks:
    """Which ones are on. laterality: parts of the body (0018,0015) whose images must say their side.

    chart: whether birth dates and sexes are compared with the chart's. order: whether sides are, with the order's.
    """

    test_images: bool = True
    changed_identity: bool = True
    chart: bool = True
    order: bool = True
    laterality: tuple[str, ...] = ("BREAST",)


def why_held(
    interlocks: Interlocks, headers: "Sequence[Header]", seen: frozenset[str] = frozenset()
) -> str | None:
    """Return why a study must be held, or None.

    seen: SOP Instance UIDs of the images that were here when a person released the study; nothing is asked of them
    again, but a new image must still agree with them about the patient.
    """
    new = [header for header in headers if header.sop_instance_uid not in seen]
    if interlocks.test_images and any(_is_test(header) for header in new):
        return TEST_IMAGES
    if interlocks.changed_identity and new and _differ(headers):
        return TWO_IDENTITIES
    paired = [header for header in new if header.body_part.upper() in interlocks.laterality]
    if any(not _sides(header) for header in paired):
        return NO_SIDE
    if any(len(_sides(header)) > 1 for header in paired):
        return TWO_SIDES
    return None


def contradicts_chart(headers: "Sequence[Header]", birth_dates: Collection[str], genders: Collection[str]) -> bool:
    """Tell whether an image contradicts what charts say of its patient; who says nothing contradicts nobody.

    birth_dates: as FHIR writes them (1969, 1969-12, 1969-12-31). genders: codes of administrative-gender.
    """
    days = [date.replace("-", "") for date in birth_dates]
    sexes = set(genders) & set(_GENDER.values())
    return any(
        (bool(days) and header.birth_date.isdigit() and not any(header.birth_date.startswith(day) for day in days))
        or (bool(sexes) and header.sex.upper() in _GENDER and _GENDER[header.sex.upper()] not in sexes)
        for header in headers
    )


def contradicts_order(headers: "Sequence[Header]", ordered: str) -> bool:
    """Tell whether an image names one side and the order the other. ordered: L, R, B or "" for not said."""
    if ordered not in {"L", "R"}:
        return False
    other = {"L": "R", "R": "L"}[ordered]
    return any(_sides(header) == {other} for header in headers)


def _is_test(header: "Header") -> bool:
    # Quality Control Image (0028,0300): PS3.3 C.7.6.1.1.
    return (
        header.quality_control.upper() == "YES"
        or not _TEST_PATIENT.isdisjoint(_words(header.patient_name) | _words(header.patient_id))
        or not _TEST_STUDY.isdisjoint(_words(header.study_description))
    )


def _words(text: str) -> set[str]:
    return {word.upper() for word in _WORD.findall(text)}


def _differ(headers: "Sequence[Header]") -> bool:
    """Tell whether images contradict one another; one that says nothing contradicts nobody."""
    names = {_name(header.patient_name) for header in headers} - {""}
    births = {header.birth_date for header in headers} - {""}
    sexes = {header.sex.upper() for header in headers} & _STATED_SEX
    return any(len(stated) > 1 for stated in (names, births, sexes))


def _name(stated: str) -> str:
    """Return the alphabetic name (PS3.5 6.2.1.1) without case, spaces and carets, which equipment varies."""
    alphabetic = stated.split("=", maxsplit=1)[0]
    return " ".join(part for part in re.split(r"[\s^]+", alphabetic.casefold()) if part)


def _sides(header: "Header") -> frozenset[str]:
    """Return the sides of Image Laterality (0020,0062) and Laterality (0020,0060)."""
    return _SIDES & {header.image_laterality.upper(), header.laterality.upper()}
