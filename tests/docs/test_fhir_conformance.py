"""docs/conformance/fhir.md has a line for every goal and thing, and every id and command on it is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "conformance" / "fhir.md").read_text(encoding="utf-8")
# A goal may hold an escaped bar: value-quantity=6.5||%.
LINES = re.findall(r"^\| (N?\d+) \| ((?:[^|\\]|\\.)+) \| ([^|]+) \| (.*) \|$", PAGE, re.M)
# The goal table, and the things that none of the peers has.
ROWS = [str(number) for number in range(1, 36)] + [f"N{number}" for number in range(1, 12)]
IDS = sorted(set(re.findall(r"`((?:tests|benchmarks)/[^`]+)`", PAGE)))
COMMANDS = sorted(set(re.findall(r"`python -m (benchmarks\.[^`]+)`", PAGE)))
SHORT = re.findall(r"^\| [a-zA-Z0-9 ]+ \| .+ \| ([N0-9, ]+) \|$", PAGE.partition("## Falls short")[2], re.M)
STATES = {"shown", "partly", "not reached", "not built"}
FIGURE = r"\d (?:ms|us|s|messages|resources|requests|walks|versions)\b"


@cache
def functions_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def source_of(module: str) -> str:
    path = ROOT / module.replace(".", "/")
    file = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    return file.read_text(encoding="utf-8")


def test_every_goal_and_every_thing_has_one_line_in_order() -> None:
    assert [name for name, *_ in LINES] == ROWS


@pytest.mark.parametrize(("name", "_goal", "state", "shown"), LINES, ids=[name for name, *_ in LINES])
def test_a_line_names_what_shows_it_or_says_what_is_missing(name: str, _goal: str, state: str, shown: str) -> None:
    assert state in STATES
    if state in {"shown", "partly"}:
        assert re.search(r"`(tests|benchmarks)/", shown)
    if state == "partly":
        assert re.search(r"missing: |not run|, not over", shown), "what is held, and what is missing"
    if state == "not reached":
        assert not shown.startswith("`tests/"), "what was measured, or why it was not"


@pytest.mark.parametrize(("name", "_goal", "_state", "shown"), LINES, ids=[name for name, *_ in LINES])
def test_a_figure_names_its_command_and_the_circumstances(name: str, _goal: str, _state: str, shown: str) -> None:
    if re.search(FIGURE, shown):
        assert "`python -m benchmarks." in shown
    if re.search(r"\d (?:ms|us|s) (?:of|by|for)\b", shown):
        assert re.search(r"at load \d|quiet machine", shown)


@pytest.mark.parametrize("ident", IDS)
def test_every_id_is_there(ident: str) -> None:
    file, _, test = ident.partition("::")
    assert (ROOT / file).is_file()
    assert not test or test in functions_in(file)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_there_with_its_options(command: str) -> None:
    module, *options = command.split()
    source = source_of(module)
    assert all(f'"{option}"' in source for option in options if option.startswith("--"))


def test_what_is_not_shown_is_gathered_at_the_end() -> None:
    gathered = {name for rows in SHORT for name in rows.split(", ")}
    assert {name for name, _, state, _ in LINES if state != "shown"} <= gathered <= set(ROWS)
