"""docs/conformance/dicom.md has a line for every goal and case, and every id on it is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "conformance" / "dicom.md").read_text(encoding="utf-8")
LINES = re.findall(r"^\| ([NR]?\d+) \| ([^|]+) \| ([^|]+) \| (.*) \|$", PAGE, re.M)
# The goal table, the ten things that nobody has, the robustness cases.
ROWS = [str(number) for number in range(1, 36)]
ROWS += [f"N{number}" for number in range(1, 11)] + [f"R{number}" for number in range(1, 23)]
IDS = sorted(set(re.findall(r"`((?:tests|benchmarks)/[^`]+)`", PAGE)))


@cache
def functions_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_every_goal_and_every_case_has_one_line_in_order() -> None:
    assert [name for name, *_ in LINES] == ROWS


@pytest.mark.parametrize(("name", "_goal", "state", "shown"), LINES, ids=[name for name, *_ in LINES])
def test_a_line_names_what_shows_it_or_says_what_is_missing(name: str, _goal: str, state: str, shown: str) -> None:
    assert state in {"shown", "partly", "not reached", "not built"}
    if state in {"shown", "partly"}:
        assert re.search(r"`(tests|benchmarks)/", shown)
    if state == "partly":
        assert not shown.startswith("`"), "what is held, and what is missing"


@pytest.mark.parametrize("ident", IDS)
def test_every_id_is_there(ident: str) -> None:
    file, _, test = ident.partition("::")
    assert (ROOT / file).is_file()
    assert not test or test in functions_in(file)
