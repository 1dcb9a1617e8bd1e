"""What a model said of a patient when a hook was called: enough to tell it as FHIR and to compute it again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from numpy.typing import NDArray

from clinical.conformal import Answer
from clinical.finding import FindingTerms, ModelRef
from clinical.forecast import HeartRateForecast
from clinical.lesion import NOTHING_KNOWN, RecordValues
from clinical.risk import RiskScore

TOKENS = "tokens"  # the tensor of a lesion's image among ModelInputs


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """What one graph read. tensors: its inputs, one row. values: the record, for a model that codes it itself."""

    graph: str
    tensors: Mapping[str, NDArray[Any]] = field(repr=False)
    values: RecordValues = field(default_factory=lambda: NOTHING_KNOWN, repr=False)


@dataclass(frozen=True, slots=True)
class SaidRisk:
    """A probability. judged: what was made of it, in words. mitigation: what lowers or settles the risk.

    terms: of the finding that the risk is about (a lesion); None where there is none to be observed.
    """

    risk: RiskScore
    answer: Answer
    judged: str
    mitigation: str
    terms: FindingTerms | None = None


@dataclass(frozen=True, slots=True)
class HeartRateSummary:
    """The heart rates that were read: per minute, of `minutes` minutes with a value between start and end."""

    start: datetime
    end: datetime
    mean: float
    low: float
    high: float
    minutes: int


@dataclass(frozen=True, slots=True)
class SaidForecast:
    """A forecast of the heart rate. judged, mitigation: as of a risk. plan, advice: a plan's title and steps."""

    forecast: HeartRateForecast
    summary: HeartRateSummary
    judged: str
    mitigation: str
    plan: str = ""
    advice: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """One result. input_sha256: names model and inputs together (`cds.about.input_hash`).

    sources: references of the record's resources that were read; own_sources: of resources of this server.
    """

    model: ModelRef
    input_sha256: str
    inputs: ModelInputs
    at: datetime
    what: SaidRisk | SaidForecast
    sources: tuple[str, ...] = ()
    own_sources: tuple[str, ...] = ()
