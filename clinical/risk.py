"""Risk as a value, and the decision whether to interrupt somebody with it."""

from dataclasses import dataclass
from enum import StrEnum

from clinical.codes import Coding
from clinical.errors import IncorrectInput
from clinical.finding import ModelRef
from clinical.inputs import InputUsed


class Indicator(StrEnum):
    """Urgency of a card (CDS Hooks, Card.indicator)."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Contribution:
    """How far one input moved this patient's risk (negative lowers it).

    change: in probability or, where the explanation adds up, in log-odds; who makes it says which.
    """

    name: str
    label: str
    change: float


@dataclass(frozen=True, slots=True)
class RiskScore:
    """A model's probability of an outcome for one patient.

    probability: 0..1. inputs: what was used. missing: labels of what the model would have read but
        did not get.
    """

    outcome: Coding
    probability: float
    model: ModelRef
    inputs: tuple[InputUsed, ...]
    missing: tuple[str, ...]
    contributions: tuple[Contribution, ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 <= self.probability <= 1.0:
            raise IncorrectInput("a probability lies between 0 and 1")


@dataclass(frozen=True, slots=True)
class RiskPolicy:
    """From which probability a card is shown, and from which it warns."""

    report_from: float
    warn_from: float


def indicator_for(risk: RiskScore, policy: RiskPolicy) -> Indicator | None:
    """Return the card's indicator, or None when the risk is too low to interrupt anyone."""
    if risk.probability < policy.report_from:
        return None
    return Indicator.WARNING if risk.probability >= policy.warn_from else Indicator.INFO
