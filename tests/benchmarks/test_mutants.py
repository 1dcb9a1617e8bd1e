"""The mutants fit the code: each piece that is replaced stands there once, and its tests exist."""

from pathlib import Path

import pytest

from benchmarks.mutants import mutants

TOP = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.check)
def test_the_code_that_a_mutant_replaces_stands_once_and_its_tests_are_there(mutant):
    assert (TOP / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.old != mutant.new
    assert all((TOP / test).is_file() for test in mutant.tests)
