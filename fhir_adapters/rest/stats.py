"""$stats: what many values of a patient come to (R4 Observation-stats), for a whole period or window by window.

GET or POST [base]/Observation/$stats. Single values and SampledData are counted alike. Of R4's parameters
`subject`, `code`, `system`, `coding`, `duration`, `period` and `statistic` are taken; ours are `start` and `end`
(a period in a query string), and `window`, in minutes: with it a statistic is a SampledData, one number a window.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import orjson
from flask import Response
from sqlalchemy import Connection

from clinical.codes import AVERAGE, COUNT, MAXIMUM, MINIMUM, UCUM, Coding
from clinical.errors import IncorrectInput
from clinical.windows import Floats, Windowed, Windows
from fhir_adapters.features.values import Values, in_unit, values_in
from fhir_adapters.rest.fhir import CONTENT_TYPE, Fhir, Interaction, allowed
from fhir_adapters.rest.searchset import SEARCH_LIMIT_S
from fhir_adapters.rest.stats_request import STATISTICS, Asked, asked_of, parameters
from fhir_adapters.search.escapes import escaped
from fhir_adapters.search.parse import parse
from record_store.criteria import Criterion
from record_store.resource_search import SearchQuery, SortBy, SortKey, search
from record_store.time_limit import within

TYPE = "Observation"
BEFORE = timedelta(days=1)  # a run that says only when it began may reach so far into the period
MOST_OBSERVATIONS = 20_000
MOST_BYTES = 64 << 20
_PAGE = 250


def answer(fhir: Fhir) -> Response:
    """Return Parameters with one Observation for each code and unit that cannot be converted into another."""
    narrowed = allowed(TYPE, "s")
    asked = asked_of(parameters(), fhir.now)
    made: list[dict[str, Any]] = []
    with fhir.db.read() as conn, within(conn, SEARCH_LIMIT_S):
        for system, code in asked.codes:
            found = _observations(fhir, conn, asked, system, code, narrowed)
            made.extend(_made(asked, system, code, found))
    told = [{"name": "statistics", "resource": one} for one in made]
    body: dict[str, Any] = {"resourceType": "Parameters"} | ({"parameter": told} if told else {})
    response = Response(orjson.dumps(body), content_type=CONTENT_TYPE)
    response.headers["Cache-Control"] = "private, no-store"
    return response


def _observations(
    fhir: Fhir, conn: Connection, asked: Asked, system: str | None, code: str, narrowed: Criterion | None
) -> Iterator[dict[str, Any]]:
    token = escaped(code) if system is None else f"{escaped(system)}|{escaped(code)}"
    pairs = [("patient", asked.patient), ("combo-code", token)]
    begun = asked.start - BEFORE
    pairs += [("date", f"ge{begun.isoformat()}"), ("date", f"lt{asked.end.isoformat()}")]
    criteria = parse(TYPE, pairs, base_url=fhir.base_url).criteria
    criteria += () if narrowed is None else (narrowed,)
    after, seen, size = None, 0, 0
    while True:
        page = search(conn, SearchQuery(TYPE, criteria, (SortKey(SortBy.HOT_DATE),), after, _PAGE))
        for match in page:
            seen, size = seen + 1, size + len(match.resource.body)
            if seen > MOST_OBSERVATIONS or size > MOST_BYTES:
                raise IncorrectInput("there is too much in this period; ask for less of it", expression=["period"])
            yield orjson.loads(match.resource.body)
        if len(page) < _PAGE:
            return
        after = page[-1].place


def _made(
    asked: Asked, system: str | None, code: str, found: Iterator[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield the statistics by unit: what can be converted into the first unit met is counted in it."""
    window_s = (asked.window or (asked.end - asked.start)).total_seconds()
    whole_s = (asked.end - asked.start).total_seconds()
    by_unit: dict[str | None, Windows] = {}
    concept: dict[str, Any] | None = None
    for observation in found:
        for held in values_in(observation, system, code):
            unit, values = _joined(tuple(by_unit), held)
            windows = by_unit.setdefault(unit, Windows(window_s, asked.count))
            offsets = held.offsets_s + (held.start - asked.start).total_seconds()
            # The last window may end behind the period.
            windows.add(offsets, np.where(offsets < whole_s, values, np.nan))
            concept = concept or _coding_in(observation, system, code)
    for unit, windows in by_unit.items():
        result = windows.result()
        if result.count.any():
            yield _observation(asked, concept or {"code": code}, unit, result)


def _joined(units: Sequence[str | None], held: Values) -> tuple[str | None, Floats]:
    """Return values in the first of some units that they can be converted into, else in their own."""
    for unit in units:
        converted = in_unit(held, unit)
        if converted is not None:
            return unit, converted
    return held.unit, held.values


def _coding_in(observation: dict[str, Any], system: str | None, code: str) -> dict[str, Any] | None:
    parts = [observation, *observation.get("component", ())]
    codings = [one for part in parts for one in (part.get("code") or {}).get("coding", ())]
    return next(
        (one for one in codings if one.get("code") == code and system in (None, one.get("system", ""))), None
    )


def _observation(asked: Asked, coding: dict[str, Any], unit: str | None, result: Windowed) -> dict[str, Any]:
    numbers: dict[str, Floats] = {
        AVERAGE.code: result.mean,
        MINIMUM.code: result.least,
        MAXIMUM.code: result.greatest,
        COUNT.code: result.count.astype(np.float64),
    }
    return {
        "resourceType": TYPE,
        "status": "final",
        "code": {"coding": [coding]},
        "subject": {"reference": f"Patient/{asked.patient}"},
        "effectivePeriod": {"start": _written(asked.start), "end": _written(asked.end)},
        "component": [
            {
                "code": {"coding": [_coding(STATISTICS[name])]},
                **_value(asked, numbers[name], "1" if name == COUNT.code else unit, whole=name == COUNT.code),
            }
            for name in asked.statistics
        ],
    }


def _value(asked: Asked, numbers: Floats, unit: str | None, *, whole: bool) -> dict[str, Any]:
    measured = {} if unit is None else {"unit": unit, "system": UCUM, "code": unit}
    if asked.window is None and whole:
        return {"valueInteger": int(numbers[0])}
    if asked.window is None:
        return {"valueQuantity": {"value": orjson.Fragment(_number(numbers[0])), **measured}}
    return {
        "valueSampledData": {
            "origin": {"value": 0, **measured},
            "period": asked.window.total_seconds() * 1000,
            "dimensions": 1,
            "data": " ".join(map(_number, numbers)),
        }
    }


def _number(value: float) -> str:
    return "E" if np.isnan(value) else np.format_float_positional(value, precision=6, trim="-")


def _coding(coding: Coding) -> dict[str, str]:
    return {"system": coding.system, "code": coding.code, "display": coding.display}


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


INTERACTIONS = (
    Interaction("$stats", "GET", f"/{TYPE}/$stats", answer),
    Interaction("$stats", "POST", f"/{TYPE}/$stats", answer),
)
