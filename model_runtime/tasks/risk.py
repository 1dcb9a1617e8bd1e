"""Task `risk`: a probability of one outcome from a row of features, by the first graph whose inputs are known."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from clinical.codes import Coding
from clinical.conformal import Conformal
from clinical.risk import RiskPolicy
from model_runtime.graphs import GraphSpec
from model_runtime.json_fields import Faults, Fields
from model_runtime.tasks.coding import read_coding


@dataclass(frozen=True, slots=True)
class Feature:
    """One input.

    unit: UCUM, or "" for none. minimum, maximum: the plausible range, inclusive, in that unit.
    required: False when the model reads NaN as "not known". codes: what it is read from in a record.
    look_back_days: how old it may be, None for any age. imputation: what becomes of a missing value.
    """

    name: str
    label: str
    unit: str
    required: bool
    minimum: float
    maximum: float
    codes: tuple[Coding, ...]
    look_back_days: int | None
    imputation: str


@dataclass(frozen=True, slots=True)
class Variant:
    """One graph. features: names in the order of its tensor. requires: names that must be known to use it.

    policy: from which probability a card is shown and warns; rule: how these thresholds were set.
    """

    graph: str
    features: tuple[str, ...]
    requires: tuple[str, ...]
    policy: RiskPolicy
    rule: str
    conformal: Conformal


@dataclass(frozen=True, slots=True)
class Risk:
    """What only risk models say. variants: in order of preference."""

    features: tuple[Feature, ...]
    outcome: Coding
    variants: tuple[Variant, ...]

    def variant_for(self, known: Collection[str]) -> Variant | None:
        """Return the first variant whose required features are all known, None when there is none."""
        return next((one for one in self.variants if set(one.requires) <= set(known)), None)

    def features_of(self, variant: Variant) -> tuple[Feature, ...]:
        """Return the features of a variant in the order of its tensor."""
        by_name = {feature.name: feature for feature in self.features}
        return tuple(by_name[name] for name in variant.features)


def read(top: Fields) -> Risk:
    """Read the keys of this task from a manifest's top level."""
    return Risk(
        features=tuple(_feature(item) for item in top.children("features")),
        outcome=read_coding(top.child("outcome")),
        variants=tuple(_variant(item) for item in top.children("variants")),
    )


def _feature(fields: Fields) -> Feature:
    feature = Feature(
        name=fields.text("name"),
        label=fields.text("label"),
        unit=fields.unit("unit"),
        required=fields.flag("required"),
        minimum=fields.number("minimum"),
        maximum=fields.number("maximum"),
        codes=tuple(read_coding(item) for item in fields.children("codes")),
        look_back_days=fields.optional_whole("look_back_days", 1, 36_500),
        imputation=fields.text("imputation"),
    )
    fields.end()
    return feature


def _variant(fields: Fields) -> Variant:
    policy = fields.child("policy")
    variant = Variant(
        graph=fields.text("graph"),
        features=fields.items("features", "names of features", lambda v: isinstance(v, str)),
        requires=tuple(fields.take("requires", "a list of names of features", _is_names, [])),
        policy=RiskPolicy(policy.number("report_from", 0.0, 1.0), policy.number("warn_from", 0.0, 1.0)),
        rule=policy.text("rule"),
        conformal=read_conformal(fields.child("conformal")),
    )
    policy.end()
    fields.end()
    return variant


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def read_conformal(fields: Fields) -> Conformal:
    """Read {"alpha", "negative", "positive", "rows"}."""
    conformal = Conformal(
        alpha=fields.number("alpha", 0.0, 0.5),
        negative=fields.number("negative", 0.0, 1.0),
        positive=fields.number("positive", 0.0, 1.0),
        rows=fields.whole("rows", 1, 1 << 40),
    )
    fields.end()
    return conformal


def cross_check(risk: Risk, graphs: Mapping[str, GraphSpec], faults: Faults) -> None:
    """Note what contradicts itself."""
    names = [feature.name for feature in risk.features]
    if len(set(names)) != len(names):
        faults.add("$.features", "expected different names")
    for n, feature in enumerate(risk.features):
        if feature.minimum >= feature.maximum:
            faults.add(f"$.features[{n}].maximum", "expected more than minimum")
    for n, variant in enumerate(risk.variants):
        _check_variant(variant, f"$.variants[{n}]", set(names), graphs, faults)


def _check_variant(
    variant: Variant, path: str, names: set[str], graphs: Mapping[str, GraphSpec], faults: Faults
) -> None:
    if not {*variant.features, *variant.requires} <= names or not set(variant.requires) <= set(variant.features):
        faults.add(f"{path}.features", "expected names that stand under $.features, the required ones among them")
    if variant.policy.report_from > variant.policy.warn_from:
        faults.add(f"{path}.policy.warn_from", "expected at least report_from")
    graph = graphs.get(variant.graph)
    if graph is None:
        faults.add(f"{path}.graph", "expected the name of a graph under $.graphs")
    elif len(graph.inputs) != 1 or graph.inputs[0].shape[1:] != (len(variant.features),):
        faults.add(
            f"$.graphs.{variant.graph}.inputs", "expected one input whose second axis is the number of features"
        )
