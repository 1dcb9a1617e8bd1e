"""Reading single elements out of FHIR R4 JSON that nobody has validated.

Every function gives None for what is absent or not of its type: a record of another system must not be able
to raise, and what cannot be read is missing, which the card says.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from math import isfinite
from typing import Any

from clinical.codes import UCUM, Coding

Resource = Mapping[str, Any]
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_DATE_TIME = re.compile(r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2}))?")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A plain measured value. unit: UCUM; None when the record names none that is certain."""

    value: float
    unit: str | None


def word(parent: Resource, key: str) -> str:
    """Return a string element, "" when it is absent or something else."""
    value = parent.get(key)
    return value if isinstance(value, str) else ""


def objects(parent: Resource, key: str) -> Iterator[Resource]:
    """Yield the JSON objects of a list element."""
    items = parent.get(key)
    for item in items if isinstance(items, list) else []:
        if isinstance(item, dict):
            yield item


def has_code(concept: object, systems: str | frozenset[str], codes: frozenset[str]) -> bool:
    """True when a CodeableConcept has one of the codes of one of the systems; a text never counts."""
    if not isinstance(concept, dict):
        return False
    wanted = (systems,) if isinstance(systems, str) else systems
    return any(
        word(item, "code") in codes and word(item, "system") in wanted for item in objects(concept, "coding")
    )


def is_coded(concept: object, *concepts: Coding) -> bool:
    """True when a CodeableConcept has one of these codings (system and code)."""
    return any(has_code(concept, coding.system, frozenset((coding.code,))) for coding in concepts)


def number(value: object) -> float | None:
    """Return a finite number; a string, a boolean or NaN is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    as_float = float(value)
    return as_float if isfinite(as_float) else None


def quantity(element: object) -> Quantity | None:
    """Return a Quantity that is a plain number; one with a comparator ("<") is a bound and no value.

    The unit is the UCUM code. Without any code the unit's text counts only when it is spelled as UCUM.
    """
    if not isinstance(element, dict) or "comparator" in element:
        return None
    value = number(element.get("value"))
    if value is None:
        return None
    if "code" in element or "system" in element:
        unit = element.get("code") if element.get("system") == UCUM else None
    else:
        unit = element.get("unit")
    return Quantity(value, unit if isinstance(unit, str) else None)


def instant(text: object) -> datetime | None:
    """Return a FHIR date or dateTime that names at least the day; a bare day begins in UTC.

    The zone that was sent is kept, so that the day shown is the day that was written.
    """
    if not isinstance(text, str) or not _DATE_TIME.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(_microseconds(text) if "." in text else text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _microseconds(text: str) -> str:
    return re.sub(r"(\.\d{6})\d+", r"\1", text)


def effective(observation: Resource) -> datetime | None:
    """Return when an Observation was true: dateTime, instant, or the end of the period."""
    period = observation.get("effectivePeriod")
    period = period if isinstance(period, dict) else {}
    for text in (observation.get("effectiveDateTime"), observation.get("effectiveInstant"), period.get("end")):
        moment = instant(text)
        if moment is not None:
            return moment
    return None


def reference_to(resource: Resource) -> str | None:
    """Return `Type/id`, to its version where it says which it is, or None for a resource without an id."""
    ident, meta = resource.get("id"), resource.get("meta")
    if not isinstance(ident, str):
        return None
    version = word(meta, "versionId") if isinstance(meta, dict) else ""
    return f"{resource.get('resourceType')}/{ident}" + (f"/_history/{version}" if _ID.fullmatch(version) else "")
