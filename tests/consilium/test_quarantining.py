"""`consilium dicom quarantine`: what an operator sees, gives out, lets be tried again and removes."""

import errno
import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from pynetdicom.dsutils import encode
from sqlalchemy import select
from typer.testing import CliRunner

from clinical.errors import IncorrectInput, NotFound
from clinical.uids import uid_digest
from consilium import cli, doctor, quarantining
from consilium.settings import load_settings
from consilium.wiring import House, prepare_storage
from dicom_node.part10 import file_beginning
from dicom_node.syntaxes import GE_BIG_ENDIAN_PIXELS
from dicom_node.testing import CANARY_ID, cr_dataset, write_dicom
from record_store.instances import study_row
from record_store.quarantine_folder import Refusal
from record_store.tables import audit, instance

pytestmark = pytest.mark.usefixtures("no_settings", "kept_logging")
EXPLICIT = "1.2.840.10008.1.2.1"
DS = cr_dataset(np.arange(256, dtype=np.uint16).reshape(16, 16))
CR, UID = str(DS.SOPClassUID), str(DS.SOPInstanceUID)
REFUSAL = Refusal("C-STORE", "CT1", "CONSILIUM", "10.0.0.7", 0xA900, "malformed", uid_digest(UID), CR, EXPLICIT)


def received(ds=DS):
    """Return the file that C-STORE makes of a data set."""
    buffer = BytesIO()
    write_dicom(ds, buffer)
    whole = buffer.getvalue()
    data_set = whole[144 + int.from_bytes(whole[140:144], "little") :]
    return file_beginning(str(ds.SOPClassUID), str(ds.SOPInstanceUID), EXPLICIT) + data_set


GOOD = received()


@pytest.fixture
def house(tmp_path):
    settings = load_settings(data_dir=tmp_path / "data")
    prepare_storage(settings)
    one = House(settings)
    yield one
    one.db.dispose()


def run(house, *arguments):
    where = ["--data-dir", str(house.settings.data_dir)]
    return CliRunner().invoke(cli.app, ["dicom", "quarantine", *arguments, *where])


def put(house, data, refusal=REFUSAL):
    assert house.quarantine.keep_bytes(data, refusal)
    return house.quarantine.entries()[0].sha256[:12]


def acts(house):
    with house.db.read() as conn:
        rows = conn.execute(select(audit.c.action, audit.c.outcome, audit.c.actor, audit.c.subject)).all()
    return [tuple(row) for row in rows if row.action.startswith("quarantine-")]


def test_the_list_says_whose_when_and_why_and_names_no_patient(house):
    name = put(house, GOOD[:-1])
    said = run(house, "list", "--json").stdout
    (row,) = json.loads(said)
    assert (row["object"], row["kind"], row["from"], row["address"]) == (name, "refused", "CT1", "10.0.0.7")
    assert (row["status"], row["why"], row["times"], row["bytes"]) == ("0xA900", "malformed", 1, len(GOOD) - 1)
    shown = run(house, "show", name, "--json").stdout
    assert json.loads(shown)["transfer_syntax"] == EXPLICIT
    for text in (said, shown, run(house, "list").stdout, run(house, "show", name).stdout):
        assert CANARY_ID not in text
        assert UID not in text


def test_what_is_tried_again_and_taken_is_stored_from_its_sender_and_leaves(house):
    name = put(house, GOOD)
    released = run(house, "release", name, "--by", "kim")
    assert (released.exit_code, released.stderr) == (0, "stored; its study goes on as after any image\n")
    assert house.quarantine.entries() == []
    with house.db.read() as conn:
        (row,) = conn.execute(select(instance)).mappings().all()
        assert study_row(conn, str(DS.StudyInstanceUID)).state == "open"
    assert (row["calling_ae"], row["called_ae"]) == ("CT1", "CONSILIUM")
    assert house.blobs.get(row["sha256"]) == GOOD
    assert acts(house) == [("quarantine-released", "new", "operator:kim", uid_digest(UID))]
    assert list(house.staging.glob("*.part")) == []


def test_what_was_fetched_is_no_less_so_when_a_person_releases_it(house):
    run(house, "release", put(house, GOOD, replace(REFUSAL, fetched=True)), "--by", "kim")
    with house.db.read() as conn:
        assert conn.execute(select(instance.c.fetched)).scalars().all() == [1]


def test_what_is_here_already_leaves_and_what_has_other_bytes_stays(house):
    put(house, GOOD)
    run(house, "release", house.quarantine.entries()[0].sha256[:12])
    assert run(house, "release", put(house, GOOD)).exit_code == 0
    other = received(cr_dataset(np.zeros((16, 16), np.uint16)))
    assert run(house, "release", put(house, other)).exit_code == 1
    assert len(house.quarantine.entries()) == 1
    assert [outcome for _, outcome, *_ in acts(house)] == ["new", "same", "different"]


@pytest.mark.parametrize(
    ("data", "why"), [(GOOD[:-1], "the data set is malformed"), (b"<html>", "it is not a DICOM file")]
)
def test_what_is_still_malformed_is_refused_again_and_stays(house, data, why):
    released = run(house, "release", put(house, data))
    assert (released.exit_code, released.stderr) == (1, f"refused again: {why}\n")
    assert len(house.quarantine.entries()) == 1
    assert house.staging.is_dir()
    assert list(house.staging.iterdir()) == []
    with house.db.read() as conn:
        assert conn.execute(select(instance)).all() == []


def test_after_the_setting_is_corrected_an_object_in_a_private_syntax_is_taken(tmp_path, house):
    data = encode(DS, is_implicit_vr=True, is_little_endian=True)
    name = put(house, file_beginning(CR, UID, GE_BIG_ENDIAN_PIXELS) + data)
    for word in (None, "explicit", "implicit"):
        words = {GE_BIG_ENDIAN_PIXELS: word} if word else {}
        named = House(load_settings(data_dir=tmp_path / "data", dicom_private_syntaxes=words))
        assert quarantining.release(named, name, "kim").is_out is (word == "implicit")
        named.db.dispose()
    with house.db.read() as conn:
        (row,) = conn.execute(select(instance)).mappings().all()
    assert row["transfer_syntax_uid"] == GE_BIG_ENDIAN_PIXELS
    assert house.blobs.get(row["sha256"]).endswith(data)


def test_a_class_that_is_not_stored_here_does_not_come_in_by_the_back_door(house):
    ds = cr_dataset(np.zeros((16, 16), np.uint16), seed="b")
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    assert not quarantining.release(house, put(house, received(ds)), "kim").is_out
    with house.db.read() as conn:
        assert conn.execute(select(instance)).all() == []


def test_an_export_is_the_object_as_it_came_and_goes_over_no_file(house, tmp_path):
    name = put(house, GOOD[:-1])
    assert run(house, "export", name, "--to", str(tmp_path / "out.dcm"), "--by", "kim").exit_code == 0
    assert (tmp_path / "out.dcm").read_bytes() == GOOD[:-1]
    assert (tmp_path / "out.dcm").stat().st_mode & 0o777 == 0o600
    with pytest.raises(IncorrectInput):
        quarantining.export(house, name, tmp_path / "out.dcm", "kim")
    (tmp_path / "folder").mkdir()
    assert quarantining.export(house, name, tmp_path / "folder", "kim").read_bytes() == GOOD[:-1]
    assert acts(house) == [("quarantine-exported", "exported", "operator:kim", uid_digest(UID))] * 2


def test_an_export_that_fails_leaves_nothing_of_the_patient_and_holds_up_no_writer(house, tmp_path, monkeypatch):
    def fills_the_disk(_file, out):
        with house.db.write() as conn:  # an image that arrives meanwhile
            conn.execute(select(audit.c.row))
        out.write(GOOD[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(quarantining.shutil, "copyfileobj", fills_the_disk)
    name = put(house, GOOD[:-1])
    with pytest.raises(IncorrectInput, match="No space left"):
        quarantining.export(house, name, tmp_path / "out.dcm", "kim")
    assert not (tmp_path / "out.dcm").exists()


def test_a_removed_one_is_gone_and_the_audit_says_who(house):
    name = put(house, GOOD[:-1])
    assert run(house, "remove", name, "--by", "kim").exit_code == 0
    assert house.quarantine.entries() == []
    assert acts(house) == [("quarantine-removed", "removed", "operator:kim", uid_digest(UID))]


@pytest.mark.parametrize("act", [quarantining.release, quarantining.remove])
def test_nothing_is_done_to_what_is_not_there_or_by_nobody(house, act):
    name = put(house, GOOD)
    with pytest.raises(NotFound):
        act(house, "f" * 12, "kim")
    with pytest.raises(IncorrectInput):
        act(house, name, "kim & co")
    assert len(house.quarantine.entries()) == 1
    assert acts(house) == []


def test_doctor_says_that_something_lies_there_and_is_not_alarmed(house):
    put(house, GOOD[:-1])
    found = doctor.examine(house.settings)["quarantine"]
    assert not found.wrong
    assert found.text.startswith("1 objects were refused as malformed")


def test_the_folder_is_bounded_by_the_settings_and_lies_in_the_data_folder(tmp_path):
    small = House(
        load_settings(data_dir=tmp_path, dicom_quarantine_mb=1, dicom_quarantine_objects=2, low_water_mb=0)
    )
    assert not small.quarantine.keep_bytes(bytes((1 << 20) + 1), REFUSAL)
    for data in (b"1", b"2", b"3"):
        assert small.quarantine.keep_bytes(data, REFUSAL)
    assert len(list((tmp_path / "quarantine").glob("*.dcm"))) == 2
    assert not House(load_settings(data_dir=tmp_path, dicom_quarantine_mb=0)).quarantine.keep_bytes(b"4", REFUSAL)
    full = House(load_settings(data_dir=tmp_path, low_water_mb=1 << 40))
    assert not full.quarantine.keep_bytes(b"5", REFUSAL)
