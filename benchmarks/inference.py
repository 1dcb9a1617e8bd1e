"""How long every graph of the shipped models takes on the CPU, and the document's own U-Net beside them.

    python -m benchmarks.inference [--models models] [--unet31m] [--trainer FOLDER] [--seconds 2] [--json]

One row or image at 1 and 2 threads and a batch of 8, in onnxruntime as anybody would call it and through our
engine (which checks inputs and results). `--trainer` adds what the trainer's own predict takes, from
FOLDER/<model>/trainer/<graph>.keras or .joblib: what `consilium-export train --keep-trainer` leaves. A risk row
must take at most 50 microseconds in onnxruntime (DESIGN section 9), the document's network hold at most 60 nodes
without Tile or Loop. On a shared machine only ratios within one run mean much.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import structlog

from benchmarks import trainer
from benchmarks.cases import Case, cpu_session, document_unet, shipped
from benchmarks.timing import machine, timed
from model_runtime.engine import LocalEngine
from model_runtime.library import Library

RISK_ROW_BUDGET_US = 50.0
THREADS = (1, 2)
BATCHES = (1, 8)
COLUMNS = ("model", "graph", "way", "threads", "batch", "per_row_us", "p10_us", "p90_us")


def main() -> int:
    """Print one line per graph, way, thread count and batch; return 1 when something is over its budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path(__file__).parents[1] / "models")
    parser.add_argument("--trainer", type=Path, action="append", default=[])
    parser.add_argument("--unet31m", action="store_true")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # --json owns standard output
    library = Library(arguments.models)
    cases = [*shipped(library), *([document_unet()] if arguments.unet31m else [])]
    rows = []
    for case in cases:
        engine = LocalEngine(library) if case.model.split()[0] in library.names() else None
        rows += measure(case, engine, arguments.trainer, arguments.seconds)
    print(json.dumps({"machine": machine(), "rows": rows}) if arguments.json else table(rows))
    over = [problem for case in cases for problem in over_budget(case, rows)]
    for problem in over:
        print(problem, file=sys.stderr)
    return 1 if over else 0


def measure(
    case: Case, engine: LocalEngine | None, trainers: list[Path], seconds: float
) -> Iterator[dict[str, Any]]:
    """Yield the figures of one graph."""
    for threads in THREADS:
        session = cpu_session(case.data, threads)
        for batch in BATCHES if engine is not None else BATCHES[:1]:
            inputs = case.batch(batch)
            yield figures(case, "onnxruntime", threads, batch, lambda s=session, i=inputs: s.run(None, i), seconds)
    for batch in BATCHES if engine is not None else ():
        name, inputs = case.model.split()[0], case.batch(batch)
        call = lambda i=inputs, n=name: engine.run(n, i, graph=case.graph)  # noqa: E731
        yield figures(case, "our engine", case.threads, batch, call, seconds)
    for way, predict in trainer.ways(case, trainers):
        for batch in BATCHES:
            inputs = case.batch(batch)
            yield figures(case, way, None, batch, lambda i=inputs, p=predict: p(i), seconds)


def figures(
    case: Case, way: str, threads: int | None, batch: int, call: Callable[[], object], seconds: float
) -> dict[str, Any]:
    """Time one way and return its figures; per_row_us is the median of a call over its rows."""
    took = timed(call, seconds=seconds)
    where = {"model": case.model, "graph": case.graph, "way": way, "threads": threads, "batch": batch}
    return where | {"per_row_us": round(took["median_us"] / batch, 1)} | took


def over_budget(case: Case, rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield what is too slow or too large."""
    for row in rows:
        mine = (row["model"], row["graph"], row["way"]) == (case.model, case.graph, "onnxruntime")
        if (
            case.is_risk
            and mine
            and row["batch"] == 1
            and row["threads"] == 1
            and row["per_row_us"] > RISK_ROW_BUDGET_US
        ):
            yield f"over budget: {case.title} takes {row['per_row_us']} us a row; at most {RISK_ROW_BUDGET_US:g}"
    if case.model.startswith("document"):
        kinds = node_kinds(case.data)
        if kinds.total() > 60 or kinds["Tile"] or kinds["Loop"]:
            held = f"{kinds.total()} nodes, {kinds['Tile']} Tile, {kinds['Loop']} Loop"
            yield f"over budget: {case.title} has {held}"


def node_kinds(data: bytes) -> Counter[str]:
    """Return how many nodes of each kind a file holds."""
    import onnx  # noqa: PLC0415 - only where the document's network is built

    return Counter(node.op_type for node in onnx.load_from_string(data).graph.node)


def table(rows: list[dict[str, Any]]) -> str:
    """Return the figures as Markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    lines += [
        "| " + " | ".join("" if row[key] is None else str(row[key]) for key in COLUMNS) + " |" for row in rows
    ]
    return "\n".join([*lines, machine()])


if __name__ == "__main__":
    raise SystemExit(main())
