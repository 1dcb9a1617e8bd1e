"""What `$stats` is asked (R4 Observation-stats): parameters of a query and of posted Parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation

from flask import request

from clinical.clock import Clock
from clinical.codes import AVERAGE, COUNT, MAXIMUM, MINIMUM, Coding
from clinical.errors import IncorrectInput
from fhir_adapters.features.elements import instant
from fhir_adapters.parameters import parameters_in
from fhir_adapters.rest.negotiate import read_json_body
from fhir_adapters.search.index import ID
from fhir_adapters.strict_json import load_object

MOST_WINDOWS = 10_000
MOST_CODES = 10
_LEAST, _MOST = Decimal("0.001"), Decimal("1e7")
_TAKEN = ("patient", "subject", "code", "system", "coding", "duration", "period", "start", "end", "window")
_ALL = (*_TAKEN, "statistic", "_format", "_pretty")
STATISTICS: dict[str, Coding] = {one.code: one for one in (AVERAGE, MINIMUM, MAXIMUM, COUNT)}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for. patient: an id. codes: (system or None, code). window: None for the whole period."""

    patient: str
    codes: tuple[tuple[str | None, str], ...]
    start: datetime
    end: datetime
    window: timedelta | None
    statistics: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many windows cover the period."""
        return 1 if self.window is None else -(-(self.end - self.start) // self.window)


def asked_of(given: Sequence[tuple[str, object]], now: Clock) -> Asked:
    """Return what parameters ask for. Raises IncorrectInput, naming the parameter and never its value."""
    for name, _ in given:
        if name not in _ALL:
            raise IncorrectInput(f"$stats takes {', '.join(_TAKEN)} and statistic", expression=["$stats"])
    one = {name: value for name, value in given if name not in ("code", "coding", "statistic")}
    subject = one.get("patient", one.get("subject"))
    patient = subject.removeprefix("Patient/") if isinstance(subject, str) else ""
    if not ID.fullmatch(patient):
        raise IncorrectInput(
            "$stats needs one patient or subject: a Patient of this server", expression=["subject"]
        )
    start, end = _period(one, now)
    window = _window(one.get("window"), end - start)
    asked = Asked(patient, _codes(given, one.get("system")), start, end, window, _statistics(given))
    if asked.count > MOST_WINDOWS:
        raise IncorrectInput(f"the period may have {MOST_WINDOWS} windows", expression=["window"])
    return asked


def _period(one: dict[str, object], now: Clock) -> tuple[datetime, datetime]:
    period = one.get("period")
    within = period if isinstance(period, dict) else {}
    start, end = (_moment(name, one.get(name, within.get(name))) for name in ("start", "end"))
    duration = one.get("duration")
    if start is None and duration is not None:
        end = end or now()
        start = _earlier(end, _amount("duration", duration, timedelta(hours=1)))
    end = end or now()
    # Runs that began before the period are looked for: there must be a time before it.
    if start is None or start >= end or start.year == 1:
        raise IncorrectInput(
            "$stats needs a period that begins before it ends, or a duration", expression=["period"]
        )
    return start, end


def _earlier(end: datetime, by: timedelta) -> datetime | None:
    try:
        return end - by
    except OverflowError:  # before the year 1
        return None


def _moment(name: str, said: object) -> datetime | None:
    if said is None:
        return None
    # A plus that was not percent-encoded arrives as a blank.
    found = instant(said.replace(" ", "+")) if isinstance(said, str) else None
    if found is None:
        raise IncorrectInput(f"{name} takes a dateTime", expression=[name])
    return found


def _window(said: object, whole: timedelta) -> timedelta | None:
    return None if said is None else min(_amount("window", said, timedelta(minutes=1)), whole)


def _amount(name: str, said: object, unit: timedelta) -> timedelta:
    try:
        number = Decimal(str(said))
        within = _LEAST <= number <= _MOST
    except InvalidOperation:
        within, number = False, _LEAST
    if not within:
        raise IncorrectInput(f"{name} takes a number above 0", expression=[name])
    return unit * float(number)


def _codes(given: Sequence[tuple[str, object]], system: object) -> tuple[tuple[str | None, str], ...]:
    found: list[tuple[str | None, str]] = []
    for name, value in given:
        if name == "coding" and isinstance(value, dict):
            of, code = value.get("system"), value.get("code", "")
            if not isinstance(of, str | None) or not isinstance(code, str):
                raise IncorrectInput("a coding has a system and a code", expression=["coding"])
            found.append((of, code))
        elif name in ("code", "coding"):
            for token in str(value).split(","):
                of, bar, code = token.rpartition("|")
                found.append((of if bar else str(system) if system else None, code))
    if not found or not all(code for _, code in found) or len(found) > MOST_CODES:
        raise IncorrectInput("$stats needs a code (system|code), or a few", expression=["code"])
    return tuple(dict.fromkeys(found))


def _statistics(given: Sequence[tuple[str, object]]) -> tuple[str, ...]:
    wanted = [one for name, value in given if name == "statistic" for one in str(value).split(",")]
    if not set(wanted) <= set(STATISTICS):
        raise IncorrectInput(f"statistic is one of {', '.join(STATISTICS)}", expression=["statistic"])
    return tuple(one for one in STATISTICS if not wanted or one in wanted)


def parameters() -> list[tuple[str, object]]:
    """Return the parameters of the query, and of a Parameters that is posted (R4 3.2.0.1)."""
    given: list[tuple[str, object]] = list(request.args.items(multi=True))
    if request.method == "POST":
        sent = load_object(read_json_body(request))
        given += [(one.name, value) for one in parameters_in(sent) for value in one.values.values()]
    return given
