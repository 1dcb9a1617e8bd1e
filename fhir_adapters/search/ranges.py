"""Rows of what has bounds: dates (R4 3.1.1.4.7), quantities and numbers (R4 3.1.1.4.6, 3.1.1.4.11)."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from fhir_adapters.sampled import bounds_of
from fhir_adapters.search import numbers
from fhir_adapters.search.dates import period_of, range_of
from fhir_adapters.search.rows import Emit, Rows
from record_store.index_rows import DateRow, QuantityRow


def date(name: str, value: object, part: int, made: Rows) -> None:
    if isinstance(value, str) and (bounds := range_of(value)) is not None:
        made.dates.append(DateRow(name, *bounds, part))


def period(name: str, value: object, part: int, made: Rows) -> None:
    if isinstance(value, dict) and (bounds := _ends(value)) is not None:
        made.dates.append(DateRow(name, *bounds, part))


def timing(name: str, value: object, part: int, made: Rows) -> None:
    """Of a Timing only the outer limits count (R4 3.1.1.4.7)."""
    if not isinstance(value, dict):
        return
    events = value.get("event")
    found = [range_of(one) for one in (events if isinstance(events, list) else ()) if isinstance(one, str)]
    repeat = value.get("repeat")
    period = repeat.get("boundsPeriod") if isinstance(repeat, dict) else None
    found.append(_ends(period) if isinstance(period, dict) else None)
    known = [bounds for bounds in found if bounds is not None]
    if known:
        made.dates.append(DateRow(name, min(lo for lo, _ in known), max(hi for _, hi in known), part))


def _ends(period: Mapping[str, Any]) -> tuple[str, str] | None:
    start, end = period.get("start"), period.get("end")
    if isinstance(start, str | None) and isinstance(end, str | None):
        return period_of(start, end)
    return None


def bounded(read: Callable[[Mapping[str, Any]], numbers.Bounds | None]) -> Emit:
    def emit(name: str, value: object, part: int, made: Rows) -> None:
        if isinstance(value, dict) and (bounds := read(value)) is not None:
            made.quantities.append(QuantityRow(name, *bounds, part))

    return emit


def number(name: str, value: object, part: int, made: Rows) -> None:
    known = numbers.exact(value)
    if known is not None:
        made.quantities.append(QuantityRow(name, *numbers.bounds(known, known), part))


def samples(element: Mapping[str, Any]) -> numbers.Bounds | None:
    """The least and the greatest value of a series: R4's value-quantity searches the bounds of a SampledData."""
    found = bounds_of(element)
    if found is None:
        return None
    return numbers.bounds(Decimal(repr(found.lo)), Decimal(repr(found.hi)), found.system, found.code, found.code)
