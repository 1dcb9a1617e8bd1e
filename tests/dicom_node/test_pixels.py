"""Decoding happens in a child process within a budget; a poison image ends the child and nothing else."""

import fcntl
import os
import signal
import subprocess
import termios
import threading
import time

import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless, RLELossless

from clinical.errors import Busy, IncorrectInput, Unsupported
from clinical.image import SpacingOrigin
from dicom_node.pixels import DecodeLimits, Decoder, read_grey_image
from dicom_node.testing import CANARY_ID, cr_dataset, dx_dataset, write_dicom

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def decoder():
    with Decoder() as one:
        yield one


@pytest.fixture
def radiograph(tmp_path, small_phantom):
    def write(make=dx_dataset, **attributes):
        return write_dicom(make(small_phantom[0], **attributes), tmp_path / "image.dcm")

    return write


def test_an_image_comes_back_with_its_geometry_and_identity(decoder, radiograph, small_phantom):
    decoded = decoder.read(radiograph(spacing_mm=0.25, PixelPaddingValue=0))
    assert np.array_equal(decoded.image.pixels, small_phantom[0])
    assert decoded.image.spacing.origin is SpacingOrigin.IMAGER_PIXEL_SPACING
    assert (decoded.image.spacing.row_mm, decoded.image.window) == (0.25, (2048, 4096))
    assert np.array_equal(decoded.image.padding, small_phantom[0] == 0)
    assert (decoded.ref.rows, decoded.ref.columns, decoded.ref.modality) == (128, 128, "DX")
    assert decoded.header.PatientID == CANARY_ID
    assert "AnatomicRegionSequence" not in decoded.header
    assert "PixelData" not in decoded.header


def test_one_shot_reading_needs_no_decoder_object(radiograph, small_phantom):
    assert np.array_equal(read_grey_image(radiograph()).image.pixels, small_phantom[0])


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_images_decode_to_the_same_values(decoder, tmp_path, small_phantom, syntax):
    ds = cr_dataset(small_phantom[0])
    ds.compress(syntax, generate_instance_uid=False)
    assert np.array_equal(decoder.read(write_dicom(ds, tmp_path / "a.dcm")).image.pixels, small_phantom[0])


@pytest.mark.parametrize("option", [["dcmcjpeg", "+e1"], ["dcmcjpeg", "+el"], ["dcmcjpls"], ["dcmcrle"]])
def test_what_dcmtk_compresses_without_loss_decodes_to_the_same_values(
    decoder, program, small_phantom, radiograph, option
):
    path = radiograph()
    packed = path.with_name("packed.dcm")
    subprocess.run([program(option[0]), *option[1:], path, packed], check=True, capture_output=True)
    assert np.array_equal(decoder.read(packed).image.pixels, small_phantom[0])


def test_jpeg_extended_of_twelve_bits_decodes_as_dcmtk_decodes_it(decoder, program, radiograph):
    path = radiograph()
    packed, unpacked = path.with_name("packed.dcm"), path.with_name("unpacked.dcm")
    subprocess.run([program("dcmcjpeg"), "+ee", path, packed], check=True, capture_output=True)
    subprocess.run([program("dcmdjpeg"), packed, unpacked], check=True, capture_output=True)
    decoded = decoder.read(packed).image.pixels
    assert decoded.max() > 255
    assert np.array_equal(decoded, decoder.read(unpacked).image.pixels)


def test_an_image_that_may_not_be_read_says_why(decoder, radiograph):
    with pytest.raises(Unsupported, match="multi-frame"):
        decoder.read(radiograph(NumberOfFrames=5))


def test_one_frame_of_several_is_read_when_it_is_asked_for(decoder, radiograph, small_phantom):
    frames = np.stack([small_phantom[0], small_phantom[0] // 2, small_phantom[0] // 4])
    path = radiograph(NumberOfFrames=3, PixelData=frames.tobytes())
    assert np.array_equal(decoder.read(path, frame=2).image.pixels, frames[1])
    for missing in (0, 4):
        with pytest.raises(IncorrectInput, match="no such frame"):
            decoder.read(path, frame=missing)


def test_a_bomb_is_refused_before_it_is_decoded(decoder, radiograph):
    with pytest.raises(IncorrectInput, match="more pixels"):
        decoder.read(radiograph(Rows=65535, Columns=65535))


def test_garbage_is_an_error_and_the_next_image_is_read(decoder, tmp_path, radiograph, small_phantom):
    good = radiograph()
    (tmp_path / "bad.dcm").write_bytes(good.read_bytes()[:400] + os.urandom(5000))
    with pytest.raises((IncorrectInput, Unsupported)):
        decoder.read(tmp_path / "bad.dcm")
    assert np.array_equal(decoder.read(good).image.pixels, small_phantom[0])


def test_the_memory_limit_stops_the_child_and_not_us(tmp_path):
    large = write_dicom(cr_dataset(np.zeros((6000, 6000), np.uint16)), tmp_path / "a.dcm")
    limits = DecodeLimits(memory_bytes=300_000_000)
    with Decoder(limits) as decoder, pytest.raises(IncorrectInput):
        decoder.read(large)


def end_the_child_while_it_decodes(decoder, number):
    decoder.start()
    os.kill(decoder.pid, signal.SIGSTOP)  # holds the image in the child until it is ended
    pid, requests = decoder.pid, decoder._child.process.stdin

    def end():
        while not any(fcntl.ioctl(requests, termios.FIONREAD, bytes(4))):  # nothing is asked of it yet
            time.sleep(0.01)
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)

    threading.Thread(target=end).start()


def test_an_image_that_crashes_its_decoder_costs_one_image(radiograph, small_phantom):
    path = radiograph()
    with Decoder() as decoder:
        end_the_child_while_it_decodes(decoder, signal.SIGSEGV)
        with pytest.raises(IncorrectInput, match="stopped its decoder"):
            decoder.read(path)
        assert np.array_equal(decoder.read(path).image.pixels, small_phantom[0])


def test_a_decoder_that_the_machine_kills_is_not_the_image_s_fault_and_it_is_tried_again(radiograph):
    with Decoder() as decoder:
        end_the_child_while_it_decodes(decoder, signal.SIGKILL)
        with pytest.raises(Busy, match="killed from outside"):
            decoder.read(radiograph())


def test_waiting_for_a_hanging_child_ends(radiograph, small_phantom):
    path = radiograph()
    with Decoder() as decoder:
        assert np.array_equal(decoder.read(path).image.pixels, small_phantom[0])
        os.kill(decoder.pid, signal.SIGSTOP)
        decoder._limits = DecodeLimits(wall_seconds=0.3)
        with pytest.raises(Busy):  # the child stands still: who waited for it would not come back
            decoder.read(path)
