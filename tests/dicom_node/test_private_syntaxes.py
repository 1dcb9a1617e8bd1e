"""Objects in a vendor's own transfer syntax: negotiated where named, walked, stored bit for bit, never decoded."""

import numpy as np
import pytest
from pydicom.uid import ComputedRadiographyImageStorage
from pynetdicom import build_context
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import ModalityWorklistInformationFind

from benchmarks.raw_peer import EXPLICIT, IMPLICIT, RawPeer, association, message, store_command
from clinical.errors import Unsupported
from dicom_node.frames import read_image
from dicom_node.header import read_elements, read_stored_header
from dicom_node.negotiation import negotiate
from dicom_node.part10 import file_beginning
from dicom_node.request_pdu import ProposedContext
from dicom_node.service import Service
from dicom_node.syntaxes import GE_BIG_ENDIAN_PIXELS, is_private, name_of, why_not_decoded
from dicom_node.testing import CANARY_ID, cr_dataset

PHILIPS = "1.3.46.670589.33.1.4.1"
NAMED = {GE_BIG_ENDIAN_PIXELS: IMPLICIT, PHILIPS: EXPLICIT}
CR = str(ComputedRadiographyImageStorage)
PIXELS = np.arange(256, dtype=np.uint16).reshape(16, 16)
DS = cr_dataset(PIXELS)
UID = str(DS.SOPInstanceUID)


def data_set(syntax):
    """Return a data set as a vendor writes it: GE's pixels are big endian, the rest is little endian."""
    ds = cr_dataset(PIXELS.byteswap() if syntax == GE_BIG_ENDIAN_PIXELS else PIXELS)
    return encode(ds, is_implicit_vr=NAMED[syntax] == IMPLICIT, is_little_endian=True)


def store(node, syntax, data):
    with association(node.port, {1: (CR, (syntax,))}) as peer:
        peer.send(message(1, store_command(CR, UID), data))
        return peer.read_status()


@pytest.mark.slow
@pytest.mark.parametrize("syntax", NAMED)
def test_an_object_in_a_named_private_syntax_is_stored_bit_for_bit_under_its_own_name(node, syntax):
    node.start(private_syntaxes=NAMED)
    data = data_set(syntax)
    assert store(node, syntax, data) == 0x0000
    (stored,) = node.stored()
    assert stored == file_beginning(CR, UID, syntax) + data


@pytest.mark.slow
@pytest.mark.parametrize("syntax", NAMED)
def test_on_an_association_with_other_services_too(node, syntax):
    beside = Service((build_context(ModalityWorklistInformationFind),), {})
    node.start(private_syntaxes=NAMED, services=[beside])
    contexts = {1: (CR, (syntax,)), 3: (str(ModalityWorklistInformationFind), (IMPLICIT,))}
    with association(node.port, contexts) as peer:
        peer.send(message(1, store_command(CR, UID), data_set(syntax)))
        assert peer.read_status() == 0x0000
    assert node.stored()[0].endswith(data_set(syntax))


@pytest.mark.slow
@pytest.mark.parametrize("syntax", NAMED)
def test_one_that_does_not_hang_together_in_its_encoding_is_refused(node, syntax):
    node.start(private_syntaxes=NAMED)
    (other,) = set(NAMED) - {syntax}
    for data in (data_set(syntax)[:-1], data_set(other)):
        assert store(node, syntax, data) == 0xA900
    assert node.stored() == []


@pytest.mark.slow
def test_what_the_site_does_not_name_is_not_accepted(node):
    node.start(private_syntaxes={PHILIPS: EXPLICIT})
    with RawPeer(node.port) as peer:
        peer.associate({1: (CR, (GE_BIG_ENDIAN_PIXELS,)), 3: (CR, (PHILIPS,))})
        assert peer.accepted == {3: PHILIPS}


def test_the_peers_first_syntax_is_taken_private_or_not():
    offered = {CR: frozenset((EXPLICIT, PHILIPS))}
    for first, second in ((PHILIPS, EXPLICIT), (EXPLICIT, PHILIPS)):
        (one,) = negotiate([ProposedContext(1, CR, (first, second))], offered)
        assert one.transfer_syntax == first


@pytest.mark.parametrize("syntax", NAMED)
def test_a_stored_one_says_what_it_is_whatever_the_setting_is_by_then(tmp_path, syntax):
    data = file_beginning(CR, UID, syntax) + data_set(syntax)
    path = tmp_path / "one.dcm"
    path.write_bytes(data)
    header = read_stored_header(path)
    assert (header.sop_instance_uid, header.patient_id) == (UID, CANARY_ID)
    found = read_elements(data, {0x00100020}, 0x00100020, whole=True)
    assert found.values[0x00100020].decode().strip() == CANARY_ID


@pytest.mark.parametrize("syntax", NAMED)
def test_its_pixels_are_refused_by_name(tmp_path, syntax):
    path = tmp_path / "one.dcm"
    path.write_bytes(file_beginning(CR, UID, syntax) + data_set(syntax))
    with pytest.raises(Unsupported, match=f"its transfer syntax {syntax} is private to a vendor"):
        read_image(path, 1 << 20)


def test_private_is_what_is_not_under_dicoms_root():
    assert is_private(PHILIPS)
    assert is_private("1.2.840.100080.1.2")
    assert not is_private(EXPLICIT)
    assert why_not_decoded("1.2.840.10008.1.2.99") == "no decoder for this transfer syntax"
    assert name_of(GE_BIG_ENDIAN_PIXELS).startswith("GE ")
    assert name_of(PHILIPS) == PHILIPS
