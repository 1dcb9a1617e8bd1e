"""Can every check of the export gate, the model library and the splitter fail? Each is broken once, in a copy.

    python -m benchmarks.mutants [--only WORD ...]

A mutant is one piece of code replaced by a piece that checks less (mutants.toml). Its tests must fail; one that
survives is a check that nothing would miss, and makes the exit status 1.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).parents[1]
TABLE = Path(__file__).with_suffix(".toml")
TESTS = {
    "model_export/onnx": ["tests/model_export/test_gate.py"],
    "model_export/datasets/splits.py": ["tests/model_export/test_splits.py"],
    "model_runtime/slots.py": ["tests/model_runtime/test_lost_gpu.py", "tests/model_runtime/test_engine.py"],
    "model_runtime/drift.py": ["tests/model_runtime/test_drift.py"],
    "model_runtime/graphs.py": ["tests/model_runtime/test_manifest.py"],
    "model_runtime": ["tests/model_runtime/test_library.py", "tests/model_runtime/test_engine.py"],
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """check: what is no longer checked. old: found exactly once in the file; new: what stands there instead."""

    check: str
    file: str
    old: str
    new: str

    @property
    def tests(self) -> list[str]:
        """The tests that must notice."""
        return next(tests for start, tests in TESTS.items() if self.file.startswith(start))


def mutants() -> list[Mutant]:
    """Return the table of mutants.toml."""
    return [Mutant(**entry) for entry in tomllib.loads(TABLE.read_text())["mutant"]]


def main() -> int:
    """Try every mutant and say which survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=[""], nargs="+", help="words of checks")
    wanted = parser.parse_args().only
    survived = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        left_out = shutil.ignore_patterns(".venv", ".git", "__pycache__", "models", ".*_cache")
        shutil.copytree(TOP, copy, ignore=left_out)
        for mutant in mutants():
            if any(word in mutant.check for word in wanted):
                told = outcome(mutant, copy)
                survived += not told.startswith("noticed")
                print(f"{mutant.check}: {told}", flush=True)
    return 1 if survived else 0


def outcome(mutant: Mutant, copy: Path) -> str:
    """Return what the tests say of one mutant: "noticed" with how many failed, or what is wrong."""
    path = copy / mutant.file
    whole = path.read_text()
    if whole.count(mutant.old) != 1:
        return f"STALE: the code to replace stands {whole.count(mutant.old)} times in {mutant.file}"
    path.write_text(whole.replace(mutant.old, mutant.new))
    try:
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *mutant.tests],
            cwd=copy,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        path.write_text(whole)
    failed = re.search(r"(\d+) failed", run.stdout)
    return f"noticed by {failed[1]} tests" if failed else f"SURVIVED (pytest ended with {run.returncode})"


if __name__ == "__main__":
    sys.exit(main())
