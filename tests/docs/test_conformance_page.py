"""docs/conformance/cds-hooks.md has a line for every row, and every id on it is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from cds.conformance.checks import CHECKS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "conformance" / "cds-hooks.md").read_text(encoding="utf-8")
LINES = re.findall(r"^\| ([A-Z]?\d+b?) \| (.+) \|$", PAGE, re.M)
# Sections 1.1 to 1.9 of the reference, and the goal table without its row 34.
LENGTHS = {"T": 5, "D": 8, "C": 8, "H": 14, "P": 4, "A": 5, "K": 12, "F": 5, "J": 9}
ROWS = {f"{letter}{number}" for letter, length in LENGTHS.items() for number in range(1, length + 1)}
GOALS = {str(number) for number in range(1, 37) if number != 34} | {"8b"}
IDS = sorted(set(re.findall(r"`((?:tests|benchmarks)/[^`]+)`", PAGE)))


@cache
def functions_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_every_row_and_every_goal_has_one_line() -> None:
    names = [name for name, _ in LINES]
    assert sorted(names) == sorted(ROWS | GOALS)


@pytest.mark.parametrize(("name", "line"), LINES, ids=[name for name, _ in LINES])
def test_every_line_names_what_shows_it(name: str, line: str) -> None:
    assert re.search(r"`(tests|benchmarks)/", line)


@pytest.mark.parametrize("ident", IDS)
def test_every_id_is_there(ident: str) -> None:
    file, _, test = ident.partition("::")
    assert (ROOT / file).is_file()
    assert not test or test in functions_in(file)


def test_every_check_of_the_pack_stands_in_its_row_and_no_other() -> None:
    shown = {check for name, line in LINES if name in ROWS for check in re.findall(rf"\b{name}\.\d+\b", line)}
    assert shown == {check.id for check in CHECKS}


def test_no_check_has_the_id_of_another() -> None:
    ids = [check.id for check in CHECKS]
    assert len(ids) == len(set(ids))


def test_the_contrast_was_run_with_these_checks() -> None:
    report = (ROOT / "docs" / "conformance" / "healthchain-0.16.1.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| ([A-Z]\d+\.\d+) \|", report, re.M)) == {check.id for check in CHECKS}
