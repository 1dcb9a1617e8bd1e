"""Images go out under a pseudonym, the result of a model far away comes home, and nothing else does."""

import copy

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from clinical.destination_pseudonyms import Pseudonyms
from consilium.egress import Disguise, Egress, Homecoming, sweep
from dicom_node.confidentiality.actions import Options
from dicom_node.destinations import Destination
from dicom_node.header import read_stored_header
from dicom_node.intake import Sender
from dicom_node.results import ENCODERS
from dicom_node.scu import send
from dicom_node.testing import CANARY_ID, CANARY_NAME, dx_dataset, listening_ae, send_files, write_dicom
from record_store import pseudonyms
from record_store.instances import instances_of, study_row
from record_store.taking import Flush

NOT_AUTHORISED = 0x0124
FAR, OTHER = Pseudonyms(b"a" * 32), Pseudonyms(b"b" * 32)
DISGUISES = {
    "far": Disguise(FAR, Options(), frozenset({"FARAWAY", "FARSCU"})),
    "other": Disguise(OTHER, Options(), frozenset({"OTHERAI"})),
}
NAMED = {
    "PatientName": CANARY_NAME,
    "PatientID": CANARY_ID,
    "AccessionNumber": "A-778899",
    "StudyDate": "20260102",
}


@pytest.fixture(params=[Flush.FILES, Flush.JOURNAL])
def home(node, request):
    """A node that knows the two destinations."""
    restore = Homecoming(node.db, node.blobs, DISGUISES, "STOW-RS")
    return node.start(restore=restore, storage_classes="all", flush=request.param)


@pytest.fixture
def image(small_phantom, tmp_path):
    return write_dicom(dx_dataset(small_phantom[0], **NAMED), tmp_path / "image.dcm")


@pytest.fixture
def sent(home, image, tmp_path):
    """The image as the far destination has it, after the node got it and sent it on."""
    assert send_files([image], home.port) == [0]
    with listening_ae(ae_title="FARAWAY") as far:
        egress = Egress(home.db, tmp_path / "egress", DISGUISES, send)
        (outcome,) = list(egress([image], Destination("far", "127.0.0.1", far.port, "FARAWAY"), "CONSILIUM"))
    assert outcome.taken
    assert outcome.sop_instance_uid == str(dcmread(image).SOPInstanceUID)
    (received,) = far.objects
    assert list((tmp_path / "egress").iterdir()) == []
    return received


@pytest.fixture
def result(sent, reading_of, result_context, tmp_path):
    """result(source) -> the file of a segmentation that somebody made of an image."""

    def make(source=sent):
        reading, mask = reading_of(source)
        encoder = next(one for one in ENCODERS if one.kind == "SEG")
        made = encoder.encode(reading, mask, source, result_context("SEG"))
        return write_dicom(made, tmp_path / "result.dcm")

    return make


def test_what_goes_out_names_nobody(sent):
    assert sent.PatientName != CANARY_NAME
    assert sent.PatientIdentityRemoved == "YES"
    assert "anary" not in str(sent)
    assert str(sent.AccessionNumber) == ""


def test_destinations_without_a_disguise_get_objects_as_they_are(home, image, tmp_path):
    with listening_ae() as pacs:
        egress = Egress(home.db, tmp_path / "egress", DISGUISES, send)
        list(egress([image], Destination("pacs", "127.0.0.1", pacs.port, "PACS"), "CONSILIUM"))
    assert pacs.objects[0].PatientID == CANARY_ID


@pytest.mark.parametrize("calling", ["FARAWAY", "FARSCU"])
def test_a_result_that_comes_back_is_stored_with_the_patient_and_study_that_it_is_of(home, image, result, calling):
    assert send_files([result()], home.port, calling=calling) == [0]
    source = dcmread(image)
    with home.db.read() as conn:
        rows = instances_of(conn, str(source.StudyInstanceUID))
        patient = study_row(conn, str(source.StudyInstanceUID)).patient
    (row,) = [one for one in rows if one.modality == "SEG"]
    with home.blobs.local_path(row.sha256) as path:
        stored = dcmread(path)
    for keyword in NAMED:
        assert stored[keyword].value == source[keyword].value
    referenced = stored.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]
    assert referenced.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert patient.value == CANARY_ID
    assert home.parts() == []


def test_a_result_by_stow_comes_home_too(home, image, result):
    path = result()
    restore = Homecoming(home.db, home.blobs, DISGUISES, "STOW-RS")
    header = restore(path, read_stored_header(path), Sender("STOW-RS", "STOW-RS"))
    assert header.patient_id == CANARY_ID
    assert read_stored_header(image).study_uid == header.study_uid
    assert restore(image, read_stored_header(image), Sender("STOW-RS", "STOW-RS")) is None


def refuse(home, path, calling):
    stored = len(home.stored())
    assert send_files([path], home.port, calling=calling) == [NOT_AUTHORISED]
    assert len(home.stored()) == stored


def test_a_study_that_was_not_sent_there_is_refused(home, sent, result):
    stranger = copy.deepcopy(sent)
    stranger.StudyInstanceUID = generate_uid()
    refuse(home, result(stranger), "FARAWAY")


def test_a_result_of_another_patient_is_refused(home, sent, result):
    mixed = copy.deepcopy(sent)
    mixed.PatientID = FAR.patient_id("\x1fSOMEBODY")
    refuse(home, result(mixed), "FARAWAY")


def test_one_destination_cannot_speak_for_another(home, result):
    refuse(home, result(), "OTHERAI")


def test_objects_of_other_senders_stay_as_they_are(home, result):
    path = result()
    assert send_files([path], home.port, calling="MODALITY") == [0]
    assert dcmread(path).PatientID.encode() in b"".join(home.stored())


def test_what_cannot_be_de_identified_is_not_sent_and_the_rest_is(home, image, small_phantom, tmp_path):
    burned = dx_dataset(small_phantom[0], seed="7", BurnedInAnnotation="YES", **NAMED)
    paths = [write_dicom(burned, tmp_path / "burned.dcm"), image]
    with listening_ae(ae_title="FARAWAY") as far:
        egress = Egress(home.db, tmp_path / "egress", DISGUISES, send)
        refused, taken = egress(paths, Destination("far", "127.0.0.1", far.port, "FARAWAY"), "CONSILIUM")
    assert refused.sop_instance_uid == str(burned.SOPInstanceUID)
    assert refused.problem.startswith("not de-identified: its pixels may hold words")
    assert not refused.may_pass
    assert taken.taken
    assert len(far.objects) == 1


def test_copies_of_a_killed_process_are_swept(tmp_path):
    (tmp_path / "egress-dead").mkdir()
    (tmp_path / "egress-dead" / "1.dcm").write_bytes(b"x")
    sweep(tmp_path, 3600)
    assert (tmp_path / "egress-dead").exists()
    sweep(tmp_path, -1)
    assert not (tmp_path / "egress-dead").exists()


def test_pseudonyms_of_one_destination_are_not_those_of_another(home):
    with home.db.write() as conn:
        pseudonyms.remember(conn, "far", {"1.2.3": "2.25.1"})
        pseudonyms.remember(conn, "far", {"1.2.3": "2.25.1"})
    with home.db.read() as conn:
        assert pseudonyms.originals(conn, "far", ["2.25.1", "2.25.2"]) == {"2.25.1": "1.2.3"}
        assert pseudonyms.originals(conn, "other", ["2.25.1"]) == {}
        assert pseudonyms.destination_of(conn, "2.25.1") == "far"
