"""Split conformal prediction for a yes-or-no outcome: when is a model sure enough to name one class?

Class-conditional (Mondrian): Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World (2005), section 4.5.
The nonconformity of a label is 1 - its probability. Among cases like those of calibration, the true label is in
the set at least 1 - alpha of the time, within each class.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil

import numpy as np
from numpy.typing import NDArray

from clinical.errors import IncorrectInput


class Answer(StrEnum):
    """What may be said: one class, or that it is not sure enough (then a person decides, or a test does)."""

    NEGATIVE = "negative"
    POSITIVE = "positive"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Conformal:
    """alpha: share of wrong sets that is accepted. negative, positive: largest nonconformity of each class that
    stays in the set. rows: how many cases they come from."""

    alpha: float
    negative: float
    positive: float
    rows: int

    def answer(self, probability: float) -> Answer:
        """Return the one class in the prediction set, or UNSURE when it holds both or none.

        probability: of the positive class, 0..1.
        """
        may_be_negative = probability <= self.negative
        may_be_positive = 1 - probability <= self.positive
        if may_be_negative == may_be_positive:
            return Answer.UNSURE
        return Answer.POSITIVE if may_be_positive else Answer.NEGATIVE


def conformal_of(truth: NDArray[np.bool_], probability: NDArray[np.float64], alpha: float) -> Conformal:
    """Return the quantiles from cases that training did not see. truth (n,), probability (n,) of the positive.

    Raises IncorrectInput when a class has fewer cases than the quantile needs (about 1 / alpha).
    """
    return Conformal(
        alpha=alpha,
        negative=_quantile(probability[~truth], alpha),
        positive=_quantile(1 - probability[truth], alpha),
        rows=len(truth),
    )


def _quantile(nonconformity: NDArray[np.float64], alpha: float) -> float:
    """Return the ceil((n + 1)(1 - alpha))-th smallest: the finite-sample correction of split conformal."""
    rank = ceil((len(nonconformity) + 1) * (1 - alpha))
    if rank > len(nonconformity):
        raise IncorrectInput("too few cases of a class for a conformal quantile at this alpha")
    return float(np.sort(nonconformity)[rank - 1])
