"""Other people's files are read to the values that decoders of other people read: a corpus of two packages.

What is deliberately broken is named below with what is wrong with it; everything else must be read.
"""

import importlib.util
import json
import os
import subprocess
import warnings
from functools import partial

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.pixels.decoders.base import get_decoder

from clinical.errors import ClinicalError, Unsupported
from dicom_node.codecs import use_imagecodecs
from dicom_node.declared import check_declared
from dicom_node.frames import read_image, stored_frame
from dicom_node.syntaxes import IMAGE_SYNTAXES
from tests.dicom_node.corpus import GOLDEN, corpus, digest, frames_of

pytestmark = pytest.mark.slow
LIMIT = 1 << 28
# Made by their authors to be refused.
BROKEN = {
    "pydicom/JPEG2000-embedded-sequence-delimiter.dcm": "its codestream was overwritten",
    "pydicom/MR_truncated.dcm": "its pixels were cut",
    "pydicom/nested_priv_SQ.dcm": "it has 4 bytes of pixels and no rows",
    "pydicom/badVR.dcm": "its Number of Frames is 1A",
}
# Read by pydicom in another byte order than by dcmtk and gdcm, and refused by us.
TWO_ORDERS = frozenset(("pydicom/rtdose_expb.dcm", "pydicom/rtdose_expb_1frame.dcm"))


# pydicom alone converts this colour without rounding of its own, or reads a dose without Number of Frames.
ONE_WITNESS = frozenset(
    (
        "data_store/SC_ybr_full_uncompressed.dcm",
        "pydicom/SC_ybr_full_422_uncompressed.dcm",
        "pydicom/rtdose_1frame.dcm",
    )
)


@pytest.fixture(scope="module")
def files():
    """Return the corpus, or skip where it is not installed (with CI=true: fail)."""
    if importlib.util.find_spec("data_store") is None and os.environ.get("CI") != "true":
        pytest.skip("pydicom-data is not installed (make brings it)")
    return dict(corpus())


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN.read_text())


def read(path, by=stored_frame):
    with warnings.catch_warnings(action="ignore"):
        ds = read_image(path, LIMIT)
        return [digest(by(ds, index), ds) for index in frames_of(ds)]


def test_the_corpus_is_the_one_that_the_digests_are_of(files, golden):
    assert set(files) == set(golden)
    assert len(files) >= 129


def test_what_is_not_broken_is_read_to_the_values_of_the_witnesses(files, golden):
    wrong = []
    for name in sorted(set(files) - set(BROKEN) - TWO_ORDERS):
        try:
            found = read(files[name])
        except (ClinicalError, RuntimeError, ValueError) as error:
            found = [repr(error)]
        wrong += [(name, found)] if found != golden[name]["frames"] else []
    assert wrong == []


def test_two_decoders_that_are_not_ours_gave_each_digest(golden):
    assert {name for name, row in golden.items() if len(row["by"]) < 2} == {*BROKEN, *ONE_WITNESS} | (
        TWO_ORDERS - {"pydicom/rtdose_expb.dcm"}
    )


def test_every_decoder_of_an_install_gives_the_same_values(files, golden):
    use_imagecodecs()
    compared = 0
    for name in sorted(set(files) - set(BROKEN)):
        syntax = pydicom.filereader.read_file_meta_info(files[name]).TransferSyntaxUID
        for plugin in IMAGE_SYNTAXES[syntax].decoders if syntax.is_encapsulated else ():
            try:
                found = read(files[name], partial(_by_plugin, plugin))
            except RuntimeError:
                assert plugin == "pillow"  # it refuses what it would lose bits of
                continue
            compared += 1
            assert found == golden[name]["frames"], (name, plugin)
    assert compared > 110


def _by_plugin(plugin, ds, index):
    return get_decoder(ds.file_meta.TransferSyntaxUID).as_array(ds, index=index, decoding_plugin=plugin)[0]


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_what_is_broken_is_refused(name, files):
    with pytest.raises((ClinicalError, ValueError, RuntimeError, AttributeError)):
        read(files[name], lambda ds, index: check_declared(ds, LIMIT, index + 1) or stored_frame(ds, index))


@pytest.mark.parametrize("name", sorted(TWO_ORDERS))
def test_what_decoders_read_in_two_orders_is_refused(name, files):
    with pytest.raises(Unsupported, match="two byte orders"):
        check_declared(read_image(files[name], LIMIT), LIMIT, 1)


@pytest.mark.parametrize(
    "name", ["RG3_UNCR.dcm", "MR2_UNCR.dcm", "emri_small.dcm", "MR-SIEMENS-DICOM-WithOverlays.dcm"]
)
@pytest.mark.parametrize("quality", ["60", "95"])
def test_real_images_in_jpeg_extended_of_twelve_bits_are_those_of_dcmtk(name, quality, files, program, tmp_path):
    packed, plain = tmp_path / "packed.dcm", tmp_path / "plain.dcm"
    encode = [program("dcmcjpeg"), "+ee", "+q", quality, files[f"data_store/{name}"], packed]
    subprocess.run(encode, check=True, capture_output=True)
    subprocess.run([program("dcmdjpeg"), packed, plain], check=True, capture_output=True)
    with warnings.catch_warnings(action="ignore"):
        ds, theirs = read_image(packed, LIMIT), read_image(plain, LIMIT)
        ours, other = (stored_frame(one, 0).astype(int) for one in (ds, theirs))
    assert ds.file_meta.TransferSyntaxUID == uid.JPEGExtended12Bit
    assert ours.max() > 255
    # dcmtk keeps what overshoots Bits Stored, and a reader that drops those bits sees black; we cut it to white.
    top = (1 << ds.BitsStored) - 1
    assert np.array_equal(ours, np.minimum(other, top))
