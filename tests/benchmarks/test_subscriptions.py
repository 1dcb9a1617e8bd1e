"""The count of the subscriptions benchmark can fail: what is lost or out of order is found."""

import pytest

from benchmarks.subscriptions import Count, Log, examine

TOLD = """resources o1 1
resources o1 2
resources o1 2
resources o1 gone
pings - -
pings - -
pings - -
topic o1 1
topic o1 2
"""


def counted(folder, told):
    (folder / "written").write_text("written o1 1\nwritten o1 2\nwritten o1 gone\n")
    (folder / "arrived").write_text(told)
    count = Count("sqlite", 0)
    examine(Log(folder / "written"), Log(folder / "arrived"), count)
    return count


def test_what_arrived_in_its_order_is_well_also_when_it_came_twice(tmp_path):
    count = counted(tmp_path, TOLD)
    assert count.well, count
    assert count.repeated == {"resources": 1, "pings": 0, "topic": 0}


@pytest.mark.parametrize(
    ("told", "lost", "disordered"),
    [
        (TOLD.replace("resources o1 gone\n", ""), 1, 0),
        (TOLD.replace("resources o1 1\nresources o1 2\n", "resources o1 2\nresources o1 1\n"), 0, 1),
        (TOLD.replace("pings - -\n", "", 1), 1, 0),
        (TOLD.replace("topic o1 2\n", ""), 1, 0),
        (TOLD.replace("topic o1 1\ntopic o1 2\n", "topic o1 2\ntopic o1 1\n"), 0, 1),
    ],
)
def test_what_is_lost_or_out_of_order_is_found(tmp_path, told, lost, disordered):
    count = counted(tmp_path, told)
    assert (len(count.lost), len(count.disordered)) == (lost, disordered)
