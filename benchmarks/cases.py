"""What the inference benchmarks run: every graph of the shipped models, and the document's own U-Net."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_runtime.library import Library
from model_runtime.manifest import Manifest
from model_runtime.session import onnxruntime
from model_runtime.tasks.lesion import Lesion
from model_runtime.tasks.risk import Risk
from model_runtime.tasks.segmentation import Segmentation

Arrays = Mapping[str, NDArray[Any]]
NOISE = 0.02  # of the golden rows' spread, so that a batch is not one image eight times


@dataclass(frozen=True, slots=True)
class Case:
    """One graph to time. rows: real inputs, the golden ones; thresholds: where its output decides."""

    model: str
    graph: str
    data: bytes
    rows: Arrays
    thresholds: tuple[float, ...]
    precision: str
    threads: int
    heavy: bool
    is_risk: bool = False

    @property
    def title(self) -> str:
        """Name for a table."""
        return f"{self.model} / {self.graph}"

    def batch(self, length: int) -> dict[str, NDArray[Any]]:
        """Return inputs of a batch length: the rows again and again, images with a little noise."""
        rng = np.random.default_rng(length)
        return {name: _lengthened(values, length, rng, noisy=self.heavy) for name, values in self.rows.items()}


def _lengthened(values: NDArray[Any], length: int, rng: np.random.Generator, *, noisy: bool) -> NDArray[Any]:
    made = np.resize(values, (length, *values.shape[1:]))
    if noisy and made.dtype.kind == "f" and made.ndim == 4:
        made = made + (NOISE * made.std() * rng.standard_normal(made.shape)).astype(made.dtype)
    return np.ascontiguousarray(made)


def shipped(library: Library) -> Iterator[Case]:
    """Yield every graph of every model that can be read."""
    for name in library.names():
        manifest = library.manifest(name)
        for graph, spec in manifest.graphs.items():
            yield Case(
                model=f"{name} {manifest.version}",
                graph=graph,
                data=library.model_bytes(name, graph),
                rows=library.golden(name, graph).inputs,
                thresholds=thresholds_of(manifest, graph),
                precision=spec.precision,
                threads=spec.intra_op_threads,
                heavy=spec.heavy,
                is_risk=manifest.get(Risk) is not None,
            )


def document_unet() -> Case:
    """Return the 31 M-parameter U-Net of the user's document, with random weights and a random image."""
    from benchmarks.unet31m import SIZE, build  # noqa: PLC0415 - needs onnx, which a server does not have

    image = np.random.default_rng(0).random((1, SIZE, SIZE, 3), dtype=np.float32)
    return Case(
        "document's U-Net, 31 M parameters",
        "256 x 256 x 3",
        build().SerializeToString(),
        {"image": image},
        (0.5,),
        "float32",
        2,
        heavy=True,
    )


def thresholds_of(manifest: Manifest, graph: str) -> tuple[float, ...]:
    """Return the thresholds at which a graph's probability decides, 0.5 where the manifest names none."""
    risk, segmentation, lesion = manifest.get(Risk), manifest.get(Segmentation), manifest.get(Lesion)
    if risk is not None:
        policies = [variant.policy for variant in risk.variants if variant.graph == graph]
        return tuple(limit for policy in policies for limit in (policy.report_from, policy.warn_from))
    if segmentation is not None:
        return (segmentation.thresholds.mask, segmentation.thresholds.report)
    if lesion is not None:
        return (lesion.outline.mask, lesion.outline.report)
    return (0.5,)


def cpu_session(data: bytes, threads: int) -> Any:
    """Open a CPU session as anybody would, with so many threads for one run."""
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
