"""docs/operations.md names every metric, status, check and command that there is, and no other."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from clinical.errors import Category
from consilium.cli import app
from dicom_node.status import CANNOT_UNDERSTAND, DIMSE_STATUS, DUPLICATE_SOP_INSTANCE, SUCCESS

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")


def _rows(pattern: str) -> set[str]:
    return set(re.findall(pattern, PAGE, re.M))


def test_every_command_is_documented() -> None:
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    callbacks = {group.name: group.typer_instance.registered_callback for group in app.registered_groups}
    commands |= {name for name, one in callbacks.items() if one and one.invoke_without_command is True}
    assert _rows(r"^\| `consilium (\w+)` \|") == commands


def test_every_c_store_status_is_documented() -> None:
    answered = {DIMSE_STATUS[category] for category in Category if category in DIMSE_STATUS}
    answered |= {SUCCESS, DUPLICATE_SOP_INSTANCE, CANNOT_UNDERSTAND}
    assert {int(row, 16) for row in _rows(r"^\| (0x[0-9A-F]{4}) \|")} == answered


@pytest.mark.slow
def test_every_metric_is_documented_with_its_labels(tmp_path: Path) -> None:
    # In a process of its own: prometheus_client reads its folder when it is imported.
    code = (
        "from consilium import metrics\n"
        "for value in vars(metrics).values():\n"
        "    if hasattr(value, '_labelnames') and hasattr(value, '_name'):\n"
        "        suffix = '_total' if type(value).__name__ == 'Counter' else ''\n"
        "        print(value._name + suffix, ', '.join(value._labelnames), sep='|')\n"
        "for gauge in metrics.AT_SCRAPE:\n"
        "    print(gauge.name, ', '.join(gauge.labels), sep='|')\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PATH": ""},
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    exported = {tuple(line.split("|")) for line in out.splitlines()}
    documented = {
        (name, labels.strip()) for name, labels in re.findall(r"^\| `(consilium_\w+)` \|([^|]*)\|", PAGE, re.M)
    }
    assert documented == exported
