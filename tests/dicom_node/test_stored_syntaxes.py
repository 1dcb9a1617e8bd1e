"""What is sent in any of the transfer syntaxes that we offer lies in the store as it came over the wire."""

from io import BytesIO

import pytest
from pydicom.uid import UID
from pynetdicom.sop_class import ComputedRadiographyImageStorage

from benchmarks.raw_peer import association, message, store_command
from dicom_node.beside import presentation_contexts
from dicom_node.syntaxes import IMAGE_SYNTAXES, NATIVE
from dicom_node.testing import write_dicom
from tests.dicom_node.test_syntaxes import TWELVE, natively, picture, with_frames

pytestmark = pytest.mark.slow
CR = ComputedRadiographyImageStorage
OFFERED = next(
    list(map(UID, one.transfer_syntax)) for one in presentation_contexts("images") if one.abstract_syntax == CR
)


def data_set_in(syntax, number):
    """Return an object's UID and its data set, encoded; what nobody decodes has some bytes for pixels."""
    ds = natively(syntax) if syntax in NATIVE else with_frames(picture(TWELVE), TWELVE, syntax, bytes(range(64)))
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"2.25.{number}"
    buffer = BytesIO()
    write_dicom(ds, buffer)
    whole = buffer.getvalue()
    return ds.SOPInstanceUID, whole[144 + int.from_bytes(whole[140:144], "little") :]


def test_an_object_in_every_offered_syntax_is_stored_bit_for_bit(node):
    node.start()
    contexts = {2 * number + 1: (str(CR), (str(syntax),)) for number, syntax in enumerate(OFFERED)}
    sent = {context: data_set_in(UID(syntaxes[0]), context) for context, (_, syntaxes) in contexts.items()}
    with association(node.port, contexts) as peer:
        for context, (uid, data) in sent.items():
            peer.send(message(context, store_command(str(CR), str(uid)), data))
            assert peer.read_status() == 0x0000, contexts[context]
    stored = node.stored()
    assert len(stored) == len(OFFERED)
    for context, (_, data) in sent.items():
        assert any(one.endswith(data) for one in stored), contexts[context]


def test_every_syntax_that_an_image_may_have_is_offered():
    retired = {one for one, row in IMAGE_SYNTAXES.items() if "retired" in row.why_not}
    assert set(IMAGE_SYNTAXES) - retired <= {*map(str, OFFERED)} | {
        one for one, row in IMAGE_SYNTAXES.items() if "no image" in row.why_not
    }
