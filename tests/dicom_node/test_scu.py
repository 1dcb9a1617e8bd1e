"""Sending results: an outcome for each object, whatever the peer does."""

import socket

import numpy as np
import pytest
from pydicom.uid import ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation, RLELossless

from dicom_node.scu import Destination, SendTimeouts, send
from dicom_node.testing import cr_dataset, dx_dataset, listening_ae, write_dicom

pytestmark = pytest.mark.slow  # each opens an association: 0.1 s

CR, DX = ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation
PIXELS = np.arange(256, dtype=np.uint16).reshape(16, 16)


@pytest.fixture
def files(tmp_path):
    return [
        write_dicom(cr_dataset(PIXELS, seed="1"), tmp_path / "1.dcm"),
        write_dicom(dx_dataset(PIXELS, seed="2"), tmp_path / "2.dcm"),
    ]


def to(port, ae_title="PACS"):
    return Destination("pacs", "127.0.0.1", port, ae_title)


def test_taken_objects_arrive_whole_and_are_said_to_be_taken(files):
    with listening_ae() as peer:
        outcomes = send(files, to(peer.port), "CONSILIUM")
    assert [(one.status, one.problem, one.taken) for one in outcomes] == [(0x0000, None, True)] * 2
    assert [one.sop_instance_uid for one in outcomes] == [str(ds.SOPInstanceUID) for ds in peer.objects]
    assert all(np.array_equal(ds.pixel_array, PIXELS) for ds in peer.objects)


@pytest.mark.parametrize("status", [0xB000, 0x0111, 0xB007])
def test_a_warning_or_a_duplicate_is_an_object_that_the_peer_holds(files, status):
    with listening_ae(statuses={CR: status}) as peer:
        first, second = send(files, to(peer.port), "CONSILIUM")
    assert (first.status, first.taken) == (status, True)
    assert second.status == 0x0000


def test_a_refused_object_does_not_make_the_next_one_fail(files):
    with listening_ae(statuses={CR: 0xA700}) as peer:
        first, second = send(files, to(peer.port), "CONSILIUM")
    assert (first.status, first.taken, first.may_pass) == (0xA700, False, True)
    assert second.taken
    with listening_ae(statuses={CR: 0xC123}) as peer:
        first, second = send(files, to(peer.port), "CONSILIUM")
    assert (first.problem, first.may_pass) == ("refused: cannot understand", False)
    assert second.taken


def test_a_refused_presentation_context_is_no_success(files):
    with listening_ae(sop_classes=[DX]) as peer:
        first, second = send(files, to(peer.port), "CONSILIUM")
    assert (first.status, first.taken) == (None, False)
    assert "presentation context" in first.problem
    assert second.taken


def test_a_compressed_object_is_sent_as_it_is(tmp_path):
    ds = cr_dataset(PIXELS)
    ds.compress(RLELossless, generate_instance_uid=False)
    with listening_ae(sop_classes=[CR]) as peer:
        (outcome,) = send([write_dicom(ds, tmp_path / "a.dcm")], to(peer.port), "CONSILIUM")
    # This receiver takes uncompressed syntaxes only, and that is what the outcome says.
    assert "presentation context" in outcome.problem


def test_nobody_listening_is_a_problem_of_every_object(files):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        outcomes = send(files, to(unused.getsockname()[1]), "CONSILIUM")
    assert [one.problem for one in outcomes] == ["no connection"] * 2
    assert all(one.may_pass for one in outcomes)


@pytest.mark.parametrize("host", ["archive.invalid", "archive..example"])
def test_a_host_name_without_an_address_is_a_problem_of_every_object(files, host):
    outcomes = send(files, Destination("pacs", host, 104, "PACS"), "CONSILIUM")
    assert {one.problem for one in outcomes} == {"no connection: its host name has no address"}


def test_a_rejection_is_told_in_words(files, node):
    node.start()
    assert send(files, to(node.port, "WRONG"), "CONSILIUM")[0].problem == (
        "association rejected: called AE title not recognised"
    )


def test_a_peer_that_accepts_and_then_says_nothing_is_given_up(files):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        outcomes = send(files, to(mute.getsockname()[1]), "CONSILIUM", timeouts=SendTimeouts(acse_s=0.5))
    assert not any(one.taken for one in outcomes)


def test_a_file_that_is_gone_is_the_problem_of_that_file_alone(files, tmp_path):
    with listening_ae() as peer:
        missing, there = send([tmp_path / "gone.dcm", files[0]], to(peer.port), "CONSILIUM")
    assert (missing.taken, there.taken) == (False, True)


def test_nothing_to_send_opens_no_association():
    assert send([], to(1), "CONSILIUM") == []
