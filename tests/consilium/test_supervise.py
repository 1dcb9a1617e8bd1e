"""Children of one parent: who is ready leaves the processors to those that are not."""

import json

import pytest

from consilium.supervise import await_the_others, wait_after


@pytest.fixture
def tell(tmp_path):
    (tmp_path / "run").mkdir()

    def write(**states):
        text = json.dumps({role: {"state": state} for role, state in states.items()})
        (tmp_path / "run" / "children.json").write_text(text, encoding="utf-8")

    return write


def test_who_is_ready_first_waits_for_those_that_start(tmp_path, tell):
    tell(web="ready", worker="starting", dicom="starting")
    later = iter([{"worker": "starting", "dicom": "ready"}, {"worker": "ready"}])
    await_the_others(tmp_path, 3600.0, lambda: tell(web="ready", **next(later)))
    assert list(later) == []


def test_nobody_is_waited_for_that_has_died_nor_for_ever_nor_without_a_parent(tmp_path, tell):
    await_the_others(tmp_path / "elsewhere", 3600.0, pytest.fail)
    tell(web="ready", worker="restarting")
    await_the_others(tmp_path, 3600.0, pytest.fail)
    tell(web="ready", worker="starting")
    await_the_others(tmp_path, 0.05, lambda: None)


def test_a_child_that_dies_all_night_is_started_again_and_ends_nobody_else():
    assert [wait_after(deaths) for deaths in (0, 1, 2, 3, 100, 10_000)] == [0.0, 0.1, 0.2, 0.4, 5.0, 5.0]
