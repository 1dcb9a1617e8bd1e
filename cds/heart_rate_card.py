"""The words of the `heart-rate` card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cds.heart_rate_proposal import ADVICE
from cds.markdown import escape, paragraphs, table
from cds.prefetch import Prefetched, State
from clinical.forecast import Alarm, HeartRateForecast, Moved, Step, Trend, direction
from fhir_adapters.features.heart_rate import HeartRateRecord, used_of
from model_runtime.tasks.forecast import Forecast

NOTE = "Research demonstration, not a medical device. A forecast is a model's estimate and no measurement."
TOP_BLOCKS = 5
SMALLEST_MOVE = 0.5  # per minute: less would be shown as 0
NOT_SURE = "not sure enough"
_PARTLY_SEEN = (State.ABSENT, State.FAILED, State.PAGED)
_WORDS = {Trend.FALLING: "falling", Trend.STEADY: "steady", Trend.RISING: "rising", None: NOT_SURE}
_ALARMS = {Alarm.HIGH: "may rise above the personal range", Alarm.LOW: "may fall below the personal range"}


@dataclass(frozen=True, slots=True)
class Said:
    """Everything that a card tells. moved: what the blocks of history did to the last horizon, largest first."""

    forecast: HeartRateForecast
    moved: tuple[Moved, ...]
    record: HeartRateRecord
    part: Forecast
    prefetch: Mapping[str, Prefetched]


def summary(said: Said) -> str:
    """Return the one line: the alarm, or the last horizon that is sure enough, or that none is."""
    forecast = said.forecast
    usual = f"{forecast.usual.low:.0f} to {forecast.usual.high:.0f}"
    if forecast.alarm is not Alarm.NONE:
        first = forecast.alarming()[0]
        return f"Heart rate {_ALARMS[forecast.alarm]} ({usual}/min) within {first.minutes} minutes"
    sure = [step for step in forecast.steps if step.sure]
    if not sure:
        return f"Heart rate forecast: {NOT_SURE}; now {forecast.newest:.0f}/min"
    last = sure[-1]
    way = direction(last, said.part.policy)
    trend = f", {_WORDS[way]}" if way is not None else ""
    return (
        f"Heart rate in {last.minutes} minutes: {last.middle:.0f}/min ({last.low:.0f} to {last.high:.0f}){trend}; "
        f"now {forecast.newest:.0f}/min"
    )


def detail(said: Said) -> str:
    """Return the card's Markdown."""
    forecast, record = said.forecast, said.record
    zone = "" if record.series.clock_known else " UTC"
    return paragraphs(
        f"**Forecast from {forecast.at:%Y-%m-%d %H:%M}{zone}**, heart rate now {forecast.newest:.0f}/min (mean of "
        "five minutes)",
        _forecast_table(said),
        _unsure(forecast.steps),
        _range(forecast),
        "**Advice**",
        "\n".join(f"- {escape(line)}" for line in ADVICE[forecast.alarm]),
        *_moved(said),
        "**Inputs used**",
        table(("Input", "Value"), used_of(record)),
        *_missing(record),
        *_unread(said.prefetch),
        f"Model: {escape(forecast.model.label)} (manifest sha256 {forecast.model.digest[:12]})",
        f"*{NOTE}*",
    )


def _forecast_table(said: Said) -> str:
    rows = [_row(step, said) for step in said.forecast.steps]
    header = ("In", "P10", "P50", "P90", "Trend", "Chances: falling, steady, rising", "Unchanged (persistence)")
    return table(header, rows)


def _row(step: Step, said: Said) -> tuple[str, ...]:
    shown = (f"{value:.0f}" if step.sure else NOT_SURE for value in (step.low, step.middle, step.high))
    way = direction(step, said.part.policy) if step.sure else None
    chances = ", ".join(f"{chance:.0%}" for chance in step.chances)
    return (f"{step.minutes} min", *shown, _WORDS[way], chances, f"{said.forecast.newest:.0f}")


def _unsure(steps: Sequence[Step]) -> str:
    wide = [f"{step.minutes}" for step in steps if not step.sure]
    if not wide:
        return ""
    return (
        f"**Not sure enough** at {', '.join(wide)} minutes: the interval would be too wide to say something. "
        "Measure again and look at the patient."
    )


def _range(forecast: HeartRateForecast) -> str:
    usual = forecast.usual
    whose = (
        f"from {usual.hours:.0f} hours of the past week's readings"
        if usual.hours is not None
        else "a general range: too few readings of the past week for an own one"
    )
    return f"**Personal range** {usual.low:.0f} to {usual.high:.0f}/min ({whose})"


def _moved(said: Said) -> tuple[str, ...]:
    top = [one for one in said.moved[:TOP_BLOCKS] if abs(one.change) >= SMALLEST_MOVE]
    if not top:
        return ()
    minutes = said.forecast.steps[-1].minutes
    return (
        f"**What moved the forecast at {minutes} minutes** (per minute, against not knowing that part)",
        table(("Part of the history", "Change"), [(one.label, f"{one.change:+.1f}") for one in top]),
    )


def _missing(record: HeartRateRecord) -> tuple[str, ...]:
    """Say what was not there, and what was there and not used."""
    rows = [(line, "missing") for line in record.missing]
    rows += [(f"{one.what}: {one.reason}", f"{one.count} not used") for one in record.ignored]
    if not rows:
        return ()
    return ("**Missing or not used**", table(("What", "How"), rows))


def _unread(prefetch: Mapping[str, Prefetched]) -> tuple[str, ...]:
    rows = [(key, found.reason) for key, found in prefetch.items() if found.reason and found.state in _PARTLY_SEEN]
    if not rows:
        return ()
    return ("**Parts of the record that were not seen, or not wholly**", table(("Part", "Why"), rows))
