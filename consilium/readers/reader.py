"""What a reader of images is: which images a kind of model takes, and how it reads one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from clinical.errors import Fault
from clinical.finding import Reading, ReadingMask
from dicom_node.pixels import DecodedImage
from dicom_node.series import Rule
from model_runtime.drift import DriftObserver
from model_runtime.engine import Array, Engine
from model_runtime.graphs import MODEL
from model_runtime.manifest import Manifest, Part

Resource = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Look:
    """One image to read, and with what.

    record: FHIR resources of the image's patient from our own store, read when they are asked for. now: the time
    that ages and look-backs are counted to. makeshift: the graphs that the CPU ran because the GPU was away.
    """

    manifest: Manifest
    decoded: DecodedImage
    engine: Engine
    timeout_s: float
    record: Callable[[], Sequence[Resource]]
    now: datetime
    drift: DriftObserver
    makeshift: set[str] = field(default_factory=set)

    def run(self, inputs: Mapping[str, Array], graph: str = MODEL) -> dict[str, Array]:
        """Run a graph of the model; errors as Engine.run."""
        outputs = self.engine.run(self.manifest.name, inputs, graph=graph, timeout_s=self.timeout_s)
        if outputs.degraded:
            self.makeshift.add(graph)
        return outputs


@dataclass(frozen=True, slots=True)
class Reader:
    """How one kind of model reads images.

    kind: the task's part of the manifest. rule: which images. read: the reading and the pixels of its findings.
    leaves_out: what becomes of an image that decodes to something it cannot read (Unsupported): left out with the
    reason, where a study ordinarily holds such images; else the job fails.
    """

    kind: type[Part]
    rule: Callable[[Manifest], Rule]
    read: Callable[[Look], tuple[Reading, ReadingMask]]
    leaves_out: bool


def choose(readers: Sequence[Reader], manifest: Manifest) -> Reader:
    """Return the reader of a model's kind; Fault when none of them reads it."""
    for reader in readers:
        if isinstance(manifest.part, reader.kind):
            return reader
    raise Fault(f"model {manifest.name} reads no images")
