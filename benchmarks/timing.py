"""How long a call takes, and on what machine: for benchmarks that compare ways within one run."""

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP = 3
SLOW_US = 200_000.0  # a call that takes so long is timed a few times only


def timed(
    call: Callable[[], object], *, seconds: float = 2.0, at_least: int = 3, at_most: int = 20_000
) -> dict[str, Any]:
    """Return median, tenth and ninetieth percentile of a call in microseconds, after a warm-up."""
    for _ in range(WARM_UP):
        if _once(call) > SLOW_US:
            break
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (time.perf_counter() < end or len(times) < at_least) and len(times) < at_most:
        times.append(_once(call))
    low, median, high = np.percentile(times, (10, 50, 90))
    return {
        "median_us": round(float(median), 1),
        "p10_us": round(float(low), 1),
        "p90_us": round(float(high), 1),
        "calls": len(times),
    }


def _once(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e6


def machine() -> str:
    """Return processor, cores and load in one line, without the machine's name."""
    names = [
        line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")
    ]
    name = names[0] if names else platform.machine()
    return f"{name}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}"


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []
