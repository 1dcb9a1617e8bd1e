"""What `models/<name>/manifest.json` says, schema 2 (docs/manifest.md), as frozen values.

Parsing is strict: unknown keys, missing keys and wrong types are all named by their JSON path in one error.
There are no defaults: segment codes, thresholds, feature order and thread counts are the model's to say.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from clinical.errors import Fault
from clinical.finding import ModelRef
from model_runtime.graphs import GraphSpec, read_graphs
from model_runtime.histogram import Histogram, read_histogram
from model_runtime.json_fields import Faults, Fields, loads
from model_runtime.source_attributes import ATTRIBUTES
from model_runtime.tasks import forecast, lesion, risk, segmentation
from model_runtime.tasks.forecast import Forecast
from model_runtime.tasks.lesion import Lesion
from model_runtime.tasks.risk import Risk
from model_runtime.tasks.segmentation import Segmentation

SCHEMA = 2
MODEL_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
VERSION = re.compile(r"\d+\.\d+\.\d+")
MANIFEST_FILE = "manifest.json"
MAX_MANIFEST_BYTES = 4 << 20
Part = Segmentation | Risk | Lesion | Forecast
P = TypeVar("P", Segmentation, Risk, Lesion, Forecast)


class ManifestFault(Fault):
    """The manifest is not what schema 2 says. problems: one `path: expected ...` for each fault."""

    def __init__(self, model: str, problems: tuple[str, ...]) -> None:
        super().__init__(f"the manifest of model {model} is not valid: " + "; ".join(problems))
        self.problems = problems


class Task(StrEnum):
    """What a model does, which decides what its manifest must hold."""

    SEGMENTATION = "segmentation"
    RISK = "risk"
    LESION = "lesion"
    FORECAST = "forecast"


# Task -> how its own keys are read, and how they are checked against the graphs.
_READ: Mapping[Task, Callable[[Fields], Part]] = {
    Task.SEGMENTATION: segmentation.read,
    Task.RISK: risk.read,
    Task.LESION: lesion.read,
    Task.FORECAST: forecast.read,
}


@dataclass(frozen=True, slots=True)
class DataSet:
    """A set that was trained on. subjects: patients; rows: what was learnt from; sha256: of all its files."""

    name: str
    citation: str
    licence: str
    subjects: int
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Training:
    """Where the model comes from. recipe: what was done, in words; minutes: how long it took, on two cores.

    versions: library -> version.
    """

    data: tuple[DataSet, ...]
    seed: int
    recipe: str
    minutes: float
    versions: Mapping[str, str]

    def was_on(self, sha256: str) -> bool:
        """Tell whether the model was trained on the set of this digest."""
        return any(one.sha256 == sha256 for one in self.data)


@dataclass(frozen=True, slots=True)
class Reference:
    """How inputs and scores were distributed in training. score: None where there is no one score."""

    features: Mapping[str, Histogram]
    score: Histogram | None


@dataclass(frozen=True, slots=True)
class ArraysSpec:
    """An .npz file of the folder that explains the model, covered by its digest."""

    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """One model. part: what its task adds.

    digest: sha256 of the manifest's own bytes; as the manifest holds the digests of all that the server acts on,
    it names the model with everything that belongs to it.
    notice: stands first on the card, where origin or licence restrict use. metrics: as measured by the trainer.
    transparency: an answer to each of the 31 source attributes (model_runtime.source_attributes).
    """

    name: str
    version: str
    digest: str
    title: str
    task: Task
    notice: str | None
    intended_use: str
    population: str
    not_for: str
    graphs: Mapping[str, GraphSpec]
    arrays: Mapping[str, ArraysSpec]
    training: Training
    metrics: Mapping[str, Any]
    reference: Reference
    transparency: Mapping[str, str]
    card: str
    part: Part

    @property
    def ref(self) -> ModelRef:
        """Name, version and digest, as results carry them."""
        return ModelRef(self.name, self.version, self.digest)

    @property
    def modalities(self) -> tuple[str, ...]:
        """DICOM modalities of the images that it reads; none for a model that reads no images."""
        return self.part.image.modalities if isinstance(self.part, Segmentation | Lesion) else ()

    def graph(self, name: str) -> GraphSpec:
        """Return a graph; Fault when the model has none of that name."""
        try:
            return self.graphs[name]
        except KeyError:
            raise Fault(f"model {self.name} has no graph named {name}") from None

    def get(self, kind: type[P]) -> P | None:
        """Return the task's part when it is of this kind, else None."""
        return self.part if isinstance(self.part, kind) else None

    def require(self, kind: type[P]) -> P:
        """Return the task's part; Fault when this is another kind of model."""
        part = self.get(kind)
        if part is None:
            raise Fault(f"model {self.name} is not a {kind.__name__.lower()} model")
        return part


def load_manifest(path: Path) -> Manifest:
    """Read and check a manifest file. Raises ManifestFault naming every fault by its JSON path."""
    return parse_manifest(read_manifest(path), path.parent.name)


def read_manifest(path: Path) -> bytes:
    """Return the bytes of a manifest file. Raises ManifestFault when it cannot be read or is too large."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError:
        raise ManifestFault(path.parent.name, ("$: the file cannot be read",)) from None
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestFault(path.parent.name, (f"$: expected at most {MAX_MANIFEST_BYTES} bytes",))
    return data


def parse_manifest(data: bytes, model: str) -> Manifest:
    """Check a manifest's bytes. model: the name for error texts. Raises ManifestFault."""
    try:
        document = loads(data)
    except (ValueError, RecursionError):
        raise ManifestFault(model, ("$: expected strict JSON in UTF-8 without duplicate keys or NaN",)) from None
    faults = Faults()
    manifest = _manifest(Fields(document, "$", faults), hashlib.sha256(data).hexdigest())
    if not faults.found:
        _cross_check(manifest, faults)
    if faults.found:
        raise ManifestFault(model, tuple(faults.found))
    return manifest


def _manifest(top: Fields, digest: str) -> Manifest:
    top.whole("schema", SCHEMA, SCHEMA)
    task = Task(top.one_of("task", tuple(Task)))
    manifest = Manifest(
        name=top.matching("name", MODEL_NAME, "a name of lower-case words joined by hyphens"),
        version=top.matching("version", VERSION, "a version like 1.2.3"),
        digest=digest,
        title=top.text("title"),
        task=task,
        notice=top.optional_text("notice"),
        intended_use=top.text("intended_use"),
        population=top.text("population"),
        not_for=top.text("not_for"),
        graphs=read_graphs(top),
        arrays=_arrays(top),
        training=_training(top.child("training")),
        metrics=MappingProxyType(dict(top.table("metrics", "JSON values", lambda _: True))),
        reference=_reference(top.child("reference")),
        transparency=_transparency(top.child("transparency")),
        card=top.file_name("card"),
        part=_READ[task](top),
    )
    top.end()
    return manifest


def _arrays(top: Fields) -> Mapping[str, ArraysSpec]:
    found = {}
    for name, fields in top.named_children("arrays", may_be_empty=True).items():
        found[name] = ArraysSpec(fields.file_name("file"), fields.sha256("sha256"))
        fields.end()
    return MappingProxyType(found)


def _training(fields: Fields) -> Training:
    training = Training(
        data=tuple(_data_set(item) for item in fields.children("data")),
        seed=fields.whole("seed", 0, 2**63 - 1),
        recipe=fields.text("recipe"),
        minutes=fields.number("minutes", 0.0),
        versions=MappingProxyType(dict(fields.table("versions", "texts", lambda v: isinstance(v, str)))),
    )
    fields.end()
    return training


def _data_set(fields: Fields) -> DataSet:
    found = DataSet(
        name=fields.text("name"),
        citation=fields.text("citation"),
        licence=fields.text("licence"),
        subjects=fields.whole("subjects", 0, 1 << 40),
        rows=fields.whole("rows", 0, 1 << 40),
        sha256=fields.sha256("sha256"),
    )
    fields.end()
    return found


def _reference(fields: Fields) -> Reference:
    histograms = fields.named_children("features", may_be_empty=True)
    score = fields.optional_child("score")
    reference = Reference(
        MappingProxyType({name: read_histogram(item) for name, item in histograms.items()}),
        None if score is None else read_histogram(score),
    )
    fields.end()
    return reference


def _transparency(fields: Fields) -> Mapping[str, str]:
    answers = MappingProxyType({attribute.key: fields.text(attribute.key) for attribute in ATTRIBUTES})
    fields.end()
    return answers


def _cross_check(manifest: Manifest, faults: Faults) -> None:
    """Look for keys that contradict each other."""
    match manifest.part:
        case Segmentation():
            segmentation.cross_check(manifest.part, manifest.graphs, faults)
        case Risk():
            risk.cross_check(manifest.part, manifest.graphs, faults)
        case Lesion():
            lesion.cross_check(manifest.part, manifest.graphs, faults)
        case Forecast():
            forecast.cross_check(manifest.part, manifest.graphs, faults)
