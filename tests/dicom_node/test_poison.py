"""Bombs are refused before they take memory; broken files neither stop nor hold who sends them to a child."""

import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest

from clinical.errors import Busy, IncorrectInput, Unsupported
from dicom_node.pixels import DecodeLimits, Decoder
from dicom_node.testing import cr_dataset, write_dicom

pytestmark = pytest.mark.slow
_spec = importlib.util.spec_from_file_location("poison", Path(__file__).with_name("poison.py"))
poison = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(poison)
LIMITS = DecodeLimits(seconds=10, wall_seconds=60, memory_bytes=512 << 20)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    with Decoder(LIMITS) as one:
        one.read(write_dicom(cr_dataset(poison.PIXELS), tmp_path_factory.mktemp("good") / "good.dcm"))
        yield one


@pytest.fixture
def good(tmp_path):
    return write_dicom(cr_dataset(poison.PIXELS), tmp_path / "good.dcm")


def peak_kb(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def test_bombs_are_refused_before_they_take_memory(decoder, tmp_path, good):
    path, pid, before = tmp_path / "bomb.dcm", decoder.pid, peak_kb(decoder.pid)
    for name, data in poison.bombs():
        path.write_bytes(data)
        with pytest.raises((IncorrectInput, Unsupported)) as refused:
            decoder.read(path, frame=1)
        assert refused.value.message != "the image cannot be decoded", name
        assert peak_kb(pid) - before < 64_000, name
    # The same child: none of them stopped it.
    assert np.array_equal(decoder.read(good).image.pixels, poison.PIXELS)
    assert decoder.pid == pid


def test_forty_malformed_files_are_each_refused_and_the_next_image_is_read(decoder, tmp_path, good):
    path, pid = tmp_path / "bad.dcm", decoder.pid
    names = []
    for name, data in poison.malformed():
        path.write_bytes(data)
        began = time.monotonic()
        with pytest.raises((IncorrectInput, Unsupported)):
            pytest.fail(f"{name}: {decoder.read(path).image.pixels.shape}")
        assert time.monotonic() - began < 10, name
        names.append(name)
    assert len(set(names)) >= 40
    assert np.array_equal(decoder.read(good).image.pixels, poison.PIXELS)
    assert decoder.pid == pid


def test_mangled_files_end_with_an_image_or_an_error_and_never_with_silence(decoder, tmp_path, good):
    path = tmp_path / "mangled.dcm"
    refused = 0
    for name, data in poison.mangled(60):
        path.write_bytes(data)
        try:
            pixels = decoder.read(path).image.pixels
            assert np.isfinite(pixels).all(), name
        except Busy:
            raise AssertionError(name) from None
        except (IncorrectInput, Unsupported):
            refused += 1
    assert refused > 0
    assert np.array_equal(decoder.read(good).image.pixels, poison.PIXELS)
