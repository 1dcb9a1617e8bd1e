"""docs/security-dicom.md: its commands work as they stand, and its reasons are those that the code gives."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dicom_node import tls
from dicom_node.callers import Callers, Refusal
from dicom_node.negotiation import NotAccepted
from dicom_node.tls import Credentials, TlsContexts

PAGE = (Path(__file__).parents[2] / "docs" / "security-dicom.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"```bash\n(.*?)```", PAGE, re.S)


def bash(command: str, folder: Path) -> str:
    """Run a command of the page and return what it printed; it has to end well."""
    ended = subprocess.run(
        ["bash", "-euc", command], cwd=folder, capture_output=True, text=True, timeout=110, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_every_reason_is_on_the_page_and_no_other() -> None:
    part = PAGE[PAGE.index("## Who may call") : PAGE.index("## Pseudonyms")]
    documented = set(re.findall(r"^\| `([^`]+)` \|", part, re.M))
    given = set(re.findall(r'return "([^"]+)"', inspect.getsource(tls.why_failed)))
    assert documented == given | set(tls.NOT_BELIEVED.values()) | {str(one) for one in Refusal}


def test_every_reason_why_a_context_is_not_accepted_is_on_the_page_with_its_setting() -> None:
    for one in NotAccepted:
        why, _, setting = one.partition(": ")
        (row,) = re.findall(rf"^\| {re.escape(why)} \|(.*)\|$", PAGE, re.M)
        assert setting in row


@pytest.mark.slow
def test_the_openssl_commands_make_certificates_with_which_the_node_can_be_called(tmp_path) -> None:
    make, _export, _echo, fingerprint = COMMANDS
    for command in (make, fingerprint):
        ended = subprocess.run(
            ["bash", "-euc", command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
    shown = ended.stdout.strip().partition("=")[2]
    Callers({"CT1": [f"sha256:{shown}"]})
    files = Credentials(tmp_path / "consilium.pem", tmp_path / "consilium.key", tmp_path / "ca.pem")
    TlsContexts(files, server=True)
    TlsContexts(files, server=False)


@contextmanager
def dicom_process(folder: Path, environ: dict[str, str]) -> Iterator[int]:
    """Run `consilium dicom` in a folder and yield its port."""
    told, telling = os.pipe()
    command = [sys.executable, "-m", "consilium", "dicom"]
    environ = {**os.environ, **environ, "CONSILIUM_STATUS_FD": str(telling)}
    environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    with (
        open(told, encoding="utf-8") as reports,  # noqa: PTH123 - a descriptor
        subprocess.Popen(command, cwd=folder, env=environ, pass_fds=[telling]) as process,
    ):
        os.close(telling)
        try:
            line = reports.readline()
            assert line, "it did not start"
            yield int(json.loads(line)["port"])
        finally:
            process.terminate()


@pytest.mark.slow
def test_a_node_with_the_settings_of_the_page_answers_the_echo_of_the_page(tmp_path) -> None:
    if shutil.which("echoscu") is None:
        pytest.skip("echoscu is not installed")
    make, export, echo, _fingerprint = COMMANDS
    bash(make, tmp_path)
    named = {name: value.strip("'") for name, value in re.findall(r"(CONSILIUM_\w+)=('[^']*'|\S+)", export)}
    environ = named | {"CONSILIUM_DICOM_TLS_PORT": "0", "CONSILIUM_DICOM_PLAIN": "0"}
    with dicom_process(tmp_path, environ) as port:
        command = echo.replace("2762", str(port))
        ended = subprocess.run(
            ["bash", "-euc", command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
    assert ended.returncode == 0, ended.stdout + ended.stderr
