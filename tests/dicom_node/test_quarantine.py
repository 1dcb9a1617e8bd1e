"""What a Storage SCP refuses because it is malformed is set aside as it came, and is not served by anything."""

from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import ComputedRadiographyImageStorage
from pynetdicom import build_context
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import ModalityWorklistInformationFind
from sqlalchemy import select

from benchmarks.raw_peer import EXPLICIT, association, message, store_command
from clinical.errors import Busy
from clinical.uids import uid_digest
from dicom_node.service import Service
from dicom_node.testing import CANARY_ID, cr_dataset, send_files, write_dicom
from record_store.quarantine_folder import Quarantine, QuarantineBounds
from record_store.tables import audit, instance
from tests.dicom_node.conftest import NOW

pytestmark = pytest.mark.slow  # each starts a server
CR = str(ComputedRadiographyImageStorage)
PIXELS = np.arange(256, dtype=np.uint16).reshape(16, 16)
DS = cr_dataset(PIXELS)
UID = str(DS.SOPInstanceUID)
GOOD = encode(DS, is_implicit_vr=False, is_little_endian=True)
MALFORMED = "the data set is malformed"
TORN = GOOD[:-1]


@pytest.fixture
def quarantine(node):
    return Quarantine(node.folder / "quarantine", QuarantineBounds(), lambda: NOW)


@pytest.fixture
def keeping(node, quarantine):
    return node.start(set_aside=quarantine.keep)


def store(node, data, uid=UID):
    with association(node.port, {1: (CR, (EXPLICIT,))}) as peer:
        peer.send(message(1, store_command(CR, uid), data))
        return peer.read_status()


def test_a_torn_object_is_kept_as_it_came_and_its_note_says_who_sent_it_and_why(keeping, quarantine):
    assert store(keeping, TORN) == 0xA900
    (one,) = quarantine.entries()
    kept = quarantine.path(one).read_bytes()
    assert kept.endswith(TORN)
    assert dcmread(BytesIO(kept), stop_before_pixels=True).PatientID == CANARY_ID
    said = one.refusal
    assert (said.service, said.calling, said.called, said.address) == ("C-STORE", "RAW", "CONSILIUM", "127.0.0.1")
    assert (said.status, said.why, said.instance) == (0xA900, MALFORMED, uid_digest(UID))
    assert (said.sop_class, said.transfer_syntax) == (CR, EXPLICIT)
    assert keeping.parts() == []
    assert keeping.stored() == []


def test_what_was_asked_for_by_c_move_is_kept_as_such(keeping, quarantine):
    command = store_command(CR, UID) | {0x00001030: b"CONSILIUM "}
    with association(keeping.port, {1: (CR, (EXPLICIT,))}) as peer:
        peer.send(message(1, command, TORN))
        assert peer.read_status() == 0xA900
    assert [one.refusal.fetched for one in quarantine.entries()] == [True]


def test_an_object_that_is_not_what_its_command_says_is_kept(keeping, quarantine):
    assert store(keeping, GOOD, uid="1.2.3.4") == 0xA900
    (one,) = quarantine.entries()
    assert one.refusal.why == "the data set is not the instance that the command names"


def test_an_object_over_which_we_fail_is_kept_with_the_place_and_not_the_words_of_the_error(keeping, quarantine):
    keeping.faults["after-receive"] = ValueError(CANARY_ID)
    assert store(keeping, GOOD) == 0xC000
    (one,) = quarantine.entries()
    assert one.refusal.status == 0xC000
    assert one.refusal.why.startswith("ValueError at conftest.py:")
    assert CANARY_ID not in (keeping.folder / "quarantine" / f"{one.sha256}.json").read_text()


def test_a_good_object_and_its_second_bytes_are_not_kept_there(keeping, quarantine, tmp_path):
    path = write_dicom(DS, tmp_path / "good.dcm")
    other = write_dicom(cr_dataset(PIXELS, StudyDescription="corrected"), tmp_path / "other.dcm")
    assert send_files([path, path, other], keeping.port) == [0x0000, 0x0000, 0x0111]
    assert not (keeping.folder / "quarantine").exists()
    assert quarantine.entries() == []


def test_what_is_refused_for_want_of_room_is_no_object_in_quarantine(keeping, quarantine):
    keeping.faults["before-commit"] = Busy("the database is away")
    assert store(keeping, GOOD) == 0xA700
    assert quarantine.entries() == []


def test_what_is_sent_again_a_hundred_times_is_one_object(keeping, quarantine):
    with association(keeping.port, {1: (CR, (EXPLICIT,))}) as peer:
        for _ in range(100):
            peer.send(message(1, store_command(CR, UID), TORN))
            assert peer.read_status() == 0xA900
    (one,) = quarantine.entries()
    assert one.times == 100


def test_no_row_names_what_is_in_quarantine_so_nothing_can_serve_or_read_it(keeping, quarantine):
    store(keeping, TORN)
    with keeping.db.read() as conn:
        assert conn.execute(select(instance)).all() == []
        (row,) = conn.execute(select(audit.c.action, audit.c.subject, audit.c.outcome)).all()
    assert row == ("instance-refused", uid_digest(UID), "incorrect")


def test_on_an_association_with_other_services_it_is_kept_as_well(node, quarantine):
    node.start(
        set_aside=quarantine.keep, services=[Service((build_context(ModalityWorklistInformationFind),), {})]
    )
    contexts = {1: (CR, (EXPLICIT,)), 3: (str(ModalityWorklistInformationFind), (EXPLICIT, "1.2.840.10008.1.2"))}
    with association(node.port, contexts) as peer:
        peer.send(message(1, store_command(CR, UID), TORN))
        assert peer.read_status() == 0xA900
    (one,) = quarantine.entries()
    assert (one.refusal.calling, one.refusal.address) == ("RAW", "127.0.0.1")
    assert node.parts() == []


def test_a_full_quarantine_refuses_as_before(node):
    full = Quarantine(node.folder / "quarantine", QuarantineBounds(low_water=1 << 60), lambda: NOW)
    node.start(set_aside=full.keep)
    assert store(node, TORN) == 0xA900
    assert full.entries() == []
    assert node.parts() == []
