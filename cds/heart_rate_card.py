"""The words of the `heart-rate` card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cds import calibration
from cds.explanation_block import AboutModel, Explanation, Factors, Used, block
from cds.heart_rate_proposal import ADVICE
from cds.markdown import bold, bullets, escape, paragraphs, table
from cds.origins import PublicUrl
from cds.prefetch import Prefetched
from clinical.forecast import Alarm, HeartRateForecast, Moved, Step, Trend, direction
from fhir_adapters.features.heart_rate import HeartRateRecord, Ignored, used_of
from model_runtime.manifest import Manifest
from model_runtime.tasks.forecast import Forecast

NOTE = "Research demonstration, not a medical device. A forecast is a model's estimate and no measurement."
SMALLEST_MOVE = 0.5  # per minute: less would be shown as 0
NOT_SURE = "not sure enough"
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


def detail(said: Said, manifest: Manifest, card: PublicUrl | None) -> str:
    """Return the card's Markdown. card: where the model's card is published."""
    forecast, record = said.forecast, said.record
    return paragraphs(
        escape(manifest.notice or ""),
        f"**Forecast from {forecast.at:%Y-%m-%d %H:%M}{_zone(record)}**, heart rate now {forecast.newest:.0f}/min "
        "(mean of five minutes)",
        _forecast_table(said),
        _unsure(forecast.steps),
        _range(forecast),
        bold("Advice"),
        bullets(ADVICE[forecast.alarm]),
        block(_explanation(said, manifest, card)),
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


def _explanation(said: Said, manifest: Manifest, card: PublicUrl | None) -> Explanation:
    record = said.record
    return Explanation(
        used=_used(record, said.forecast),
        missing=[*map(_missing, record.missing), *map(_ignored, record.ignored)],
        prefetch=said.prefetch,
        about=_about(said, manifest, card),
        factors=_factors(said),
    )


def _about(said: Said, manifest: Manifest, card: PublicUrl | None) -> AboutModel:
    return AboutModel(
        model=said.forecast.model,
        threshold="it warns when P10 or P90 leaves the personal range, and hides an interval that is too wide",
        calibration=calibration.of_intervals(manifest.metrics, said.forecast.steps[-1].minutes),
        card=card,
    )


def _factors(said: Said) -> Factors:
    minutes = said.forecast.steps[-1].minutes
    rows = [(one.label, f"{one.change:+.1f}") for one in said.moved if abs(one.change) >= SMALLEST_MOVE]
    return Factors(
        f"What moved the forecast at {minutes} minutes",
        "per minute, against not knowing that part",
        ("Part of the history", "Change"),
        rows,
    )


def _used(record: HeartRateRecord, forecast: HeartRateForecast) -> list[Used]:
    """The newest value has a moment, what is counted over a time the day on which it ends."""
    newest, *counted = used_of(record)
    moment, day = f"{forecast.at:%Y-%m-%d %H:%M}{_zone(record)}", f"until {forecast.at:%Y-%m-%d}"
    return [Used(*newest, date=moment), *(Used(label, value, date=day) for label, value in counted)]


def _zone(record: HeartRateRecord) -> str:
    return "" if record.series.clock_known else " UTC"


def _missing(line: str) -> tuple[str, str]:
    what, _, why = line.partition(": ")
    return (what, why)


def _ignored(one: Ignored) -> tuple[str, str]:
    return (f"{one.what.capitalize()}, {one.count} value{'s' if one.count > 1 else ''}", f"not used: {one.reason}")
