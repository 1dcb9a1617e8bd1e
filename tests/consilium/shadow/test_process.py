"""The process that reads in shadow: it starts again when it has ended, ends with the worker, and stands apart."""

import os
import subprocess
import sys
from pathlib import Path

from consilium.shadow import owners, process
from consilium.shadow.process import ShadowProcess, command_of
from record_store import shadows

SLEEPS = [sys.executable, "-c", "import time; time.sleep(60)"]
ENDS = [sys.executable, "-c", "raise SystemExit(3)"]


def test_it_is_started_once_and_ended_with_the_worker() -> None:
    one = ShadowProcess(SLEEPS, os.environ)
    assert (one.watch(), one.watch()) == (1, 0)
    number = one._process.pid
    one.stop(5)
    one.stop(5)  # once more is nothing
    assert owners.is_gone(f"{owners.this_process().rpartition(':')[0]}:{number}")


def test_one_that_ends_early_is_started_again_after_a_growing_rest(monkeypatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(process, "monotonic", lambda: clock[0])
    one, starts = ShadowProcess(ENDS, os.environ), []
    for _ in range(3):
        while not one.watch():
            clock[0] += 0.5
        starts.append(clock[0])
        one._process.wait()
    assert starts[1] - starts[0] >= 2
    assert starts[2] - starts[1] >= 4


def test_what_belongs_to_the_worker_is_not_handed_on(tmp_path: Path) -> None:
    told = tmp_path / "environ"
    code = f"import os, pathlib; pathlib.Path({str(told)!r}).write_text(repr(sorted(os.environ)))"
    one = ShadowProcess([sys.executable, "-c", code], {"CONSILIUM_STATUS_FD": "9", "PATH": os.environ["PATH"]})
    one.watch()
    one._process.wait()
    assert "CONSILIUM_STATUS_FD" not in told.read_text()
    assert "PATH" in told.read_text()


def test_its_command_is_one_of_the_command_line() -> None:
    told = subprocess.run([*command_of(Path("data"))[:5], "--help"], capture_output=True, text=True, check=False)
    assert told.returncode == 0
    assert "--data-dir" in told.stdout


def test_what_a_process_that_is_gone_had_taken_is_free_at_once(shadowed) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = owners.this_process().rpartition(":")[0]
    shadowed.stored("1.2.3", "one")
    shadowed.stored("1.2.4", "two")
    with shadowed.db.write() as conn:
        assert shadows.take(conn, shadowed.manifest.ref, "1.2.3", f"{host}:{ended.pid}", shadowed.now)
        assert shadows.take(conn, shadowed.manifest.ref, "1.2.4", "elsewhere:1", shadowed.now)
    assert owners.free_what_is_left(shadowed.db, lambda: shadowed.now) == 1
    assert shadowed.reader().read(shadowed.model, "1.2.3") is not None
    assert shadowed.reader().read(shadowed.model, "1.2.4") is None
    assert not owners.is_gone(owners.this_process())
