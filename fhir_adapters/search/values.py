"""What one value of a search means, by the kind of its parameter (R4 3.1.1.4.4 to 3.1.1.4.14).

Errors name the parameter and how its values are written, never the value: it may be a patient's.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from clinical.errors import IncorrectInput
from clinical.ucum import SYSTEM as UCUM
from clinical.ucum import canonical
from fhir_adapters.search.dates import END_OF_TIME, START_OF_TIME, range_of
from fhir_adapters.search.escapes import split, unescaped
from fhir_adapters.search.index import ID
from fhir_adapters.search.links import target_of
from fhir_adapters.search.numbers import dimension_of, significant_range
from fhir_adapters.search.parameters import SearchParameter
from fhir_adapters.search.texts import normal_text
from record_store.criteria import Amount, Compare, DateRange, QuantityMatch
from record_store.times import from_text, to_text

PREFIXES = "eq ne gt lt ge le sa eb ap"
_PREFIX = re.compile(f"(?:{PREFIXES.replace(' ', '|')})(?=[-+.0-9])")
_UNZONED_PLUS = re.compile(r"(?<=[0-9]) (?=[0-9]{2}:[0-9]{2}$)")
_APPROXIMATELY = 10  # a tenth of the value, or of the time between it and now (R4 3.1.1.4.5)


def token(name: str, text: str) -> tuple[str | None, str | None]:
    """Return (system, code) of `code`, `system|code`, `|code` (no system) or `system|`; None for what is open."""
    system, *rest = split(text, "|")
    if not rest:
        return None, unescaped(system)
    system, code = unescaped(system), unescaped("|".join(rest))
    if not system and not code:
        raise IncorrectInput(f"{name} needs a system or a code", expression=[name])
    return system, code or None


def typed_identifier(name: str, text: str) -> tuple[str, str]:
    """Return a `system|code|value` of `:of-type` as the index has it: what type it is, and the value."""
    parts = [unescaped(part) for part in split(text, "|")]
    if len(parts) != 3 or not all(parts):
        raise IncorrectInput(f"{name} takes system|code|value: of the type, and the identifier", expression=[name])
    return parts[0], f"{parts[1]}|{parts[2]}"


def string(name: str, text: str) -> str:
    """Return a text as string searches compare it."""
    normal = normal_text(unescaped(text))
    if not normal:  # every text starts with nothing
        raise IncorrectInput(f"{name} has an empty value", expression=[name])
    return normal


def date(name: str, text: str, now: datetime | None) -> DateRange:
    """Return the comparison with a date. now: what `ap` measures from; it is refused without."""
    compare, rest = _prefix(text)
    # A plus that was not percent-encoded arrives as a blank; in this place it can mean nothing else.
    bounds = range_of(_UNZONED_PLUS.sub("+", rest))
    if bounds is None:
        raise IncorrectInput(
            f"{name} takes a date as YYYY, YYYY-MM, YYYY-MM-DD or with a time, after one of {PREFIXES}",
            expression=[name],
        )
    if compare is not Compare.AP:
        return DateRange(compare, *bounds)
    if now is None:
        raise IncorrectInput(f"{name} takes no ap here: what it means changes with the day", expression=[name])
    return DateRange(compare, *_about(*bounds, now))


def _about(lo: str, hi: str, now: datetime) -> tuple[str, str]:
    # From the start of the day, so that the pages of one search mean the same.
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first, last = from_text(lo), from_text(hi)
    gap = timedelta() if first <= today <= last else min(abs(today - first), abs(today - last))
    return _moved(first, -gap / _APPROXIMATELY), _moved(last, gap / _APPROXIMATELY)


def _moved(at: datetime, by: timedelta) -> str:
    try:
        return to_text(at + by)
    except OverflowError:
        return START_OF_TIME if by < timedelta() else END_OF_TIME


def number(name: str, text: str) -> QuantityMatch:
    """Return the comparison with a number; its rows stand in base units without a unit."""
    compare, rest = _prefix(text)
    return QuantityMatch(canonical=(_amount(compare, *_number(name, rest, "a number")), ""))


def quantity(name: str, text: str) -> QuantityMatch:
    """Return the comparison with `number`, `number|system|code` or `number||unit`.

    A unit of UCUM finds what is commensurable; without a system the unit may also be the stored code or its words.
    """
    compare, rest = _prefix(text)
    digits, *unit = split(rest, "|")
    if len(unit) not in (0, 2):
        raise IncorrectInput(f"{name} takes number|system|code, number||unit or a number", expression=[name])
    found = _number(name, digits, "a number, number|system|code or number||unit")
    if not unit or not unescaped(unit[1]):
        return QuantityMatch(_amount(compare, *found), system=unescaped(unit[0]) or None if unit else None)
    system, code = unescaped(unit[0]), unescaped(unit[1])
    if system not in ("", UCUM) or not (dimension := dimension_of(code)):
        return QuantityMatch(_amount(compare, *found), system or None, code)
    base = tuple(canonical(each, code)[0] for each in found)
    in_base = (_amount(compare, *base), dimension)
    return QuantityMatch(None if system else _amount(compare, *found), None, code, in_base)


def _prefix(text: str) -> tuple[Compare, str]:
    found = _PREFIX.match(text)
    return (Compare(found[0]), text[found.end() :]) if found else (Compare.EQ, text)


def _number(name: str, text: str, form: str) -> tuple[Decimal, Decimal, Decimal]:
    # As in a date, a plus may arrive as a blank.
    found = significant_range(text.replace(" ", "+", 1))
    if found is None or not -300 < found[0].adjusted() < 300:
        raise IncorrectInput(f"{name} takes {form}, after one of {PREFIXES}", expression=[name])
    return found


def _amount(compare: Compare, value: Decimal, first: Decimal, beyond: Decimal) -> Amount:
    """Return the comparison: of eq and ne the written digits count, of the others the number itself."""
    match compare:
        case Compare.EQ | Compare.NE:
            return Amount(compare, float(first), float(beyond))
        case Compare.AP:
            margin = max(abs(value) / _APPROXIMATELY, value - first)
            return Amount(compare, float(value - margin), float(value + margin))
        case _:
            return Amount(compare, float(value), float(value))


def reference(parameter: SearchParameter, text: str, modifier: str, base_url: str) -> tuple[str | None, str]:
    """Return (type, id) of `id`, `Type/id` or a URL of ours; ("", text) of any other URL; None for an open type.

    modifier: the type that the parameter's name demands, "" for none.
    """
    only = parameter.only or parameter.targets
    open_type = modifier or (only[0] if len(only) == 1 else None)
    target_type, target_id = target_of(unescaped(text), base_url)
    if target_type and modifier and target_type != modifier:
        raise IncorrectInput(f"{parameter.name} names two types", expression=[parameter.name])
    if not target_type and not ID.fullmatch(target_id):
        return "", target_id
    return target_type or open_type, target_id


def uris_above(uri: str) -> tuple[str, ...]:
    """Return a URI and those that it is below: cut at its slashes."""
    scheme = re.match(r"[a-z][a-z0-9+.-]*://[^/]*", uri)
    least = len(scheme[0]) if scheme else 0
    cuts = [at for at, mark in enumerate(uri) if mark == "/" and at >= least]
    return tuple(dict.fromkeys([uri, *(uri[:at] for at in cuts if at), *(uri[: at + 1] for at in cuts)]))


def flag(name: str, text: str) -> bool:
    """Return the value of `:missing`."""
    if text not in ("true", "false"):
        raise IncorrectInput(f"{name}:missing takes true or false", expression=[name])
    return text == "true"
