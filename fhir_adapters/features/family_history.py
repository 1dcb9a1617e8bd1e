"""Diabetes in a first-degree relative, from FamilyMemberHistory or a coded statement about the family.

Only what was recorded counts. An empty list from an EHR means that nobody asked or nobody wrote it down, and
a relative listed without diabetes says nothing of the other relatives: both are "missing" and not "no".
"No" exists only as an explicit code (SNOMED CT 160274005).
"""

from collections.abc import Iterable
from datetime import datetime

from clinical.codes import (
    DIABETES_MELLITUS,
    DIABETES_MELLITUS_TYPE_1,
    DIABETES_MELLITUS_TYPE_2,
    FAMILY_HISTORY_OF_DIABETES,
    ICD_10,
    ICD_10_CM,
    NO_FAMILY_HISTORY_OF_DIABETES,
    SNOMED_CT,
    V3_ROLE_CODE,
)
from fhir_adapters.features.elements import (
    Resource,
    effective,
    has_code,
    instant,
    is_coded,
    objects,
    reference_to,
    word,
)
from fhir_adapters.features.measurements import NOT_RECORDED, Measured, Missing, Reading

# Parents, full siblings and children by blood (v3-RoleCode); half siblings, adoptive and in-law relatives are not.
_FIRST_DEGREE = frozenset((
    "PRN", "NPRN", "FTH", "NFTH", "MTH", "NMTH", "SIB", "NSIB", "BRO", "NBRO", "SIS", "NSIS", "TWIN", "TWINBRO",
    "TWINSIS", "FTWIN", "ITWIN", "CHILD", "NCHILD", "SON", "SONC", "DAU", "DAUC",
))  # fmt: skip
_FIRST_DEGREE_SNOMED = frozenset(
    # mother, father, sister, brother, sibling, child, son, daughter
    ("72705000", "66839005", "27733009", "70924004", "375005", "67822003", "65616008", "66089001")
)
_ICD = frozenset((ICD_10, ICD_10_CM))
_ICD_DIABETES = ("E10", "E11", "E12", "E13", "E14")
_STATEMENTS = frozenset((FAMILY_HISTORY_OF_DIABETES.code, NO_FAMILY_HISTORY_OF_DIABETES.code))
_UNUSABLE = {"entered-in-error", "health-unknown", "cancelled", "registered", "unknown"}


def family_history_of_diabetes(resources: Iterable[Resource], now: datetime) -> Reading:
    """Return 1 with the relative's record, 0 when the family history was explicitly denied, else Missing."""
    denials: list[Measured] = []
    for resource in resources:
        if word(resource, "status") in _UNUSABLE:
            continue
        if resource.get("resourceType") == "FamilyMemberHistory":
            if _close(resource) and any(_is_diabetes(item.get("code")) for item in objects(resource, "condition")):
                return Measured(1.0, "yes", _past(instant(resource.get("date")), now), reference_to(resource))
        elif word(resource, "resourceType") in {"Observation", "Condition"}:
            concepts = (resource.get("code"), resource.get("valueCodeableConcept"))
            if not any(has_code(concept, SNOMED_CT, _STATEMENTS) for concept in concepts) or _refuted(resource):
                continue
            taken_at = _past(effective(resource) or instant(resource.get("recordedDate")), now)
            if any(is_coded(concept, FAMILY_HISTORY_OF_DIABETES) for concept in concepts):
                return Measured(1.0, "yes", taken_at, reference_to(resource))
            denials.append(Measured(0.0, "no", taken_at, reference_to(resource)))
    return denials[0] if denials else Missing(NOT_RECORDED)


def _past(moment: datetime | None, now: datetime) -> datetime | None:
    return moment if moment is not None and moment <= now else None


def _refuted(resource: Resource) -> bool:
    status = resource.get("verificationStatus")
    codings = objects(status, "coding") if isinstance(status, dict) else iter(())
    return any(word(coding, "code") in {"refuted", "entered-in-error"} for coding in codings)


def _close(history: Resource) -> bool:
    relationship = history.get("relationship")
    return has_code(relationship, V3_ROLE_CODE, _FIRST_DEGREE) or has_code(
        relationship, SNOMED_CT, _FIRST_DEGREE_SNOMED
    )


def _is_diabetes(concept: object) -> bool:
    if is_coded(concept, DIABETES_MELLITUS, DIABETES_MELLITUS_TYPE_1, DIABETES_MELLITUS_TYPE_2):
        return True
    codings = objects(concept, "coding") if isinstance(concept, dict) else iter(())
    return any(word(coding, "system") in _ICD and word(coding, "code")[:3] in _ICD_DIABETES for coding in codings)
