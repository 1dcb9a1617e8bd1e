"""What `models/<name>/manifest.json` says, schema 1, as frozen values.

Parsing is strict: unknown keys, missing keys and wrong types are all named by their JSON path in one error.
There are no defaults: segment codes, thresholds, feature order and thread counts are the model's to say.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from clinical.codes import Coding
from clinical.errors import Fault, IncorrectInput
from clinical.finding import FindingTerms, ModelRef
from clinical.risk import RiskPolicy
from model_runtime.json_fields import Faults, Fields, is_whole, loads
from model_runtime.transforms import ImageSpec, image_spec

SCHEMA = 1
BATCH = "batch"
DTYPES = ("float64", "float32", "float16", "int64", "int32", "uint16", "uint8", "bool")
MODEL_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
VERSION = re.compile(r"\d+\.\d+\.\d+")
MAX_MANIFEST_BYTES = 4 << 20


class ManifestFault(Fault):
    """The manifest is not what schema 1 says. problems: one `path: expected ...` for each fault."""

    def __init__(self, model: str, problems: tuple[str, ...]) -> None:
        super().__init__(f"the manifest of model {model} is not valid: " + "; ".join(problems))
        self.problems = problems


class Task(StrEnum):
    """What a model does, which decides what its manifest must hold."""

    SEGMENTATION = "segmentation"
    RISK = "risk"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output. shape: axis lengths; the first axis may be the word `batch` (any length >= 1)."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class GoldenSpec:
    """The stored input and output. tolerance: largest absolute difference at load."""

    file: str
    sha256: str
    tolerance: float


@dataclass(frozen=True, slots=True)
class Thresholds:
    """mask: probability from which a pixel belongs to a lesion; report: peak from which a lesion is a finding.

    min_area_px: smallest area of a finding, in pixels of the source image.
    """

    mask: float
    report: float
    min_area_px: int


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of a risk model's input, in the manifest's order.

    unit: UCUM, or "" for none. minimum, maximum: the plausible range, inclusive, in that unit.
    required: False when the model reads NaN as "not known".
    """

    name: str
    label: str
    unit: str
    required: bool
    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Training:
    """Where the model comes from. versions: library -> version."""

    data: str
    licence: str
    data_sha256: str
    seed: int
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Segmentation:
    """What only segmentation models say."""

    image: ImageSpec
    terms: FindingTerms
    thresholds: Thresholds


@dataclass(frozen=True, slots=True)
class Risk:
    """What only risk models say."""

    features: tuple[Feature, ...]
    outcome: Coding
    policy: RiskPolicy


@dataclass(frozen=True, slots=True)
class Manifest:
    """One model. Exactly one of `segmentation` and `risk` is set, as `task` says.

    sha256: of the ONNX file. opset: operator domain -> version. metrics: as measured by the trainer.
    intra_op_threads: threads of one run on the CPU (1 for small models).
    """

    name: str
    version: str
    title: str
    task: Task
    intended_use: str
    not_for: str
    file: str
    sha256: str
    opset: Mapping[str, int]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    intra_op_threads: int
    golden: GoldenSpec
    training: Training
    metrics: Mapping[str, Any]
    card: str
    segmentation: Segmentation | None = None
    risk: Risk | None = None

    @property
    def ref(self) -> ModelRef:
        """Name, version and digest, as results carry them."""
        return ModelRef(self.name, self.version, self.sha256)

    def require_segmentation(self) -> Segmentation:
        """Return the segmentation part; Fault when this is another kind of model."""
        if self.segmentation is None:
            raise Fault(f"model {self.name} is not a segmentation model")
        return self.segmentation

    def require_risk(self) -> Risk:
        """Return the risk part; Fault when this is another kind of model."""
        if self.risk is None:
            raise Fault(f"model {self.name} is not a risk model")
        return self.risk


def load_manifest(path: Path) -> Manifest:
    """Read and check a manifest file. Raises ManifestFault naming every fault by its JSON path."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError:
        raise ManifestFault(path.parent.name, ("$: the file cannot be read",)) from None
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestFault(path.parent.name, (f"$: expected at most {MAX_MANIFEST_BYTES} bytes",))
    return parse_manifest(data, path.parent.name)


def parse_manifest(data: bytes, model: str) -> Manifest:
    """Check a manifest's bytes. model: the name for error texts. Raises ManifestFault."""
    try:
        document = loads(data)
    except (ValueError, RecursionError):
        raise ManifestFault(model, ("$: expected strict JSON in UTF-8 without duplicate keys or NaN",)) from None
    faults = Faults()
    manifest = _manifest(Fields(document, "$", faults))
    if not faults.found:
        _cross_check(manifest, faults)
    if faults.found:
        raise ManifestFault(model, tuple(faults.found))
    return manifest


def _manifest(top: Fields) -> Manifest:
    top.whole("schema", SCHEMA, SCHEMA)
    task = Task(top.one_of("task", tuple(Task)))
    manifest = Manifest(
        name=top.matching("name", MODEL_NAME, "a name of lower-case words joined by hyphens"),
        version=top.matching("version", VERSION, "a version like 1.2.3"),
        title=top.text("title"),
        task=task,
        intended_use=top.text("intended_use"),
        not_for=top.text("not_for"),
        file=top.file_name("file"),
        sha256=top.sha256("sha256"),
        opset=MappingProxyType(dict(top.table("opset", "whole numbers", is_whole))),
        inputs=tuple(_tensor(item) for item in top.children("inputs")),
        outputs=tuple(_tensor(item) for item in top.children("outputs")),
        intra_op_threads=top.whole("intra_op_threads", 1, 256),
        golden=_golden(top.child("golden")),
        training=_training(top.child("training")),
        metrics=MappingProxyType(dict(top.table("metrics", "JSON values", lambda _: True))),
        card=top.file_name("card"),
        segmentation=_segmentation(top) if task is Task.SEGMENTATION else None,
        risk=_risk(top) if task is Task.RISK else None,
    )
    top.end()
    return manifest


def _tensor(fields: Fields) -> TensorSpec:
    spec = TensorSpec(
        name=fields.text("name"),
        dtype=fields.one_of("dtype", DTYPES),
        shape=fields.items("shape", "axis lengths or, first, the word batch", _axis),
    )
    if BATCH in spec.shape[1:]:
        fields.faults.add(f"{fields.path}.shape", "expected the batch axis to be the first")
    fields.end()
    return spec


def _axis(value: object) -> bool:
    return value == BATCH or (isinstance(value, int) and is_whole(value) and value >= 1)


def _golden(fields: Fields) -> GoldenSpec:
    golden = GoldenSpec(fields.file_name("file"), fields.sha256("sha256"), fields.number("tolerance", 0.0, 0.01))
    fields.end()
    return golden


def _training(fields: Fields) -> Training:
    training = Training(
        data=fields.text("data"),
        licence=fields.text("licence"),
        data_sha256=fields.sha256("data_sha256"),
        seed=fields.whole("seed", 0, 2**63 - 1),
        versions=MappingProxyType(dict(fields.table("versions", "texts", lambda v: isinstance(v, str)))),
    )
    fields.end()
    return training


def _coding(fields: Fields) -> Coding:
    coding = Coding(fields.text("system"), fields.text("code"), fields.text("display"))
    fields.end()
    return coding


def _segmentation(top: Fields) -> Segmentation:
    segment = top.child("segment")
    thresholds = top.child("thresholds")
    part = Segmentation(
        image=_image(top),
        terms=FindingTerms(
            category=_coding(segment.child("category")),
            kind=_coding(segment.child("kind")),
            observation=_coding(segment.child("observation")),
            body_site=_coding(segment.child("body_site")),
            label=segment.text("label"),
        ),
        thresholds=Thresholds(
            mask=thresholds.number("mask", 0.0, 1.0),
            report=thresholds.number("report", 0.0, 1.0),
            min_area_px=thresholds.whole("min_area_px", 1, 1 << 24),
        ),
    )
    for fields in (segment, thresholds):
        fields.end()
    return part


def _image(top: Fields) -> ImageSpec:
    nothing: dict[str, Any] = {}
    node = top.take("image", "an object, not empty", lambda v: isinstance(v, dict) and bool(v), nothing)
    modalities = node.get("modalities", [])
    if not (isinstance(modalities, list) and all(isinstance(item, str) and item for item in modalities)):
        top.faults.add(f"{top.path}.image.modalities", "expected a list of texts")
    try:
        if node:
            return image_spec(node)
    except IncorrectInput as problem:
        top.faults.add(f"{top.path}.image", problem.message)
    return ImageSpec((), 1, 1, 0.0, 100.0, None)


def _risk(top: Fields) -> Risk:
    policy = top.child("policy")
    part = Risk(
        features=tuple(_feature(item) for item in top.children("features")),
        outcome=_coding(top.child("outcome")),
        policy=RiskPolicy(policy.number("report_from", 0.0, 1.0), policy.number("warn_from", 0.0, 1.0)),
    )
    policy.end()
    return part


def _feature(fields: Fields) -> Feature:
    feature = Feature(
        name=fields.text("name"),
        label=fields.text("label"),
        unit=fields.unit("unit"),
        required=fields.flag("required"),
        minimum=fields.number("minimum"),
        maximum=fields.number("maximum"),
    )
    fields.end()
    return feature


def _cross_check(manifest: Manifest, faults: Faults) -> None:
    """Look for keys that contradict each other."""
    for key, specs in (("inputs", manifest.inputs), ("outputs", manifest.outputs)):
        if len({spec.name for spec in specs}) != len(specs):
            faults.add(f"$.{key}", "expected different names")
    if manifest.risk is not None:
        _cross_check_risk(manifest, manifest.risk, faults)


def _cross_check_risk(manifest: Manifest, risk: Risk, faults: Faults) -> None:
    if len({feature.name for feature in risk.features}) != len(risk.features):
        faults.add("$.features", "expected different names")
    if len(manifest.inputs) != 1 or manifest.inputs[0].shape[1:] != (len(risk.features),):
        faults.add("$.inputs", "expected one input whose second axis is the number of features")
    for n, feature in enumerate(risk.features):
        if feature.minimum >= feature.maximum:
            faults.add(f"$.features[{n}].maximum", "expected more than minimum")
    if risk.policy.report_from > risk.policy.warn_from:
        faults.add("$.policy.warn_from", "expected at least report_from")
