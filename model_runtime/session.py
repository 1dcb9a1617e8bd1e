"""One onnxruntime session: opened from verified bytes on the wanted device, with its shapes checked.

onnxruntime is imported when the first session is made and not before: processes that run no model
(dicom) never load it, and its absence is said in words.
"""

import os
import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.errors import Fault, IncorrectInput
from model_runtime.graphs import BATCH, GraphSpec, TensorSpec

Array = NDArray[Any]

ORT_TYPES = {
    "tensor(double)": "float64",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(uint16)": "uint16",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}
SILENT = 4  # ORT severity FATAL: its error lines quote tensor values
# How onnxruntime's CUDA provider words what CUDA and its libraries answer, and an arena that cannot grow.
DEVICE_FAILURE = re.compile(
    r"\b(CUDA|CUDNN|CUBLAS|CUFFT|CURAND) (failure|error)|cudaError|Failed to allocate memory"
)
CUDA_OPTIONS = {
    # The default doubles its arena without limit; a fixed search keeps the first call of a shape quick;
    # TF32 would move probabilities by 1e-3 and with them the golden check.
    "arena_extend_strategy": "kSameAsRequested",
    "cudnn_conv_algo_search": "HEURISTIC",
    "use_tf32": "0",
}


class DeviceLost(Fault):
    """The GPU failed while it ran a model; what it was asked may be asked of the CPU."""


class Device(StrEnum):
    """Where a session runs."""

    CPU = "cpu"
    CUDA = "cuda"

    @property
    def provider(self) -> str:
        """The execution provider's name in onnxruntime."""
        return "CUDAExecutionProvider" if self is Device.CUDA else "CPUExecutionProvider"


@cache
def onnxruntime() -> ModuleType:
    """Return the onnxruntime module. Raises Fault with the fix when none is installed."""
    # model_runtime/__init__ set this, but a library may have removed it since; it counts at import time.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime as module  # noqa: PLC0415 - see the module's text
    except ImportError:
        raise Fault(
            "onnxruntime is not installed: install consilium-cds[cpu], or consilium-cds[gpu] for CUDA"
        ) from None
    return module  # type: ignore[no-any-return]


@cache
def runtime_errors() -> tuple[type[Exception], ...]:
    """Return everything that onnxruntime raises: its errors have no common base but Exception."""
    state = onnxruntime().capi.onnxruntime_pybind11_state
    own = (value for value in vars(state).values() if isinstance(value, type) and issubclass(value, Exception))
    return (*own, RuntimeError, ValueError, MemoryError)


class Session:
    """One graph of a model, ready to run on one device."""

    def __init__(self, model: str, graph: GraphSpec, data: bytes, device: Device) -> None:
        """Open the session. model: for error texts. data: the ONNX file, whose digest the caller has checked.

        Raises Fault when onnxruntime refuses the file, when the file's inputs or outputs are not the
        manifest's, or when the session does not run on the wanted device: onnxruntime falls back to the
        CPU with a line in its log only, so what was asked for says nothing.
        """
        self.model = model
        self.graph = graph
        self.device = device
        self._inputs = {spec.name: spec for spec in graph.inputs}
        self._outputs = [spec.name for spec in graph.outputs]
        self._session = _open(model, graph, data, device)
        if self._session.get_providers()[0] != device.provider:
            raise Fault(
                f"model {model} does not run on {device}: {device.provider} could not be started",
                diagnostics="install consilium-cds[gpu] and a CUDA 13 driver, or permit the fall back to the CPU",
            )
        for kind, wanted, found in (
            ("inputs", graph.inputs, self._session.get_inputs()),
            ("outputs", graph.outputs, self._session.get_outputs()),
        ):
            if [_wire(spec) for spec in wanted] != [_wire_of(node) for node in found]:
                raise Fault(f"model {model}: the {kind} of {graph.file} are not those of its manifest")

    def check(self, inputs: Mapping[str, Array]) -> None:
        """Raise IncorrectInput naming the input whose presence, type or shape is not the manifest's."""
        for name in inputs:
            if name not in self._inputs:
                raise IncorrectInput(f"model {self.model} has no input {name!r}")
        lengths = set()
        for name, spec in self._inputs.items():
            if name not in inputs:
                raise IncorrectInput(f"model {self.model} needs the input {name!r}")
            _check_tensor(self.model, spec, inputs[name])
            if spec.shape[0] == BATCH:
                lengths.add(inputs[name].shape[0])
        if len(lengths) > 1:
            raise IncorrectInput(f"model {self.model}: the inputs differ in their batch length")

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once.

        Raises IncorrectInput as `check`; Fault when the run fails or a result is not finite, DeviceLost among
        them when it is the GPU that failed.
        """
        self.check(inputs)
        options = onnxruntime().RunOptions()
        options.log_severity_level = SILENT
        try:
            results = self._session.run(self._outputs, dict(inputs), options)
        except runtime_errors() as problem:
            # The text may quote values of the input: only its kind is passed on, and no chain with the text.
            text = f"model {self.model} failed while running ({type(problem).__name__})"
            if self.device is Device.CUDA and _is_of_the_device(problem):
                raise DeviceLost(text) from None
            raise Fault(text) from None
        for name, value in zip(self._outputs, results, strict=True):
            # min and max rather than isfinite: no temporary array of the size of an image.
            if value.dtype.kind == "f" and value.size and not np.isfinite((value.min(), value.max())).all():
                raise Fault(f"model {self.model}: output {name!r} is not a finite number")
        return dict(zip(self._outputs, results, strict=True))


def _open(model: str, graph: GraphSpec, data: bytes, device: Device) -> Any:  # noqa: ANN401 - onnxruntime is untyped
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = graph.intra_op_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = SILENT
    # Spinning threads burn the cores that web workers need, for nothing at these sizes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A model from bytes would read its external data from the working directory: point it nowhere, so
    # that the digest in the manifest covers every weight.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    providers: list[Any] = ["CPUExecutionProvider"]
    if device is Device.CUDA and device.provider in ort.get_available_providers():
        ort.preload_dlls()
        providers.insert(0, (device.provider, CUDA_OPTIONS))
    try:
        return ort.InferenceSession(data, options, providers=providers)
    except runtime_errors() as problem:
        raise Fault(f"onnxruntime refuses the file of model {model} ({type(problem).__name__})") from None


def _is_of_the_device(problem: Exception) -> bool:
    """Tell a failure of the GPU, its driver or its memory from one of the model or the input."""
    return type(problem).__name__ == "DeviceReset" or bool(DEVICE_FAILURE.search(str(problem)))


def _wire(spec: TensorSpec) -> tuple[str, str, tuple[int | str, ...]]:
    return (spec.name, spec.dtype, spec.shape)


def _wire_of(node: Any) -> tuple[str, str, tuple[int | str, ...]]:  # noqa: ANN401 - onnxruntime is untyped
    return (node.name, ORT_TYPES.get(node.type, node.type), tuple(node.shape))


def _check_tensor(model: str, spec: TensorSpec, value: Array) -> None:
    if value.dtype.name != spec.dtype:
        raise IncorrectInput(f"model {model}: input {spec.name!r} must be an array of {spec.dtype}")
    same = len(value.shape) == len(spec.shape) and all(
        have >= 1 if want == BATCH else have == want for have, want in zip(value.shape, spec.shape, strict=True)
    )
    if not same:
        shape = ", ".join(str(axis) for axis in spec.shape)
        raise IncorrectInput(f"model {model}: input {spec.name!r} must have the shape ({shape})")
