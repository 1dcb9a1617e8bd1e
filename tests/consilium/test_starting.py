"""A role by itself starts without the command line, and does what the command line would have done."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from consilium import __main__ as entry
from consilium.cli import app
from consilium.starting import OPTIONS, plain_role

pytestmark = pytest.mark.usefixtures("no_settings")


@pytest.fixture
def run(monkeypatch, capfd):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["consilium", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        gc.enable()
        shown = capfd.readouterr()
        return ended.value.code, shown.out + shown.err

    return call


def test_a_role_takes_the_options_that_the_command_line_lists():
    commands = typer.main.get_command(app).commands
    for role, options in OPTIONS.items():
        listed = {name: one.name for one in commands[role].params for name in one.opts}
        assert options == {name: to for name, to in listed.items() if name != "--help"}


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        (["dicom"], ("dicom", {})),
        (["web", "--http-port", "0"], ("web", {"http_port": 0})),
        (["hl7", "--hl7-port", "2575", "--data-dir", "x"], ("hl7", {"hl7_port": 2575, "data_dir": Path("x")})),
    ],
)
def test_a_role_with_its_options_is_read_without_the_command_line(arguments, read):
    assert plain_role(arguments) == read


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["migrate"],
        ["dicom", "--help"],
        ["dicom", "check", "pacs"],
        ["dicom", "--dicom-port"],
        ["dicom", "--dicom-port", "x"],
        ["dicom", "--dicom-port", "-1"],
        ["worker", "--http-port", "1"],
        ["web", "--data-dir=x"],
    ],
)
def test_anything_else_is_left_to_the_command_line(arguments):
    assert plain_role(arguments) is None


@pytest.mark.parametrize("role", OPTIONS)
def test_settings_that_are_not_usable_are_said_in_lines(run, tmp_path, role):
    (tmp_path / "file").write_text("")
    code, said = run(role, "--data-dir", tmp_path / "file" / "below")
    assert code == 78
    assert said.startswith("The settings are not usable:\n  CONSILIUM_DATA_DIR: expected a folder")


def test_other_commands_are_the_command_line_s(run):
    code, said = run("migrate", "--help")
    assert code == 0
    assert "Bring the database" in said


@pytest.mark.slow
def test_what_an_operator_can_mend_is_one_line_and_no_traceback(tmp_path):
    away = {"CONSILIUM_DATABASE_URL": "postgresql+psycopg://user:hunter2@127.0.0.1:1/none"}
    command = [sys.executable, "-m", "consilium", "dicom", "--data-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | away)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        "consilium: the database is away, locked or full",
    )
    assert "Traceback" not in done.stderr


# Runs a role as `serve` does, says what holds when it is ready, and ends it before it has told more than that.
READY = """
import gc, os, signal, sys, threading
reading, writing = os.pipe()
os.environ["CONSILIUM_STATUS_FD"] = str(writing)
role, write, ended = os.getpid(), os.write, threading.Event()
def write_and_wait(descriptor, said):
    count = write(descriptor, said)
    if descriptor == writing and os.getpid() == role:
        ended.wait()
    return count
os.write = write_and_wait
def tell():
    os.read(reading, 1000)
    loaded = {"alembic", "gdcm", "requests", "pydicom"} & set(sys.modules)
    print(gc.isenabled(), gc.get_freeze_count() > 10_000, *sorted(loaded))
    os.kill(role, signal.SIGTERM)
    ended.set()
threading.Thread(target=tell, daemon=True).start()
sys.argv[0] = "consilium"
from consilium.__main__ import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "loaded"),
    # web: threads that begin with different modules of pydicom would each get a half of it, and answer with 500
    [("web", ["pydicom"]), ("dicom", []), ("worker", ["pydicom"]), ("hl7", [])],
)
def test_a_role_that_is_ready_looks_for_garbage_beside_what_it_has_loaded_neither_codecs_nor_what_migrates(
    tmp_path, role, loaded
):
    environ = os.environ | {
        "CONSILIUM_DATA_DIR": str(tmp_path),
        "CONSILIUM_HTTP_PORT": "0",
        "CONSILIUM_DICOM_PORT": "0",
        "CONSILIUM_HL7_PORT": "0",
        "CONSILIUM_DICOM_RECEIVERS": "0",  # this process has a thread
    }
    command = [sys.executable, "-c", READY, role]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "True", *loaded]


@pytest.mark.slow
@pytest.mark.parametrize("role", ["web", "dicom", "worker", "hl7"])
def test_a_child_whose_parent_was_killed_before_it_began_makes_nothing_and_says_why(tmp_path, role):
    reading, writing = os.pipe()
    os.close(reading)
    environ = os.environ | {"CONSILIUM_STATUS_FD": str(writing), "CONSILIUM_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "consilium", role]
    done = subprocess.run(
        command, env=environ, pass_fds=[writing], capture_output=True, text=True, check=False, timeout=120
    )
    os.close(writing)
    said = "consilium: the `consilium serve` that started this process has ended\n"
    assert (done.returncode, done.stderr) == (1, said)
    assert not list(tmp_path.iterdir())


def test_the_command_line_looks_for_garbage_as_ever(monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["consilium", "--help"])
    with pytest.raises(SystemExit):
        entry.main()
    assert gc.isenabled()
    assert "Clinical decision support" in capfd.readouterr().out
