"""What a server takes that nobody asks for anything, process by process.

    python -m benchmarks.at_rest --seconds 60 --database-url postgresql+psycopg://test@127.0.0.1/test

Processor time as a share of one core and how often a process woke (voluntary context switches), of each role's
process and of those it started. Linux only: read from /proc. Ends with one JSON object.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from consilium.demo.server import running_server
from consilium.supervise import children_state

SETTLE_S = 20.0  # models are warmed and what was loaded is left out of garbage collection
PARENT = "serve"
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Used:
    """What a process and its descendants have used so far."""

    seconds: float
    wakes: int


def used(pid: int, *, alone: bool = False) -> Used:
    """Return what a process and its threads have used, and those that it started unless it is meant alone."""
    seconds, wakes = 0.0, 0
    for one in (pid, *(() if alone else _descendants(pid))):
        fields = Path(f"/proc/{one}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) * TICK_S  # utime, stime: proc(5)
        for task in Path(f"/proc/{one}/task").iterdir():
            said = (task / "status").read_text(encoding="ascii")
            wakes += int(said.rpartition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return Used(seconds, wakes)


def _descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            yield int(child)
            yield from _descendants(int(child))


def at_rest(pids: dict[str, int], seconds: float) -> dict[str, dict[str, float]]:
    """Return for each role its share of a core in percent and its wakes a second, over so many seconds."""

    def now() -> dict[str, Used]:
        return {role: used(pid, alone=role == PARENT) for role, pid in pids.items()}

    before, began = now(), time.monotonic()
    time.sleep(seconds)
    after, took = now(), time.monotonic() - began
    return {
        role: {
            "percent_of_a_core": round(100 * (one.seconds - before[role].seconds) / took, 2),
            "wakes_per_s": round((one.wakes - before[role].wakes) / took, 1),
        }
        for role, one in after.items()
    }


def run(seconds: float, url: str | None) -> dict[str, object]:
    """Start a server, leave it alone and return the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = {"PATIENT_ISSUERS": '{"": "urn:consilium:bench"}'} | ({"DATABASE_URL": url} if url else {})
        with running_server(folder, settings) as server:
            time.sleep(SETTLE_S)
            state = children_state(folder / "data") or {}
            pids = {PARENT: server.pid} | {role: int(str(one["pid"])) for role, one in state.items()}
            found = at_rest(pids, seconds)
            ready_ms = server.started_ms
    return {"start_to_ready_ms": ready_ms, "load": os.getloadavg()[0], "at_rest": found}


def main() -> None:
    """Run and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--database-url")
    asked = parser.parse_args()
    print(json.dumps(run(asked.seconds, asked.database_url)))


if __name__ == "__main__":
    main()
