"""A destination is asked before anything is sent: what it takes, what would stand in for what it refuses."""

import socket

import pytest
from pydicom.uid import (
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from dicom_node.destinations import Destination, SendTimeouts
from dicom_node.preflight import CLASSES_OF_KIND, FALLBACKS, SYNTAXES, preflight
from dicom_node.results import ENCODERS
from dicom_node.testing import listening_ae

pytestmark = pytest.mark.slow  # each opens an association
PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


def to(port):
    return Destination("pacs", "127.0.0.1", port, "PACS")


def test_an_archive_that_takes_everything_is_usable_and_echoes() -> None:
    with listening_ae() as peer:
        said = preflight(to(peer.port), "CONSILIUM")
    assert (said.problem, said.echo, said.commitment) == (None, 0, False)
    assert all(said.takes(kind) for kind in CLASSES_OF_KIND)
    assert said.usable(CLASSES_OF_KIND)
    assert peer.objects == []  # asking sends nothing


def test_each_syntax_of_a_class_is_answered_by_itself() -> None:
    with listening_ae(sop_classes=[SegmentationStorage]) as peer:
        said = preflight(to(peer.port), "CONSILIUM")
    # pynetdicom's own default: the uncompressed ones.
    assert set(said.accepted[SegmentationStorage]) == set(PLAIN) < set(SYNTAXES)
    assert said.accepted[ComprehensiveSRStorage] == ()


def test_what_stands_in_for_a_refused_kind_is_named_and_the_archive_is_not_usable_as_it_is() -> None:
    with listening_ae(sop_classes=[SegmentationStorage, SecondaryCaptureImageStorage]) as peer:
        said = preflight(to(peer.port), "CONSILIUM")
    assert (said.takes("SEG"), said.takes("SR")) == (True, False)
    assert said.instead_of("SR") == "SC"
    assert said.instead_of("KO") is None
    assert said.usable(["SEG"])
    assert not said.usable(["SEG", "SR"])


def test_nobody_there_and_a_mute_peer_are_told_in_words() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        said = preflight(to(unused.getsockname()[1]), "CONSILIUM")
    assert (said.problem, said.echo, said.usable([])) == ("no connection", None, False)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert preflight(to(mute.getsockname()[1]), "C", timeouts=SendTimeouts(acse_s=0.3)).problem is not None


def test_every_kind_that_is_encoded_has_its_classes_and_falls_back_to_kinds_that_exist() -> None:
    assert {one.kind for one in ENCODERS} <= set(CLASSES_OF_KIND)
    assert {other for others in FALLBACKS.values() for other in others} <= set(CLASSES_OF_KIND)
    assert all(kind not in others for kind, others in FALLBACKS.items())
