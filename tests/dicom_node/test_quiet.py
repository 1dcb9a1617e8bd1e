"""Whoever uses this room has pydicom silent, in whatever order the two are imported; storing needs neither."""

import subprocess
import sys

import pytest

IS_SILENT = "from pydicom import config as c; print({c.settings.reading_validation_mode} == {c.IGNORE})"


def said(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize("first", ["dicom_node", "pydicom, dicom_node", "dicom_node, pydicom", "dicom_node.grey"])
def test_pydicom_quotes_no_value_whichever_is_imported_first(first):
    assert said(f"import {first}\n{IS_SILENT}") == ["True"]


def test_the_room_and_its_scp_are_imported_without_pydicom_pynetdicom_and_numpy():
    heavy = {"numpy", "pydicom", "pynetdicom", "PIL"}
    assert said(f"import sys, dicom_node.scp; print(*({heavy} & set(sys.modules)))") == []
