"""Everything that needs a GPU, in one call: is CUDA really first, does it agree with the CPU, how fast is it.

    python -m benchmarks.gpu [--models models] [--seconds 1] [--only GRAPH] [--json FILE]

For every graph of the shipped models and for the document's own U-Net: difference to the CPU and decisions that
change side in fp32 (TF32 off), tf32 and fp16; rows or images a second at batch 1, 8 and 32 by a plain run, with
inputs and outputs bound on the GPU, and as a CUDA graph; GPU memory of a session that ran a batch of 8; the CPU
beside it. Without CUDA it says why in one line and exits with 3; when fp32 differs by more than 1e-4 or moves a
decision, with 1.
"""

import argparse
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import Case, cpu_session, document_unet, shipped
from benchmarks.timing import machine, timed
from clinical.errors import Fault
from model_runtime.graphs import BATCH
from model_runtime.library import Library
from model_runtime.session import CUDA_OPTIONS, ORT_TYPES, Device, onnxruntime, runtime_errors

NO_CUDA = 3
TOLERANCE = 1e-4  # of a probability; CUDA convolutions sum in another order
BATCHES = (1, 8, 32)
PARITY_ROWS = 8
CPU_BATCHES = (1, 8)
Session = Any


@dataclass(frozen=True, slots=True)
class Precision:
    """How a graph is computed on the GPU. half: the file is cast to float16 first."""

    name: str
    tf32: bool
    half: bool = False


PRECISIONS = (
    Precision("fp32", tf32=False),
    Precision("tf32", tf32=True),
    Precision("fp16", tf32=False, half=True),
)


def main() -> int:
    """Run all checks; see the module's text for the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path(__file__).parents[1] / "models")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each figure")
    parser.add_argument("--only", help="a part of the title of the graphs to run")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    library = Library(arguments.models)
    reason = why_no_cuda(library)
    if reason:
        print(f"no GPU on this machine: {reason}")
        return NO_CUDA
    cases = [case for case in (*shipped(library), document_unet()) if (arguments.only or "") in case.title]
    results = []
    for case in cases:
        results.append(check(case, Device.CUDA, arguments.seconds))
        print(json.dumps(results[-1]), flush=True)
        if arguments.json:  # after each, so that what was measured outlives a limit on the time
            arguments.json.write_text(
                json.dumps({"gpu": gpu_name(), "machine": machine(), "graphs": results}, indent=1)
            )
    return 0 if all(result["agrees"] for result in results) else 1


def why_no_cuda(library: Library) -> str | None:
    """Return why a CUDA session cannot be made, None when it can. What is merely listed does not count."""
    if Device.CUDA.provider not in onnxruntime().get_available_providers():
        return "this onnxruntime has no CUDA provider (install consilium-cds[gpu])"
    name = library.names()[0]
    try:
        library.verify(name, Device.CUDA, next(iter(library.manifest(name).graphs)))
    except Fault as fault:
        return fault.message
    return None


def check(case: Case, device: Device, seconds: float) -> dict[str, Any]:
    """Return parity, throughput and memory of one graph in every precision, and the CPU's throughput."""
    wanted = cpu_session(case.data, case.threads).run(None, case.batch(PARITY_ROWS))
    precisions = {
        precision.name: in_precision(case, device, precision, wanted, seconds)
        for precision in PRECISIONS
        if case.precision == "float32" or precision.name == "fp32"
    }
    full = precisions["fp32"]
    return {
        "graph": case.title,
        "agrees": full.get("difference", np.inf) <= TOLERANCE and full.get("flips") == 0,
        "precisions": precisions,
        "cpu_per_s": {
            f"{threads} threads": {batch: cpu_per_second(case, threads, batch, seconds) for batch in CPU_BATCHES}
            for threads in (1, case.threads)
        },
    }


def in_precision(
    case: Case, device: Device, precision: Precision, wanted: list[NDArray[Any]], seconds: float
) -> dict[str, Any]:
    """Return what one precision gives; a way that does not work is told with the kind of its error."""
    before = used_mb()
    try:
        data = half(case.data) if precision.half else case.data
        session = open_session(data, device, tf32=precision.tf32)
        found = session.run(None, case.batch(PARITY_ROWS))
    except (*runtime_errors(), Fault) as problem:
        return {"problem": type(problem).__name__}
    result = {"first_provider": session.get_providers()[0], **parity(case, found, wanted)}
    for way, make in WAYS.items():
        result[way] = {}
        for batch in BATCHES:
            with_batch = partial(make, case, data, device, precision, batch)
            result[way][batch] = tried(lambda m=with_batch, b=batch: in_one_way(case, m, b, wanted, seconds))
    return result | {"gpu_mb": used_mb() - before}


def parity(case: Case, found: list[NDArray[Any]], wanted: list[NDArray[Any]]) -> dict[str, Any]:
    """Return the largest and mean difference and how many numbers lie on different sides of a threshold."""
    steps = [np.abs(f.astype(np.float64) - w.astype(np.float64)) for f, w in zip(found, wanted, strict=True)]
    pairs = list(zip(found, wanted, strict=True))
    flips = sum(int(np.count_nonzero((f >= t) != (w >= t))) for t in case.thresholds for f, w in pairs)
    return {
        "difference": float(max(step.max() for step in steps)),
        "mean_difference": float(np.mean([step.mean() for step in steps])),
        "flips": flips,
        "of": sum(w.size for w in wanted) * len(case.thresholds),
    }


def half(data: bytes) -> bytes:
    """Return the graph in float16, its inputs and outputs as they were."""
    import onnx  # noqa: PLC0415
    from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: PLC0415

    model = convert_float_to_float16(onnx.load_from_string(data), keep_io_types=True)
    return bytes(model.SerializeToString())


def open_session(data: bytes, device: Device, *, tf32: bool = False, cuda_graph: bool = False) -> Session:
    """Open a session on the device with our options. Raises Fault when it runs elsewhere."""
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    providers: list[Any] = ["CPUExecutionProvider"]
    if device is Device.CUDA and device.provider in ort.get_available_providers():
        ort.preload_dlls()
        wanted = CUDA_OPTIONS | {"use_tf32": str(int(tf32)), "enable_cuda_graph": str(int(cuda_graph))}
        providers.insert(0, (device.provider, wanted))
    session = ort.InferenceSession(data, options, providers=providers)
    if session.get_providers()[0] != device.provider:
        raise Fault("the session does not run where it was asked to")
    return session


@dataclass(frozen=True, slots=True)
class Runner:
    """One way to run a batch. outputs: what the last run gave, in main memory."""

    run: Callable[[], object]
    outputs: Callable[[], list[NDArray[Any]]]


def plain(case: Case, data: bytes, device: Device, precision: Precision, batch: int) -> Runner:
    """Run with arrays in main memory, as our engine does."""
    session, inputs = open_session(data, device, tf32=precision.tf32), case.batch(batch)
    return Runner(lambda: session.run(None, inputs), lambda: session.run(None, inputs))


def bound(case: Case, data: bytes, device: Device, precision: Precision, batch: int) -> Runner:
    """Run with inputs and outputs that lie on the device."""
    return _bound(open_session(data, device, tf32=precision.tf32), case.batch(batch), batch, device)


def graphed(case: Case, data: bytes, device: Device, precision: Precision, batch: int) -> Runner:
    """Run as one recorded CUDA graph: the first run records, shapes and addresses stay."""
    session = open_session(data, device, tf32=precision.tf32, cuda_graph=True)
    return _bound(session, case.batch(batch), batch, device)


def _bound(session: Session, inputs: Mapping[str, NDArray[Any]], batch: int, device: Device) -> Runner:
    make, place = onnxruntime().OrtValue, device.value
    binding = session.io_binding()
    kept = {name: make.ortvalue_from_numpy(values, place, 0) for name, values in inputs.items()}
    for name, value in kept.items():
        binding.bind_ortvalue_input(name, value)
    for node in session.get_outputs():
        shape = [batch if axis == BATCH else axis for axis in node.shape]
        kept[node.name] = make.ortvalue_from_shape_and_type(shape, np.dtype(ORT_TYPES[node.type]), place, 0)
        binding.bind_ortvalue_output(node.name, kept[node.name])
    names = [node.name for node in session.get_outputs()]
    return Runner(lambda: session.run_with_iobinding(binding), lambda: [kept[name].numpy() for name in names])


WAYS = {"plain": plain, "io binding": bound, "cuda graph": graphed}


def in_one_way(
    case: Case, make: Callable[[], Runner], batch: int, wanted: list[NDArray[Any]], seconds: float
) -> dict[str, float]:
    """Return rows or images a second, and at the batch of the comparison the difference to the CPU."""
    runner = make()
    result = {"per_s": per_second(runner.run, batch, seconds)}
    if batch == PARITY_ROWS:
        result["difference"] = parity(case, runner.outputs(), wanted)["difference"]
    return result


def tried(measure: Callable[[], dict[str, float]]) -> dict[str, float] | str:
    """Return figures, or the kind of error that the way gives on this graph."""
    try:
        return measure()
    except (*runtime_errors(), Fault) as problem:
        return type(problem).__name__


def per_second(call: Callable[[], object], batch: int, seconds: float) -> float:
    """Return rows or images a second."""
    return round(batch * 1e6 / timed(call, seconds=seconds)["median_us"], 1)


def cpu_per_second(case: Case, threads: int, batch: int, seconds: float) -> float:
    """Return rows or images a second on the CPU."""
    session, inputs = cpu_session(case.data, threads), case.batch(batch)
    return per_second(lambda: session.run(None, inputs), batch, seconds)


def used_mb() -> int:
    """Return the memory in use on the first GPU, in MB; 0 where nvidia-smi is not there."""
    return int(next(_smi("memory.used"), "0"))


def gpu_name() -> str:
    """Return the GPU, its driver and the CUDA that onnxruntime was built for."""
    name = next(_smi("name"), "unknown")
    return f"{name}, driver {next(_smi('driver_version'), 'unknown')}, onnxruntime {onnxruntime().__version__}"


def _smi(field: str) -> Iterator[str]:
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits"]
    try:
        yield from subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=20
        ).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return


if __name__ == "__main__":
    raise SystemExit(main())
