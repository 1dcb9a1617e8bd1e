"""Task `forecast`: quantiles of a quantity at some horizons, as changes of its newest mean, and a trend."""

from collections.abc import Mapping
from dataclasses import dataclass

from clinical.codes import Coding
from clinical.forecast import Policy
from model_runtime.graphs import MODEL, GraphSpec
from model_runtime.json_fields import Faults, Fields, is_number, is_whole
from model_runtime.tasks.coding import read_coding

CHANGE = "change"  # (batch, horizon, quantile): rising quantiles of the change, as a share of the newest mean
TREND = "trend"  # (batch, horizon, class): probabilities of falling, steady, rising; they sum to 1
CLASSES = 3


@dataclass(frozen=True, slots=True)
class SeriesInput:
    """A series that the model reads.

    unit: UCUM. required: False when the model reads its absence. codes: what it is read from in a record.
    look_back_min: how far back, in minutes. imputation: what becomes of what was not measured.
    """

    name: str
    label: str
    unit: str
    required: bool
    minimum: float
    maximum: float
    codes: tuple[Coding, ...]
    look_back_min: int
    imputation: str


@dataclass(frozen=True, slots=True)
class Intervals:
    """How the outer quantiles were fitted to unseen time: scales (horizon, side) are already in the graph.

    alpha: share outside that is accepted. rows: windows that they come from.
    """

    alpha: float
    rows: int
    scales: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What only forecast models say; their graph is called `model`.

    quantity, unit (UCUM): what is forecast. horizons_min: minutes ahead of the newest reading.
    quantiles: rising, the middle one is the forecast. band: a smaller change is "steady".
    policy: when something is said, and when it warns; rule: how these limits were set.
    subjects: who was learnt from, by the names of the data set ("known" in the figures).
    """

    quantity: Coding
    unit: str
    horizons_min: tuple[int, ...]
    quantiles: tuple[float, ...]
    band: float
    inputs: tuple[SeriesInput, ...]
    policy: Policy
    rule: str
    intervals: Intervals
    subjects: tuple[str, ...]


def read(top: Fields) -> Forecast:
    """Read the keys of this task from a manifest's top level."""
    fields = top.child("forecast")
    policy = fields.child("policy")
    part = Forecast(
        quantity=read_coding(fields.child("quantity")),
        unit=fields.text("unit"),
        horizons_min=fields.items("horizons_min", "minutes", lambda v: is_whole(v) and v > 0),
        quantiles=fields.items("quantiles", "numbers from 0 to 1", lambda v: is_number(v) and 0 < v < 1),
        band=fields.number("band", 0.0),
        inputs=tuple(_input(item) for item in fields.children("inputs")),
        policy=_policy(policy),
        rule=policy.text("rule"),
        intervals=_intervals(fields.child("intervals")),
        subjects=fields.items("subjects", "names", lambda v: isinstance(v, str) and bool(v)),
    )
    policy.end()
    fields.end()
    return part


def _input(fields: Fields) -> SeriesInput:
    found = SeriesInput(
        name=fields.text("name"),
        label=fields.text("label"),
        unit=fields.text("unit"),
        required=fields.flag("required"),
        minimum=fields.number("minimum"),
        maximum=fields.number("maximum"),
        codes=tuple(read_coding(item) for item in fields.children("codes")),
        look_back_min=fields.whole("look_back_min", 1, 1 << 20),
        imputation=fields.text("imputation"),
    )
    fields.end()
    return found


def _policy(fields: Fields) -> Policy:
    """Read all but "rule", which the caller takes."""
    return Policy(
        direction_from=fields.number("direction_from", 0.0, 1.0),
        widest=tuple(
            float(v) for v in fields.items("widest", "positive numbers", _is_positive) if _is_positive(v)
        ),
        usual_shares=(fields.number("usual_low", 0.0, 0.5), fields.number("usual_high", 0.5, 1.0)),
        usual_from_hours=fields.number("usual_from_hours", 0.0),
        guard=(fields.number("guard_low", 0.0), fields.number("guard_high", 0.0)),
    )


def _intervals(fields: Fields) -> Intervals:
    found = Intervals(
        alpha=fields.number("alpha", 0.0, 0.5),
        rows=fields.whole("rows", 1, 1 << 40),
        scales=tuple(
            tuple(pair)
            for pair in fields.items("scales", "pairs of positive numbers", _is_pair)
            if isinstance(pair, list)
        ),
    )
    fields.end()
    return found


def _is_positive(value: object) -> bool:
    return is_number(value) and value > 0  # type: ignore[operator]  # is_number has looked


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(_is_positive(item) for item in value)


def cross_check(part: Forecast, graphs: Mapping[str, GraphSpec], faults: Faults) -> None:
    """Note what contradicts itself."""
    horizons, quantiles = part.horizons_min, part.quantiles
    for key, values in (("horizons_min", horizons), ("quantiles", quantiles)):
        if list(values) != sorted(set(values)):
            faults.add(f"$.forecast.{key}", "expected rising numbers")
    if len(quantiles) != 3:
        faults.add("$.forecast.quantiles", "expected a low, a middle and a high one")
    if len(part.policy.widest) != len(horizons) or len(part.intervals.scales) != len(horizons):
        faults.add("$.forecast.policy.widest", "expected one entry a horizon, as in intervals.scales")
    if part.policy.guard[0] >= part.policy.guard[1]:
        faults.add("$.forecast.policy.guard_high", "expected more than guard_low")
    for n, one in enumerate(part.inputs):
        if one.minimum >= one.maximum:
            faults.add(f"$.forecast.inputs[{n}].maximum", "expected more than minimum")
    _check_graph(part, graphs, faults)


def _check_graph(part: Forecast, graphs: Mapping[str, GraphSpec], faults: Faults) -> None:
    if MODEL not in graphs:
        faults.add("$.graphs", f"expected a graph named {MODEL}")
        return
    rows = len(part.horizons_min)
    shapes = {spec.name: spec.shape[1:] for spec in graphs[MODEL].outputs}
    if shapes != {CHANGE: (rows, len(part.quantiles)), TREND: (rows, CLASSES)}:
        faults.add(
            f"$.graphs.{MODEL}.outputs",
            f"expected {CHANGE} [batch, horizon, quantile] and {TREND} [batch, horizon, {CLASSES}]",
        )
