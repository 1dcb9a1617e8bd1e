"""The newest usable value of a kind of Observation, in the unit that a model wants.

Never guessed: an unknown unit, a value outside the plausible range or a date in the future makes the input
missing, with the reason, although an older value may exist - the newest is what a clinician would look at.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from clinical.codes import LOINC, Coding
from clinical.molar_mass import GLUCOSE
from fhir_adapters.features.elements import (
    Quantity,
    Resource,
    effective,
    objects,
    quantity,
    reference_to,
    word,
)

# UCUM -> factor into the unit of the model.
CENTIMETRES: Mapping[str, float] = MappingProxyType({"cm": 1, "m": 100, "mm": 0.1, "[in_i]": 2.54})
KILOGRAMS: Mapping[str, float] = MappingProxyType({"kg": 1, "g": 0.001, "[lb_av]": 0.45359237})
BODY_MASS_INDEX_UNITS: Mapping[str, float] = MappingProxyType({"kg/m2": 1})
MILLIMETRES_OF_MERCURY: Mapping[str, float] = MappingProxyType({"mm[Hg]": 1})
# A substance is reported by mass or by amount, whatever its LOINC code promises; its molar mass joins the two.
GLUCOSE_G_PER_MOL = float(GLUCOSE)
GLUCOSE_MG_DL: Mapping[str, float] = MappingProxyType(
    {"mg/dL": 1, "g/L": 100, "mmol/L": GLUCOSE_G_PER_MOL / 10, "umol/L": GLUCOSE_G_PER_MOL / 10_000}
)
# Insulin is counted in international units by its effect; 1 u[IU]/mL is 6.0 pmol/L of it (the factor of NHANES).
INSULIN_PMOL_PER_UNIT = 6.0
INSULIN_UNITS_ML: Mapping[str, float] = MappingProxyType(
    {"u[IU]/mL": 1, "m[IU]/L": 1, "uU/mL": 1, "mU/L": 1, "pmol/L": 1 / INSULIN_PMOL_PER_UNIT}
)
COUNTS: Mapping[str, float] = MappingProxyType({"1": 1, "{#}": 1, "{count}": 1})
DAYS_A_WEEK: Mapping[str, float] = MappingProxyType({"d/wk": 1, "/wk": 1, "{#}/wk": 1, "d": 1, "1": 1})
MINUTES: Mapping[str, float] = MappingProxyType({"min": 1, "min/wk": 1, "min/d": 1, "h": 60, "h/wk": 60})

NOT_A_RESULT = {"entered-in-error", "cancelled", "registered", "unknown"}
# A bare day may be tomorrow here and today where it was written (UTC+14), and local times get written as UTC.
AHEAD = timedelta(hours=14)

NOT_RECORDED = "none recorded"
UNIT_UNKNOWN = "the newest value has no unit that is understood"
NO_DATE = "no value has a full date"


@dataclass(frozen=True, slots=True)
class Measured:
    """One value in the model's unit, with what a clinician needs to check it."""

    value: float
    shown: str
    taken_at: datetime | None
    source: str | None


@dataclass(frozen=True, slots=True)
class Missing:
    """Why there is no value, in words without patient data."""

    reason: str


Reading = Measured | Missing
Index = Mapping[str, Sequence[tuple[Resource, Resource]]]  # LOINC -> (the part with the value, its Observation)


@dataclass(frozen=True, slots=True)
class _Candidate:
    taken_at: datetime
    updated: str
    quantity: Quantity
    source: str | None

    @property
    def order(self) -> tuple[datetime, str, str]:
        return (self.taken_at, self.updated, self.source or "")


def by_loinc(resources: Iterable[Resource]) -> Index:
    """Return every part of every usable Observation under its LOINC codes, in one pass."""
    index: dict[str, list[tuple[Resource, Resource]]] = {}
    for resource in resources:
        if resource.get("resourceType") != "Observation" or word(resource, "status") in NOT_A_RESULT:
            continue
        for part in (resource, *objects(resource, "component")):
            concept = part.get("code")
            for coding in objects(concept, "coding") if isinstance(concept, dict) else ():
                if coding.get("system") == LOINC:
                    index.setdefault(word(coding, "code"), []).append((part, resource))
    return index


def newest(
    index: Index,
    codes: Iterable[Coding],
    units: Mapping[str, float],
    now: datetime,
    look_back_days: int | None = None,
) -> Reading:
    """Return the newest value under one of the LOINC codes. index: of `by_loinc`.

    look_back_days: how old it may be, None for any age.
    """
    found = list(_candidates(index, codes))
    dated = [candidate for candidate in found if candidate is not None]
    past = [candidate for candidate in dated if candidate.taken_at <= now + AHEAD]
    if not past:
        return Missing(NO_DATE if found and not dated else NOT_RECORDED)
    best = max(past, key=lambda candidate: candidate.order)
    if too_old(best.taken_at, now, look_back_days):
        return Missing(older_than(look_back_days))
    factor = units.get(best.quantity.unit or "")
    if factor is None:
        return Missing(UNIT_UNKNOWN)
    return _converted(best, factor)


def too_old(taken_at: datetime, now: datetime, look_back_days: int | None) -> bool:
    """True when a value was taken longer ago than it may be."""
    return look_back_days is not None and taken_at < now - timedelta(days=look_back_days)


def older_than(look_back_days: int | None) -> str:
    """Return the reason for a value that is too old."""
    return f"the newest value is older than {look_back_days} days"


def _candidates(index: Index, codes: Iterable[Coding]) -> Iterator[_Candidate | None]:
    """Yield a candidate for every value; None for one whose date is absent or names no day."""
    for code in codes:
        for part, observation in index.get(code.code, ()):
            amount = quantity(part.get("valueQuantity"))
            if amount is not None:
                yield _candidate(amount, observation)


def _candidate(amount: Quantity, observation: Resource) -> _Candidate | None:
    taken_at = effective(observation)
    if taken_at is None:
        return None
    meta = observation.get("meta")
    updated = word(meta, "lastUpdated") if isinstance(meta, dict) else ""
    return _Candidate(taken_at, updated, amount, reference_to(observation))


def _converted(candidate: _Candidate, factor: float) -> Measured:
    value = candidate.quantity.value * factor
    shown = brief(value)
    if factor != 1:
        shown += f" (sent as {brief(candidate.quantity.value)} {candidate.quantity.unit})"
    return Measured(value, shown, candidate.taken_at, candidate.source)


def brief(value: float) -> str:
    """Return a number with one decimal, or none when that is zero."""
    return f"{value:.1f}".removesuffix(".0")
