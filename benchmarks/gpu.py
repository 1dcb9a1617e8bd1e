"""Everything that needs a GPU, in one call: is CUDA really first, does it agree with the CPU, how fast is it.

    python -m benchmarks.gpu [--models models] [--json FILE]

For each shipped model: parity of CUDA and CPU (fp32, TF32 off) on golden and random inputs, decisions that
change side at the manifest's thresholds, and images or rows a second at batch 1, 2, 4, 8, 16 and 32 on both.
Without CUDA it says so in one line and exits with 3; with a difference above the tolerance, with 1.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.errors import Fault
from model_runtime.library import Library
from model_runtime.manifest import BATCH, Manifest
from model_runtime.session import Device, Session, onnxruntime

NO_CUDA = 3
TOLERANCE = 1e-4  # of a probability; CUDA convolutions sum in another order
BATCHES = (1, 2, 4, 8, 16, 32)
SECONDS_PER_FIGURE = 2.0
Arrays = dict[str, NDArray[Any]]


def main() -> int:
    """Run all checks; see the module's text for the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path(__file__).parents[1] / "models")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    library = Library(arguments.models)
    reason = why_no_cuda(library)
    if reason:
        print(f"no GPU on this machine: {reason}")
        return NO_CUDA
    results = [check(library, name) for name in library.names()]
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))
    for result in results:
        print(json.dumps(result))
    return 0 if all(result["agrees"] for result in results) else 1


def why_no_cuda(library: Library) -> str | None:
    """Return why a CUDA session cannot be made, None when it can. What is merely listed does not count."""
    if Device.CUDA.provider not in onnxruntime().get_available_providers():
        return "this onnxruntime has no CUDA provider (install consilium-cds[gpu])"
    name = library.names()[0]
    try:
        library.verify(name, Device.CUDA)
    except Fault as fault:
        return fault.message
    return None


def check(library: Library, name: str) -> dict[str, Any]:
    """Return parity and throughput of one model."""
    manifest = library.manifest(name)
    try:
        cuda = library.verify(name, Device.CUDA)
    except Fault as fault:
        return {"model": name, "agrees": False, "problem": fault.message}
    cpu = library.verify(name, Device.CPU)
    inputs = random_inputs(manifest, 8, seed=1)
    ours, theirs = cuda.run(inputs), cpu.run(inputs)
    difference = max(float(np.abs(ours[o] - theirs[o]).max()) for o in ours)
    return {
        "model": f"{name} {manifest.version}",
        "first_provider": Device.CUDA.provider,
        "difference": difference,
        "flips": sum(flips(manifest, ours[o], theirs[o]) for o in ours),
        "agrees": difference <= TOLERANCE,
        "cuda_per_s": {batch: per_second(cuda, manifest, batch) for batch in BATCHES},
        "cpu_per_s": {batch: per_second(cpu, manifest, batch) for batch in BATCHES[:4:3]},
    }


def random_inputs(manifest: Manifest, batch: int, seed: int) -> Arrays:
    """Return inputs within the plausible range of features, or 0..1 for images."""
    rng = np.random.default_rng(seed)
    if manifest.risk is not None:
        low, high = (np.array([getattr(f, end) for f in manifest.risk.features]) for end in ("minimum", "maximum"))
        return {manifest.inputs[0].name: rng.uniform(low, high, (batch, len(low)))}
    shapes = {
        spec.name: [batch if axis == BATCH else int(axis) for axis in spec.shape] for spec in manifest.inputs
    }
    return {spec.name: rng.random(shapes[spec.name]).astype(spec.dtype) for spec in manifest.inputs}


def flips(manifest: Manifest, ours: NDArray[Any], theirs: NDArray[Any]) -> int:
    """Return how many numbers lie on different sides of a threshold of the manifest."""
    if manifest.risk is not None:
        thresholds = (manifest.risk.policy.report_from, manifest.risk.policy.warn_from)
    else:
        limits = manifest.require_segmentation().thresholds
        thresholds = (limits.mask, limits.report)
    return sum(int(np.count_nonzero((ours >= t) != (theirs >= t))) for t in thresholds)


def per_second(session: Session, manifest: Manifest, batch: int) -> float:
    """Return rows or images a second at one batch length, after a warm-up of that shape."""
    inputs = random_inputs(manifest, batch, seed=batch)
    for _ in range(3):
        session.run(inputs)
    runs, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS_PER_FIGURE:
        session.run(inputs)
        runs += 1
    return round(runs * batch / (time.perf_counter() - start), 1)


if __name__ == "__main__":
    raise SystemExit(main())
