"""docs/integrators.md: its commands and options exist, its messages are legal, its addresses are served."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer.main

from cds.conformance.checks import CHECKS
from cds.wire_schema import NAMES
from cds.wire_schema.testing import problems
from consilium.cli import app

PAGE = (Path(__file__).parents[2] / "docs" / "integrators.md").read_text(encoding="utf-8")
OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(app).commands["cds"].commands
LINES = re.findall(r"^\.venv/bin/consilium cds (.+)$", PAGE, re.M)
MESSAGES = [json.loads(text) for text in re.findall(r"```json\n(.+?)```", PAGE, re.S)]


@pytest.mark.parametrize("line", LINES)
def test_every_command_is_there_with_its_options(line: str) -> None:
    name, *words = shlex.split(line, comments=True)
    known = {
        option for parameter in COMMANDS[name].params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    assert {word for word in words if word.startswith("--")} <= known


def test_every_command_is_on_the_operators_page() -> None:
    assert set(re.findall(r"^\| `consilium cds (\w+)` \|", OPERATIONS, re.M)) == set(COMMANDS)


def test_every_option_in_the_text_is_one() -> None:
    known = {
        option
        for command in COMMANDS.values()
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    assert set(re.findall(r"`(--[a-z-]+)", PAGE)) <= known


def test_every_message_is_legal() -> None:
    kinds = ["feedback" if "feedback" in message else "request" for message in MESSAGES]
    assert sorted(kinds) == ["feedback", "request"]
    for kind, message in zip(kinds, MESSAGES, strict=True):
        assert problems(kind, message) == []


def test_every_schema_is_named() -> None:
    assert all(re.search(rf"`{name}`|/{name}\.json", PAGE) for name in NAMES)


def test_the_number_of_checks_is_right() -> None:
    assert f"{len(CHECKS)} checks" in PAGE


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)", PAGE))
def test_every_link_leads_somewhere(target: str) -> None:
    assert (Path(__file__).parents[2] / "docs" / target).exists()
