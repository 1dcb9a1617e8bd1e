"""One window of a series as an Observation with SampledData (R4 10.1, datatypes SampledData), and its growth.

A sample stands at its slot: whole periods since the window began. The same slot again is the same sample, so that
a file that is read twice, or grows, changes nothing but what is new.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from clinical.codes import ACTIVITY, HEART_RATE, UCUM, VITAL_SIGNS, Coding
from fhir_adapters.features.elements import instant
from fhir_adapters.sampled import NO_VALUE
from fhir_adapters.wearables.readings import Series, Window

Slots = dict[int, str]
MOST_SLOTS = 100_000  # a day at one sample a second


def id_of(series: Series, window: Window) -> str:
    """Return the id of a window's Observation: made of what it is, so that everybody makes the same."""
    return "w-" + hashlib.sha256(f"{series.source} {_name(series, window)}".encode()).hexdigest()[:40]


def slot_of(series: Series, window: Window, at: datetime) -> int:
    """Return the slot of a time: whole periods since the window began."""
    return int((at.astimezone(UTC) - window.start.astimezone(UTC)).total_seconds() // series.period_s)


def observation_of(series: Series, window: Window, patient: str, slots: Mapping[int, str]) -> dict[str, Any]:
    """Return the Observation of at least one sample. patient: Type/id. slots: the numbers as they were written."""
    first, last = min(slots), max(slots)
    step = timedelta(seconds=series.period_s)
    zone = window.start.tzinfo
    begun = window.start.astimezone(UTC)
    device = {"device": {"display": series.device}} if series.device else {}
    return {
        "resourceType": "Observation",
        "id": id_of(series, window),
        "identifier": [{"system": series.source, "value": _name(series, window)}],
        "status": "final",
        "category": [{"coding": [_coding(_category(series.measure.coding))]}],
        "code": {"coding": [_coding(series.measure.coding)]},
        "subject": {"reference": patient},
        "effectivePeriod": {
            "start": _written((begun + first * step).astimezone(zone)),
            # The last sample's own time: a Period holds its end, and a day must not reach into the next.
            "end": _written((begun + last * step).astimezone(zone)),
        },
        **device,
        "valueSampledData": {
            "origin": {"value": 0, "unit": series.measure.unit, "system": UCUM, "code": series.measure.unit},
            "period": series.period_s * 1000,
            "dimensions": 1,
            "data": " ".join(slots.get(slot, "E") for slot in range(first, last + 1)),
        },
    }


def slots_in(body: bytes, series: Series, window: Window) -> Slots:
    """Return the samples that an Observation of ours holds; none when somebody has made something else of it."""
    resource = orjson.loads(body)
    sampled, period = resource.get("valueSampledData"), resource.get("effectivePeriod")
    start = instant(period.get("start")) if isinstance(period, dict) else None
    if not isinstance(sampled, dict) or start is None or sampled.get("period") != series.period_s * 1000:
        return {}
    first = slot_of(series, window, start)
    words = enumerate(str(sampled.get("data", "")).split(maxsplit=MOST_SLOTS))
    return {first + place: word for place, word in words if word not in NO_VALUE}


def is_withdrawn(body: bytes) -> bool:
    """Tell whether somebody has taken the Observation back: nothing is added to it then."""
    return orjson.loads(body).get("status") in ("entered-in-error", "cancelled")


def _name(series: Series, window: Window) -> str:
    parts = (series.person, series.device, series.measure.coding.code, f"{series.period_s}s", window.name)
    return "/".join(part.replace("/", "%2F") for part in parts)


def _category(code: Coding) -> Coding:
    """Return what kind of observation it is: R4's profile of vital signs asks for theirs."""
    return VITAL_SIGNS if code.code == HEART_RATE.code else ACTIVITY


def _coding(coding: Coding) -> dict[str, str]:
    said = {"system": coding.system, "code": coding.code, "display": coding.display}
    return {name: text for name, text in said.items() if text}


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z") if not moment.utcoffset() else moment.isoformat()
