"""What every model card tells beside its answer: what moved it, from what, and how good the model is.

All texts are plain; they are escaped here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cds.markdown import bold, bullets, escape, linked, paragraphs, table
from cds.origins import PublicUrl
from cds.prefetch import Prefetched, State
from clinical.finding import ModelRef
from clinical.inputs import InputUsed
from clinical.units import shown_unit

TOP_FACTORS = 5
USED = "Inputs used"
MISSING = "Inputs missing or not used"
NOT_SEEN = "Parts of the record that were not seen, or not wholly"
LATE = "dropped, as it came too late for this call"
ABOUT = "About the model"
MODEL_CARD = "Model card"
_PARTLY_SEEN = (State.ABSENT, State.FAILED, State.PAGED)
_USED_HEADERS = ("Input", "Value", "Unit", "Date")


@dataclass(frozen=True, slots=True)
class Factors:
    """What moved the answer. title: with how it was measured. rows: largest first; five are shown, then `rest`."""

    title: str
    how: str
    headers: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    rest: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Used:
    """One input as people read it. date: a day, or a moment."""

    label: str
    value: str
    unit: str = ""
    date: str = ""


@dataclass(frozen=True, slots=True)
class AboutModel:
    """threshold, calibration: in words. notice: what origin or licence ask for. card: where more is told."""

    model: ModelRef
    threshold: str
    calibration: str
    notice: str = ""
    card: PublicUrl | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """missing: (what, why). prefetch: what came under each key, to name those that did not come whole."""

    used: Sequence[Used]
    missing: Sequence[tuple[str, str]]
    prefetch: Mapping[str, Prefetched]
    about: AboutModel
    factors: Factors | None = None


def block(explanation: Explanation) -> str:
    """Return the block as Markdown; parts that have nothing to say are left out."""
    return paragraphs(
        *_factors(explanation.factors),
        *_used(explanation.used),
        *_rows(MISSING, ("Input", "Why"), explanation.missing),
        *_rows(NOT_SEEN, ("Part", "Why"), not_seen(explanation.prefetch)),
        about_model(explanation.about),
    )


def about_model(about: AboutModel) -> str:
    """Return which model it was and how far it may be believed."""
    lines = [
        f"Model: {about.model.label} (manifest sha256 {about.model.digest[:12]})",
        f"Threshold: {about.threshold}",
        f"Calibration: {about.calibration}",
        *([about.notice] if about.notice else []),
    ]
    card = f"\n- {linked(MODEL_CARD, about.card)}" if about.card else ""
    return paragraphs(bold(ABOUT), bullets(lines) + card)


def not_seen(prefetch: Mapping[str, Prefetched]) -> list[tuple[str, str]]:
    """Return (key, why) of what did not come whole: "none recorded" is not the same as "not seen"."""
    partly = {key: found for key, found in prefetch.items() if found.state in _PARTLY_SEEN and found.reason}
    return [(key, f"{LATE}: {found.reason}" if found.late else str(found.reason)) for key, found in partly.items()]


def rule_in_words(rule: str) -> str:
    """Return a manifest's rule for its thresholds in words that a reader of the card knows."""
    return rule.replace("report_from", "card").replace("warn_from", "warning").rstrip(".")


def used_of(items: Sequence[InputUsed]) -> list[Used]:
    """Return a model's inputs as people read them."""
    return [
        Used(
            item.label,
            item.shown,
            shown_unit(item.unit),
            item.taken_at.date().isoformat() if item.taken_at else "",
        )
        for item in items
    ]


def _factors(factors: Factors | None) -> list[str]:
    if factors is None or not factors.rows:
        return []
    rows = [*factors.rows[:TOP_FACTORS], *factors.rest]
    return [f"{bold(factors.title)} ({escape(factors.how)})", table(factors.headers, rows)]


def _used(used: Sequence[Used]) -> list[str]:
    """A column in which nothing stands is left out."""
    cells = [(one.label, one.value, one.unit, one.date) for one in used]
    columns = [n for n in range(len(_USED_HEADERS)) if n < 2 or any(row[n] for row in cells)]
    headers = [_USED_HEADERS[n] for n in columns]
    return _rows(USED, headers, [[row[n] for n in columns] for row in cells])


def _rows(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [bold(title), table(headers, rows)] if rows else []
