"""The text of a risk card: what was answered, from what, what moved it, and what was missing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cds.markdown import escape, paragraphs, table
from cds.prefetch import Prefetched, State
from clinical.conformal import Answer
from clinical.inputs import InputUsed
from clinical.risk import Contribution, RiskPolicy, RiskScore
from clinical.units import shown_unit
from fhir_adapters.features.diabetes_risk import MissingInput
from model_runtime.tasks.risk import Variant

TOP_FACTORS = 5
SMALLEST_FACTOR = 0.005  # log-odds: less would be shown as "x1.00"
MOVED = (
    "**What moved the estimate** (exact Shapley values: by how much each multiplies the odds of an average person "
    "of the training data)"
)
UNKNOWN = "what is not known, taken together"
NOTE = "Research demonstration, not a medical device. The probability is a model's estimate, not a diagnosis."
IN_WORDS = {
    Answer.POSITIVE: "likely",
    Answer.NEGATIVE: "unlikely",
    Answer.UNSURE: "not sure enough, refer for a test",
}
_PARTLY_SEEN = (State.ABSENT, State.FAILED, State.PAGED)


@dataclass(frozen=True, slots=True)
class Told:
    """What a risk card tells. contributions of `risk` are in log-odds; unknown: that of all missing inputs.

    variant_label: which graph, in words. answer: of conformal prediction at the variant's alpha.
    """

    outcome: str
    risk: RiskScore
    answer: Answer
    variant: Variant
    variant_label: str
    missing: Sequence[MissingInput]
    unknown: float
    prefetch: Mapping[str, Prefetched]


def percent(probability: float) -> str:
    """Return a probability as people read it: 0.3417 is "34.2 %"."""
    return f"{probability * 100:.1f} %"


def summary(told: Told) -> str:
    """Return the card's first line."""
    said = f"Estimated probability of {told.outcome}: {percent(told.risk.probability)}"
    return f"{said}; {IN_WORDS[Answer.UNSURE]}" if told.answer is Answer.UNSURE else said


def detail(told: Told) -> str:
    """Return the card's text (Markdown)."""
    risk, policy = told.risk, told.variant.policy
    return paragraphs(
        f"**Estimated probability of {told.outcome}: {percent(risk.probability)}** {_shown_from(policy)}",
        _answer(told),
        f"Read by the graph {told.variant_label}.",
        "**Inputs used**",
        table(("Input", "Value", "Unit", "Date"), [_used(item) for item in risk.inputs]),
        *_factors(risk.contributions, told.unknown),
        *_missing(told.missing),
        *_unread(told.prefetch),
        f"Model: {escape(risk.model.label)} (sha256 {risk.model.digest[:12]})",
        f"*{NOTE}*",
    )


def _shown_from(policy: RiskPolicy) -> str:
    return f"(shown from {percent(policy.report_from)}, warning from {percent(policy.warn_from)})"


def _answer(told: Told) -> str:
    sure = round((1 - told.variant.conformal.alpha) * 100)
    text = f"**Answer at {sure} % confidence: {IN_WORDS[told.answer]}.**"
    if told.answer is Answer.UNSURE:
        text += " The model names no class here; a test (fasting glucose or HbA1c) decides."
    return text


def _used(item: InputUsed) -> tuple[str, str, str, str]:
    day = item.taken_at.date().isoformat() if item.taken_at else ""
    return (item.label, item.shown, shown_unit(item.unit), day)


def _factors(contributions: Sequence[Contribution], unknown: float) -> tuple[str, ...]:
    top = [item for item in contributions[:TOP_FACTORS] if abs(item.change) >= SMALLEST_FACTOR]
    if not top:
        return ()
    rows = [_factor(item.label, item.change) for item in top]
    if abs(unknown) >= SMALLEST_FACTOR:
        rows.append(_factor(UNKNOWN, unknown))
    return (MOVED, table(("Input", "Odds", "Log-odds"), rows))


def _factor(label: str, change: float) -> tuple[str, str, str]:
    return (label, f"× {math.exp(change):.2f}", f"{change:+.2f}")


def _missing(missing: Sequence[MissingInput]) -> tuple[str, ...]:
    if not missing:
        return ()
    rows = [(item.label, item.reason) for item in missing]
    return ("**Inputs missing**: the estimate was made without them", table(("Input", "Why"), rows))


def _unread(prefetch: Mapping[str, Prefetched]) -> tuple[str, ...]:
    """Say which parts of the record could not be read: "none recorded" is not the same as "not seen"."""
    rows = [(key, found.reason) for key, found in prefetch.items() if found.reason and found.state in _PARTLY_SEEN]
    if not rows:
        return ()
    return ("**Parts of the record that were not seen, or not wholly**", table(("Part", "Why"), rows))
