"""Metrics over several processes: each counts for itself, and what is said of drift is right over all of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from consilium.metric_files import fold_dead, reading

pytestmark = pytest.mark.slow

TOP = Path(__file__).parents[2]
MANIFEST = (
    "from consilium import drift_metrics, metrics\n"
    "from model_runtime.testing import manifest_of, risk_document\n"
    "age = {'edges': [40.0, 60.0], 'shares': [0.25, 0.5, 0.25], 'missing': 0.0}\n"
    "score = {'edges': [0.5], 'shares': [0.5, 0.5], 'missing': 0.0}\n"
    "manifest = manifest_of(risk_document(reference={'features': {'age': age}, 'score': score}))\n"
)
OBSERVE = MANIFEST + "drift = drift_metrics.drift_observer()\n"


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
    text = run(MANIFEST + "print(drift_metrics.exposition([manifest]).decode())", folder)
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
    text = run(MANIFEST + "print(drift_metrics.exposition().decode())", tmp_path)
    assert "consilium_model_input_total{" in text
    assert "consilium_model_input_psi{" not in text


ALL_KINDS = (
    "from consilium import metrics\n"
    "def count(many):\n"
    "    metrics.HL7_MESSAGES.labels('ORU', 'taken').inc(many)\n"
    "    metrics.HL7_SECONDS.observe(many / 100)\n"
    "    metrics.RECEIVERS.set(many)\n"
    "    metrics.HL7_PEERS.inc()\n"
)
FOLD = "from pathlib import Path; from consilium.metric_files import fold_dead; fold_dead(Path({folder!r}))\n"


def lines(folder: Path) -> list[str]:
    text = run("from consilium import drift_metrics; print(drift_metrics.exposition().decode())", folder)
    return sorted(line for line in text.splitlines() if line.startswith(("consilium_hl7", "consilium_dicom_rec")))


def test_folding_the_files_of_the_dead_changes_no_sum_and_takes_away_who_is_counted_as_living(tmp_path) -> None:
    for many in (3, 1, 2):
        run(ALL_KINDS + f"count({many})", tmp_path)
    (tmp_path / "counter_4194304.db").touch()  # beyond what a process may be; killed while it made it
    run(FOLD.format(folder=str(tmp_path)), tmp_path)
    folded = {"counter_0.db", "histogram_0.db", "gauge_mostrecent_0.db", "lock"}
    assert {path.name for path in tmp_path.iterdir()} == folded
    before = lines(tmp_path)
    assert 'consilium_hl7_messages_total{kind="ORU",outcome="taken"} 6.0' in before
    assert 'consilium_hl7_seconds_bucket{le="0.025"} 2.0' in before
    assert "consilium_dicom_receivers 2.0" in before
    assert "consilium_hl7_peers 1.0" not in before
    for many in (5, 4):
        run(ALL_KINDS + f"count({many})", tmp_path)
    assert 'consilium_hl7_messages_total{kind="ORU",outcome="taken"} 15.0' in lines(tmp_path)
    run(FOLD.format(folder=str(tmp_path)), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == folded
    after = lines(tmp_path)
    assert 'consilium_hl7_messages_total{kind="ORU",outcome="taken"} 15.0' in after
    assert 'consilium_hl7_seconds_bucket{le="0.05"} 5.0' in after
    (total,) = (float(line.split()[1]) for line in after if line.startswith("consilium_hl7_seconds_sum"))
    assert total == pytest.approx(0.15)
    assert "consilium_dicom_receivers 4.0" in after


def test_a_kill_in_the_middle_of_a_fold_counts_nobody_twice(tmp_path) -> None:
    killed = (
        "import os, pathlib\n"
        "def replace(part, into):\n"
        "    os.replace(part, into)\n"
        "    if into.name == 'counter_0.db': os._exit(0)\n"
        "pathlib.Path.replace = replace\n"
    )
    for many, total in ((3, "3.0"), (1, "4.0"), (5, "9.0")):
        run(ALL_KINDS + f"count({many})", tmp_path)
        run(killed + FOLD.format(folder=str(tmp_path)), tmp_path)
        assert list(tmp_path.glob("counter_[1-9]*.db")), "killed before they were removed"
        assert f'consilium_hl7_messages_total{{kind="ORU",outcome="taken"}} {total}' in lines(tmp_path)
    run(FOLD.format(folder=str(tmp_path)), tmp_path)
    assert not list(tmp_path.glob("*_[1-9]*.db"))
    assert 'consilium_hl7_messages_total{kind="ORU",outcome="taken"} 9.0' in lines(tmp_path)


def test_what_a_living_process_counts_is_left_to_it(tmp_path) -> None:
    fold = FOLD.format(folder=str(tmp_path))
    run(ALL_KINDS + "count(1)\n" + fold + "count(2)", tmp_path)
    found = lines(tmp_path)
    assert 'consilium_hl7_messages_total{kind="ORU",outcome="taken"} 3.0' in found
    assert "consilium_hl7_peers 2.0" in found


def test_metrics_are_read_while_a_process_makes_its_file(tmp_path) -> None:
    run(ALL_KINDS + "count(3)", tmp_path)
    for kind in ("counter", "histogram", "gauge_mostrecent", "gauge_livesum"):
        (tmp_path / f"{kind}_{os.getpid()}.db").touch()
    assert 'consilium_hl7_messages_total{kind="ORU",outcome="taken"} 3.0' in lines(tmp_path)


def test_nothing_is_folded_while_somebody_reads(tmp_path) -> None:
    run(ALL_KINDS + "count(1)", tmp_path)
    there = sorted(tmp_path.glob("*.db"))
    with reading(tmp_path):
        fold_dead(tmp_path)
        assert sorted(tmp_path.glob("*.db")) == there
    fold_dead(tmp_path)
    assert not set(there) & set(tmp_path.glob("*.db"))


@pytest.mark.parametrize("locks", ["as over NFS", "not at all"])
def test_metrics_are_read_whatever_the_file_system_of_the_data_folder_knows_of_locks(tmp_path, locks) -> None:
    # Over NFS flock is a lock of bytes, as lockf asks for: to share it the file has to be open for reading.
    without = "from errno import ENOLCK\ndef no_locks(*_): raise OSError(ENOLCK, 'No locks available')\n"
    flock = "fcntl.lockf" if locks == "as over NFS" else "no_locks"
    text = run(
        f"import fcntl\n{without}fcntl.flock = {flock}\n{ALL_KINDS}count(3)\n"
        "from consilium import drift_metrics; print(drift_metrics.exposition().decode())",
        tmp_path,
    )
    assert 'consilium_hl7_messages_total{kind="ORU",outcome="taken"} 3.0' in text
