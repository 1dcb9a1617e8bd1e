"""Task `lesion`: a lesion outlined on an image, and how probable malignancy is from its record, its image or both.

Three graphs: `outline` finds it, `image` makes tokens of the square around it, `diagnosis` joins record and
tokens. The first two are imaging networks and run in workers; the third also answers hooks.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from clinical.codes import Coding
from clinical.conformal import Conformal
from clinical.finding import FindingTerms
from clinical.lesion import Basis, Kind, RecordFeature, RecordValue, RecordValues
from clinical.risk import RiskPolicy
from model_runtime.graphs import GraphSpec
from model_runtime.json_fields import Faults, Fields
from model_runtime.lesion_shape import NAMES as SHAPE_NAMES
from model_runtime.lesion_view import CropRules, OutlineRules
from model_runtime.tasks.coding import coding_document, read_coding
from model_runtime.tasks.risk import read_conformal
from model_runtime.tasks.segmentation import read_image, read_terms
from model_runtime.transforms import ImageSpec

OUTLINE, IMAGE, DIAGNOSIS = "outline", "image", "diagnosis"
CATEGORY, DESCRIPTORS = "category", "descriptors"  # with IMAGE: what a variant may require
CATEGORY_FEATURE = "birads"
_KNOWABLE = (CATEGORY, DESCRIPTORS, IMAGE)


@dataclass(frozen=True, slots=True)
class Token:
    """One number that graph `image` says of a lesion. label: as people call it, for explanations."""

    name: str
    label: str


@dataclass(frozen=True, slots=True)
class LesionVariant:
    """How an answer is judged when this much is known. requires: some of category, descriptors, image.

    policy: from which probability a card is shown and warns; rule: how these thresholds were set.
    """

    name: str
    requires: tuple[str, ...]
    policy: RiskPolicy
    rule: str
    conformal: Conformal


@dataclass(frozen=True, slots=True)
class Lesion:
    """What only lesion models say.

    image: of graph `outline`. outline, crop: how an outline is made and cut out; outline_rule: how that was set.
    shape: names of the numbers that describe an outline, in tensor order; tokens: likewise of graph `image`.
    body_parts: Body Part Examined values of images that it reads (PS3.16 annex L); regions: as codes.
    variants: in order of preference.
    """

    image: ImageSpec
    outline: OutlineRules
    outline_rule: str
    crop: CropRules
    shape: tuple[str, ...]
    tokens: tuple[Token, ...]
    terms: FindingTerms
    outcome: Coding
    body_parts: tuple[str, ...]
    regions: tuple[Coding, ...]
    record: tuple[RecordFeature, ...]
    variants: tuple[LesionVariant, ...]

    def known(self, values: RecordValues, *, image: bool) -> frozenset[str]:
        """Return which of category, descriptors and image are known."""
        told = {feature.name for feature in self.record if feature.of_lesion and feature.name in values}
        parts = (CATEGORY_FEATURE in told, bool(told - {CATEGORY_FEATURE}), image)
        return frozenset(word for word, there in zip(_KNOWABLE, parts, strict=True) if there)

    def variant_for(self, known: Collection[str]) -> LesionVariant | None:
        """Return the first variant whose requirements are all known, None when nothing is said of the lesion."""
        return next((one for one in self.variants if set(one.requires) <= set(known)), None)


def basis_of(values: RecordValues, *, image: bool) -> Basis:
    """Return what an answer from these inputs is made from."""
    if not image:
        return Basis.RECORD
    return Basis.BOTH if values else Basis.IMAGE


def read(top: Fields) -> Lesion:
    """Read the keys of this task from a manifest's top level."""
    outline, rule = _outline(top.child("outline"))
    return Lesion(
        image=read_image(top),
        outline=outline,
        outline_rule=rule,
        crop=_crop(top.child("crop")),
        shape=top.items("shape", "names", _is_text),
        tokens=tuple(_token(item) for item in top.children("tokens")),
        terms=read_terms(top.child("segment")),
        outcome=read_coding(top.child("outcome")),
        body_parts=top.items("body_parts", "texts", _is_text),
        regions=tuple(read_coding(item) for item in top.children("regions")),
        record=tuple(_feature(item) for item in top.children("record")),
        variants=tuple(_variant(item) for item in top.children("variants")),
    )


def record_document(features: Collection[RecordFeature]) -> list[dict[str, object]]:
    """Return features as a manifest writes them under "record"."""
    return [
        {
            "name": one.name,
            "label": one.label,
            "kind": one.kind.value,
            "of_lesion": one.of_lesion,
            "codes": [coding_document(code) for code in one.codes],
            "values": [
                {"name": v.name, "label": v.label, "codes": [coding_document(code) for code in v.codes]}
                for v in one.values
            ],
            "unit": one.unit,
            "minimum": one.minimum,
            "maximum": one.maximum,
            "look_back_days": one.look_back_days,
        }
        for one in features
    ]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _outline(fields: Fields) -> tuple[OutlineRules, str]:
    rules = OutlineRules(
        mask=fields.number("mask", 0.0, 1.0),
        report=fields.number("report", 0.0, 1.0),
        min_area_px=fields.whole("min_area_px", 1, 1 << 24),
        zoom=fields.number("zoom", 1.0, 10.0),
        min_side_px=fields.whole("min_side_px", 1, 1 << 16),
    )
    rule = fields.text("rule")
    fields.end()
    return rules, rule


def _crop(fields: Fields) -> CropRules:
    rules = CropRules(
        size=fields.whole("size", 1, 4096),
        zoom=fields.number("zoom", 1.0, 10.0),
        min_side_px=fields.whole("min_side_px", 1, 1 << 16),
        low_percentile=fields.number("low_percentile", 0.0, 100.0),
        high_percentile=fields.number("high_percentile", 0.0, 100.0),
    )
    fields.end()
    return rules


def _token(fields: Fields) -> Token:
    token = Token(fields.text("name"), fields.text("label"))
    fields.end()
    return token


def _feature(fields: Fields) -> RecordFeature:
    feature = RecordFeature(
        name=fields.text("name"),
        label=fields.text("label"),
        kind=Kind(fields.one_of("kind", tuple(Kind))),
        of_lesion=fields.flag("of_lesion"),
        codes=tuple(read_coding(item) for item in fields.children("codes", may_be_empty=True)),
        values=tuple(_value(item) for item in fields.children("values", may_be_empty=True)),
        unit=fields.unit("unit"),
        minimum=fields.optional_number("minimum"),
        maximum=fields.optional_number("maximum"),
        look_back_days=fields.optional_whole("look_back_days", 1, 36_500),
    )
    fields.end()
    return feature


def _value(fields: Fields) -> RecordValue:
    codes = tuple(read_coding(item) for item in fields.children("codes"))
    value = RecordValue(fields.text("name"), fields.text("label"), codes)
    fields.end()
    return value


def _variant(fields: Fields) -> LesionVariant:
    policy = fields.child("policy")
    variant = LesionVariant(
        name=fields.text("name"),
        requires=fields.items("requires", " or ".join(_KNOWABLE), lambda v: v in _KNOWABLE),
        policy=RiskPolicy(policy.number("report_from", 0.0, 1.0), policy.number("warn_from", 0.0, 1.0)),
        rule=policy.text("rule"),
        conformal=read_conformal(fields.child("conformal")),
    )
    policy.end()
    fields.end()
    return variant


def cross_check(part: Lesion, graphs: Mapping[str, GraphSpec], faults: Faults) -> None:
    """Note what contradicts itself."""
    if part.crop.low_percentile >= part.crop.high_percentile:
        faults.add("$.crop.high_percentile", "expected more than low_percentile")
    if part.shape != SHAPE_NAMES:
        faults.add("$.shape", "expected the numbers that this version computes, in their order")
    names = [feature.name for feature in part.record]
    if len(set(names)) != len(names):
        faults.add("$.record", "expected different names")
    for n, feature in enumerate(part.record):
        _check_feature(feature, f"$.record[{n}]", faults)
    for n, variant in enumerate(part.variants):
        if variant.policy.report_from > variant.policy.warn_from:
            faults.add(f"$.variants[{n}].policy.warn_from", "expected at least report_from")
    for word in _KNOWABLE:
        if part.variant_for({word}) is None:  # else what is known would be passed over in silence
            faults.add("$.variants", f"expected one for which {word} alone is enough")
    for name, (inputs, outputs) in _tensors_of(part).items():
        _check_graph(graphs.get(name), name, inputs, outputs, faults)
    if DIAGNOSIS in graphs and graphs[DIAGNOSIS].heavy:
        faults.add(f"$.graphs.{DIAGNOSIS}.heavy", "expected false: it answers hooks")


def _check_feature(feature: RecordFeature, path: str, faults: Faults) -> None:
    number = feature.kind is Kind.NUMBER
    low, high = feature.minimum, feature.maximum
    fits = low is not None and high is not None and low < high if number else low is high is None
    if not fits:
        for key in ("minimum", "maximum"):
            faults.add(f"{path}.{key}", "expected a range for a number, and null otherwise")
    names = [value.name for value in feature.values]
    if number == bool(names) or len(set(names)) != len(names):
        faults.add(f"{path}.values", "expected values of different names, and none for a number")


def record_columns(features: Collection[RecordFeature]) -> int:
    """Return how many columns a record has in a tensor: one a number, one a value of the other kinds."""
    return sum(max(1, len(feature.values)) for feature in features)


def _tensors_of(part: Lesion) -> dict[str, tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]]:
    """Return the inputs and outputs of each graph without their batch axis."""
    picture = (part.image.rows, part.image.columns, part.image.channels)
    square = (part.crop.size, part.crop.size, 2)
    tokens = (len(part.tokens),)
    record = {"record": (record_columns(part.record),), "record_known": (len(part.record),)}
    return {
        OUTLINE: ({"image": picture}, {"probability": (*picture[:2], 1)}),
        IMAGE: ({"crop": square, "shape": (len(part.shape),)}, {"tokens": tokens, "probability": (1,)}),
        DIAGNOSIS: (
            {**record, "image": tokens, "image_known": (2,)},
            {"probability": (1,), "record_probability": (1,)},
        ),
    }


def _check_graph(
    graph: GraphSpec | None,
    name: str,
    inputs: Mapping[str, tuple[int, ...]],
    outputs: Mapping[str, tuple[int, ...]],
    faults: Faults,
) -> None:
    if graph is None:
        faults.add("$.graphs", f"expected a graph named {name}")
        return
    for key, wanted, specs in (("inputs", inputs, graph.inputs), ("outputs", outputs, graph.outputs)):
        if {spec.name: spec.shape[1:] for spec in specs} != dict(wanted):
            shapes = ", ".join(f"{tensor} {list(shape)}" for tensor, shape in wanted.items())
            faults.add(f"$.graphs.{name}.{key}", f"expected, after the batch axis: {shapes}")
