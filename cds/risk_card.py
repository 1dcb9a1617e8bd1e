"""The text of a risk card: what was answered, from what, what moved it, and what was missing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cds import calibration
from cds.explanation_block import AboutModel, Explanation, Factors, block, not_seen, rule_in_words, used_of
from cds.markdown import escape, paragraphs
from cds.origins import PublicUrl
from cds.prefetch import Prefetched
from clinical.conformal import Answer
from clinical.risk import Contribution, RiskScore
from fhir_adapters.features.diabetes_risk import MissingInput
from model_runtime.manifest import Manifest
from model_runtime.tasks.risk import Variant

SMALLEST_FACTOR = 0.005  # log-odds: less would be shown as "x1.00"
MOVED = "What moved the estimate"
HOW = (
    "exact Shapley values: by how much each multiplies the odds of an average person of the training data; above "
    "× 1 it raises the estimate"
)
UNKNOWN = "what is not known, taken together"
NOTE = "Research demonstration, not a medical device. The probability is a model's estimate, not a diagnosis."
IN_WORDS = {
    Answer.POSITIVE: "likely",
    Answer.NEGATIVE: "unlikely",
    Answer.UNSURE: "not sure enough, refer for a test",
}

# What class-conditional conformal prediction says (clinical.conformal): 41 % can be "likely" where few have it.
_MEANING = {
    Answer.POSITIVE: "At least {sure} % of people without {outcome} score lower.",
    Answer.NEGATIVE: "At least {sure} % of people with {outcome} score higher.",
    Answer.UNSURE: "The model names no class here; a test (fasting glucose or HbA1c) decides.",
}


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

    @property
    def partly_seen(self) -> bool:
        """True when a part of the record did not come whole."""
        return bool(not_seen(self.prefetch))


def percent(probability: float) -> str:
    """Return a probability as people read it: 0.3417 is "34.2 %"."""
    return f"{probability * 100:.1f} %"


def summary(told: Told) -> str:
    """Return the card's first line."""
    said = f"Estimated probability of {told.outcome}: {percent(told.risk.probability)}"
    return f"{said}; {IN_WORDS[Answer.UNSURE]}" if told.answer is Answer.UNSURE else said


def detail(told: Told, manifest: Manifest, card: PublicUrl | None) -> str:
    """Return the card's text (Markdown). card: where the model's card is published."""
    said = f"**Estimated probability of {escape(told.outcome)}: {percent(told.risk.probability)}**"
    explanation = Explanation(
        used=used_of(told.risk.inputs),
        missing=[(item.label, item.reason) for item in told.missing],
        prefetch=told.prefetch,
        about=_about(told, manifest, card),
        factors=_factors(told.risk.contributions, told.unknown),
    )
    return paragraphs(
        escape(manifest.notice or ""),
        f"{said} (model variant {escape(told.variant_label)})",
        _answer(told),
        block(explanation),
        f"*{NOTE}*",
    )


def _about(told: Told, manifest: Manifest, card: PublicUrl | None) -> AboutModel:
    policy, graph = told.variant.policy, told.variant.graph
    shown = f"a card from {percent(policy.report_from)}, a warning from {percent(policy.warn_from)}"
    return AboutModel(
        model=told.risk.model,
        threshold=f"{shown}; {rule_in_words(told.variant.rule)}",
        calibration=calibration.of_probabilities(manifest.metrics, graph),
        card=card,
    )


def _answer(told: Told) -> str:
    sure = round((1 - told.variant.conformal.alpha) * 100)
    meaning = _MEANING[told.answer].format(sure=sure, outcome=escape(told.outcome))
    return f"**Answer at {sure} % confidence: {IN_WORDS[told.answer]}.** {meaning}"


def _factors(contributions: Sequence[Contribution], unknown: float) -> Factors:
    rows = [_factor(item.label, item.change) for item in contributions if abs(item.change) >= SMALLEST_FACTOR]
    rest = (_factor(UNKNOWN, unknown),) if abs(unknown) >= SMALLEST_FACTOR else ()
    return Factors(MOVED, HOW, ("Input", "Odds", "Log-odds"), rows, rest)


def _factor(label: str, change: float) -> tuple[str, str, str]:
    return (label, f"× {math.exp(change):.2f}", f"{change:+.2f}")
