"""Metrics over several processes: each counts for itself, and what is said of drift is right over all of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TOP = Path(__file__).parents[2]
MANIFEST = (
    "from consilium import metrics\n"
    "from model_runtime.testing import manifest_of, risk_document\n"
    "age = {'edges': [40.0, 60.0], 'shares': [0.25, 0.5, 0.25], 'missing': 0.0}\n"
    "score = {'edges': [0.5], 'shares': [0.5, 0.5], 'missing': 0.0}\n"
    "manifest = manifest_of(risk_document(reference={'features': {'age': age}, 'score': score}))\n"
)
OBSERVE = MANIFEST + "drift = metrics.drift_observer()\n"


def run(code: str, folder: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=TOP,
        env={"PROMETHEUS_MULTIPROC_DIR": str(folder), "PATH": os.environ["PATH"]},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def cases(age: str, score: float, count: int, answer: str = "negative") -> str:
    return f"for _ in range({count}): drift.observe(manifest, {{'age': {age}}}, {score}, {answer!r})\n"


def exposed(folder: Path) -> dict[str, float]:
    text = run(MANIFEST + "print(metrics.exposition([manifest]).decode())", folder)
    lines = (line.rpartition(" ") for line in text.splitlines() if line.startswith("consilium_model_"))
    return {name: float(value) for name, _, value in lines}


LABELS = 'model="diabetes-risk",version="0.1.0"'


def test_the_index_is_that_of_all_processes_together_and_of_none_alone(tmp_path: Path) -> None:
    # The first process saw only the young, the second everybody else: each alone has drifted, both have not.
    run(OBSERVE + cases("30.0", 0.1, 100) + cases("50.0", 0.9, 100), tmp_path)
    run(OBSERVE + cases("50.0", 0.9, 100) + cases("70.0", 0.1, 100, "unsure"), tmp_path)
    found = exposed(tmp_path)
    assert found[f'consilium_model_input_total{{bin="40..60",feature="age",{LABELS}}}'] == 200
    assert found['consilium_model_input_psi{feature="age",model="diabetes-risk",version="0.1.0"}'] == 0.0
    assert found[f"consilium_model_score_psi{{{LABELS}}}"] == 0.0
    assert found[f'consilium_model_answers_total{{answer="unsure",{LABELS}}}'] == 100


def test_what_is_missing_and_what_moved_is_seen(tmp_path: Path) -> None:
    run(OBSERVE + cases("70.0", 0.9, 150) + cases("float('nan')", 0.9, 50), tmp_path)
    found = exposed(tmp_path)
    assert found[f'consilium_model_input_missing_ratio{{feature="age",{LABELS}}}'] == 0.25
    assert found[f'consilium_model_input_psi{{feature="age",{LABELS}}}'] > 0.25
    assert found[f"consilium_model_score_psi{{{LABELS}}}"] > 0.25


def test_few_cases_are_counted_and_no_index_is_given(tmp_path: Path) -> None:
    run(OBSERVE + cases("30.0", 0.9, 3), tmp_path)
    found = exposed(tmp_path)
    assert found[f'consilium_model_input_total{{bin="<40",feature="age",{LABELS}}}'] == 3
    assert not [name for name in found if "psi" in name]


def test_what_no_manifest_here_describes_is_counted_and_not_judged(tmp_path: Path) -> None:
    run(OBSERVE + cases("30.0", 0.9, 300), tmp_path)
    text = run(MANIFEST + "print(metrics.exposition().decode())", tmp_path)
    assert "consilium_model_input_total{" in text
    assert "consilium_model_input_psi{" not in text
