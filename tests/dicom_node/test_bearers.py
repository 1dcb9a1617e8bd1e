"""A proper release says that the sender has sent what it had; an abort says that it has not."""

import shutil
import subprocess

import numpy as np
import pytest

from dicom_node.bearers import Bearers, BearersEnd
from dicom_node.testing import cr_dataset, write_dicom

PIXELS = np.arange(256, dtype=np.uint16).reshape(16, 16)


def test_a_study_of_two_associations_is_told_of_when_the_last_one_is_over() -> None:
    told = []
    bearers = Bearers(told.append)
    bearers.brings("first", "1.2")
    bearers.brings("second", "1.2")
    bearers.brings("second", "1.3")
    bearers.ends("first", "A", released=True)
    assert told == []
    bearers.ends("second", "B", released=True)
    assert told == [BearersEnd("B", frozenset(("1.2", "1.3")), released=True)]


def test_who_breaks_off_is_told_of_at_once_and_only_once() -> None:
    told = []
    bearers = Bearers(told.append)
    for one in ("first", "second"):
        bearers.brings(one, "1.2")
    bearers.ends("first", "A", released=False)
    bearers.ends("first", "A", released=False)
    bearers.ends("an echo", "A", released=True)
    assert told == [BearersEnd("A", frozenset(("1.2",)), released=False)]


@pytest.mark.slow
@pytest.mark.parametrize(("option", "released"), [("--required", True), ("--abort", False)])
def test_dcmtk_releases_or_aborts_after_its_objects_and_the_node_tells_which(
    node, tmp_path, option, released
) -> None:
    program = shutil.which("storescu") or pytest.skip("storescu is not on this machine")
    node.start()
    files = [
        write_dicom(cr_dataset(PIXELS, seed=f"{n}", StudyInstanceUID="1.2.3"), tmp_path / f"{n}.dcm") for n in "ab"
    ]
    command = [program, option, "-xe", "-aet", "XRAY", "-aec", "CONSILIUM", "127.0.0.1", str(node.port)]
    subprocess.run([*command, *map(str, files)], check=False, capture_output=True, timeout=60)
    node.scp.stop()  # waits for the association's own thread
    assert node.ends == [BearersEnd("XRAY", frozenset(("1.2.3",)), released=released)]
