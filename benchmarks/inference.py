"""How long the shipped models take on the CPU, through onnxruntime and through our engine.

    python -m benchmarks.inference [--models models] [--json]

A risk row must take at most 50 microseconds in onnxruntime (DESIGN section 9). Times are medians over many
calls, with the tenth and ninetieth percentile; on a shared machine only ratios within one run mean much.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from model_runtime.engine import LocalEngine
from model_runtime.library import Library
from model_runtime.manifest import Manifest
from model_runtime.session import onnxruntime

RISK_ROW_BUDGET_US = 50.0


def main() -> int:
    """Print one line per model and batch; return 1 when the risk row is over its budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path(__file__).parents[1] / "models")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # --json owns standard output
    library = Library(arguments.models)
    results = [row for name in library.names() for row in measure(library, name)]
    print(json.dumps(results) if arguments.json else table(results))
    over = [row for row in results if row["over_budget"]]
    for row in over:
        print(f"over budget: {row['model']} {row['median_us']} us a row; at most {RISK_ROW_BUDGET_US:g}")
    return 1 if over else 0


def measure(library: Library, name: str) -> list[dict[str, Any]]:
    """Return figures for batch 1 and 8, raw onnxruntime and our engine beside each other."""
    manifest = library.manifest(name)
    engine = LocalEngine(library)
    session = raw_session(library, manifest)
    rows = []
    for batch in (1, 8):
        inputs = inputs_of(library, manifest, batch)
        for way, call in (
            ("onnxruntime", lambda inputs=inputs: session.run(None, inputs)),
            ("engine", lambda inputs=inputs: engine.run(name, inputs)),
        ):
            rows.append(figures(name, manifest, batch, way, call))
    return rows


def raw_session(library: Library, manifest: Manifest) -> Any:
    """Open a session as anybody would, with the manifest's threads."""
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = manifest.intra_op_threads
    options.inter_op_num_threads = 1
    return ort.InferenceSession(library.model_bytes(manifest.name), options, providers=["CPUExecutionProvider"])


def inputs_of(library: Library, manifest: Manifest, batch: int) -> dict[str, Any]:
    """Return the golden input, repeated to the batch length."""
    golden = library.golden(manifest.name).inputs
    return {
        name: np.ascontiguousarray(np.resize(value, (batch, *value.shape[1:]))) for name, value in golden.items()
    }


def figures(model: str, manifest: Manifest, batch: int, way: str, call: Callable[[], object]) -> dict[str, Any]:
    """Time one call until two seconds are spent, at least 20 and at most 20,000 times."""
    for _ in range(3):
        call()
    times: list[float] = []
    end = time.perf_counter() + 2.0
    while (time.perf_counter() < end or len(times) < 20) and len(times) < 20_000:
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e6)
    low, median, high = np.percentile(times, (10, 50, 90))
    is_risk_row = manifest.risk is not None and batch == 1 and way == "onnxruntime"
    return {
        "model": f"{model} {manifest.version}",
        "batch": batch,
        "way": way,
        "median_us": round(float(median), 1),
        "p10_us": round(float(low), 1),
        "p90_us": round(float(high), 1),
        "calls": len(times),
        "threads": manifest.intra_op_threads,
        "over_budget": bool(is_risk_row and median > RISK_ROW_BUDGET_US),
    }


def table(results: list[dict[str, Any]]) -> str:
    """Return the figures as Markdown."""
    lines = ["| model | batch | way | median us | p10 | p90 | threads |", "|---|---|---|---|---|---|---|"]
    for row in results:
        cells = (row[k] for k in ("model", "batch", "way", "median_us", "p10_us", "p90_us", "threads"))
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([*lines, f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"])


if __name__ == "__main__":
    raise SystemExit(main())
