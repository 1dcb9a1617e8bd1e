"""docs/operations.md names every metric, status, check and command that there is, and no other."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from clinical.errors import Category
from consilium.cli import app
from dicom_node.status import CANNOT_UNDERSTAND, DIMSE_STATUS, DUPLICATE_SOP_INSTANCE, SUCCESS

# A word of each command of a group in what the group says of itself.
HELP = {
    "fhir": ("files", "other servers", "keys", "index", "clients"),
    "audit": ("verify", "archive", "export"),
}
PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")


def _rows(pattern: str) -> set[str]:
    return set(re.findall(pattern, PAGE, re.M))


def test_every_command_is_documented() -> None:
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    callbacks = {group.name: group.typer_instance.registered_callback for group in app.registered_groups}
    commands |= {name for name, one in callbacks.items() if one and one.invoke_without_command is True}
    assert _rows(r"^\| `consilium (\w+)` \|") == commands


def _paths(of: typer.Typer, before: str = "") -> Iterator[str]:
    for command in of.registered_commands:
        yield before + str(command.name or command.callback.__name__)
    for group in of.registered_groups:
        yield from _paths(group.typer_instance, f"{before}{group.name} ")


def test_every_command_of_a_group_is_documented() -> None:
    written = re.findall(r"^\| `consilium ([^`|]+)", PAGE, re.M)
    missing = [path for path in _paths(app) if not any(f"{one} ".startswith(f"{path} ") for one in written)]
    assert missing == []
    known = {*_paths(app), *(group.name for group in app.registered_groups)}
    unknown = [one for one in written if not any(f"{one} ".startswith(f"{path} ") for path in known)]
    assert unknown == []


@pytest.mark.parametrize(("group", "words"), HELP.items())
def test_the_help_of_a_group_names_what_it_does(group: str, words: tuple[str, ...]) -> None:
    (instance,) = [one.typer_instance for one in app.registered_groups if one.name == group]
    callback = instance.registered_callback.callback
    for told in (str(instance.info.help), str(callback.__doc__)):
        assert [word for word in words if word not in told.lower()] == []


def test_every_c_store_status_is_documented() -> None:
    answered = {DIMSE_STATUS[category] for category in Category if category in DIMSE_STATUS}
    answered |= {SUCCESS, DUPLICATE_SOP_INSTANCE, CANNOT_UNDERSTAND}
    assert {int(row, 16) for row in _rows(r"^\| (0x[0-9A-F]{4}) \|")} == answered


@pytest.mark.slow
def test_every_metric_is_documented_with_its_labels(tmp_path: Path) -> None:
    # In a process of its own: prometheus_client reads its folder when it is imported.
    code = (
        "from consilium import drift_metrics, metrics\n"
        "for value in vars(metrics).values():\n"
        "    if hasattr(value, '_labelnames') and hasattr(value, '_name'):\n"
        "        suffix = '_total' if type(value).__name__ == 'Counter' else ''\n"
        "        print(value._name + suffix, ', '.join(value._labelnames), sep='|')\n"
        "for gauge in drift_metrics.AT_SCRAPE:\n"
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
