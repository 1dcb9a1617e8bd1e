"""`consilium dicom check`: what an archive takes, in words, and an exit code for scripts."""

import json
import sys
from pathlib import Path

import pytest
from pydicom.uid import SecondaryCaptureImageStorage, SegmentationStorage

from consilium import cli, doctor
from consilium.settings import load_settings
from dicom_node.testing import listening_ae

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_settings", "kept_logging")]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path):
    def call(port: int, *more: str, name: str = "main", **settings: object) -> tuple[int, str]:
        archive = {"name": "main", "host": "127.0.0.1", "port": port, "ae_title": "PACS"} | settings
        monkeypatch.setenv("CONSILIUM_PACS", json.dumps([archive]))
        arguments = ["consilium", "dicom", "check", name, "--data-dir", str(tmp_path), *more]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capfd.readouterr()
        return int(ended.value.code or 0), shown.out + shown.err

    return call


def test_an_archive_that_takes_all_results_ends_with_zero(check) -> None:
    with listening_ae() as peer:
        code, said = check(peer.port)
    assert code == 0
    assert "association accepted, C-ECHO answered" in said
    assert "SR: taken" in said
    assert "Segmentation Storage" in said
    assert "Explicit VR Little Endian yes, Implicit VR Little Endian yes, RLE Lossless no" in said
    assert "Storage commitment: not offered" in said


def test_a_refused_class_ends_with_one_and_says_what_would_be_taken(check) -> None:
    with listening_ae(sop_classes=[SegmentationStorage, SecondaryCaptureImageStorage]) as peer:
        code, said = check(peer.port)
        values = json.loads(check(peer.port, "--json")[1])
    assert code == 1
    assert "SR: refused; SC is taken and says the same" in said
    assert values["kinds"]["SR"] == {"taken": False, "sent": True, "instead": "SC"}
    assert (values["usable"], values["echo"]) == (False, 0)


def test_only_the_kinds_that_this_archive_gets_decide(check) -> None:
    with listening_ae(sop_classes=[SegmentationStorage]) as peer:
        assert check(peer.port, results=["SEG"])[0] == 0
        code, said = check(peer.port, results=["SEG"], commitment=True)
    assert code == 1
    assert "storage commitment is asked for in CONSILIUM_PACS and not offered by the archive" in said


def test_a_name_that_no_archive_has_and_an_archive_that_is_not_there(check) -> None:
    code, said = check(1, name="other")
    assert (code, said) == (1, "consilium: no archive of CONSILIUM_PACS has this name; there are: main\n")
    assert check(1) == (1, "main: no connection\n")


@pytest.mark.parametrize(("calling", "noted"), [({}, False), ({"PACS": []}, False), ({"CT1": []}, True)])
def test_the_doctor_notes_an_archive_that_could_not_answer(tmp_path: Path, calling, noted) -> None:
    archive = {"name": "main", "host": "127.0.0.1", "port": 104, "ae_title": "PACS", "commitment": True}
    settings = load_settings(data_dir=tmp_path, pacs=[archive], calling_aes=calling)
    said = doctor._settings(settings)
    assert ("main may not answer about storage commitment" in said.text) is noted
    assert not said.wrong
