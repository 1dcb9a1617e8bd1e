"""The ingest benchmark counts what was answered with Success, and its sender tells what was not."""

import shutil

import pytest

from benchmarks import dicom_ingest, dicom_objects, dicom_receivers, dicom_secured, dicom_sender
from dicom_node.testing import listening_ae


@pytest.fixture(scope="module")
def slices(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ct")
    dicom_objects.make_objects(folder, "ct", 5)
    return folder


def test_the_sender_sends_each_object_once_bit_for_bit(slices):
    with listening_ae(ae_title="PEER") as peer:
        said = dicom_sender.send(peer.port, "PEER", slices, 2)
    assert (said["objects"], said["refused"]) == (5, [])
    arrived = {str(ds.SOPInstanceUID): ds.PixelData for ds in peer.objects}
    for one, data in dicom_objects.read_objects(slices):
        assert data.endswith(arrived.pop(one.sop_instance))
    assert arrived == {}


def test_what_is_not_answered_with_success_is_told_and_ends_the_benchmark(slices):
    (sop_class,) = {one.sop_class for one, _ in dicom_objects.read_objects(slices)}
    with listening_ae(ae_title="PEER", statuses={sop_class: 0xA700}) as peer:
        refused = dicom_sender.send(peer.port, "PEER", slices, 1)["refused"]
        with pytest.raises(SystemExit, match="refused 5 objects"):
            dicom_ingest.send("replay", dicom_receivers.Receiver("peer", "PEER", list), peer.port, slices, 1)
    assert refused[0] == "message 1: status 0xA700 for message 1"
    assert len(refused) == 5


def test_ratios_are_those_of_the_same_round_and_absent_without_a_peer():
    rounds = {
        "ours": [{"mb_s": 30.0, "instances_s": 3.0}, {"mb_s": 10.0, "instances_s": 1.0}],
        "orthanc": [{"mb_s": 10.0, "instances_s": 1.0}, {"mb_s": 10.0, "instances_s": 1.0}],
    }
    found = dicom_ingest.summary(rounds, [4.0, 2.0])
    assert found["ratio_orthanc"] == 2.0  # of 3 and 1
    assert found["ratio_storescp"] is None
    assert found["of_flushes"] == 0.62  # of 3 / 4 and 1 / 2


def test_peers_that_are_not_installed_are_named_with_their_package(monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    assert [one.name for one in dicom_ingest.receivers(None)] == ["ours"]
    assert "apt-get install dcmtk" in capsys.readouterr().err


@pytest.mark.slow
def test_secured_and_plain_associations_bring_other_objects_in_each_turn_and_the_first_round_does_not_count(
    tmp_path,
):
    pem = dicom_secured.certificate(tmp_path)
    measured = list(dicom_secured.rounds(tmp_path, pem, 3, 2, 1))
    assert [sorted(one) for one in measured] == [["plain", "secured"]]
    sent = [one for turn in tmp_path.glob("?-*") for one, _ in dicom_objects.read_objects(turn)]
    assert len({one.sop_instance for one in sent}) == len(sent) == 4 * 3
