"""With other people's programs: dcmtk pushes to us, Orthanc and dcmtk take what we send."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless, SegmentationStorage
from sqlalchemy import select

from clinical.finding import ImageRef
from clinical.image import PixelSpacing, SpacingOrigin
from dicom_node.results import ENCODERS, ResultContext
from dicom_node.scu import Destination, send
from dicom_node.testing import cr_dataset, dicom_from_png, dx_dataset, radiograph_phantom, write_dicom
from record_store.tables import instance
from tests.ports import free_port

pytestmark = pytest.mark.slow
NO_DELAY = {**os.environ, "TCP_NODELAY": "1"}  # dcmtk waits 40 ms for each answer without it


def data_set_bytes(part10: bytes) -> bytes:
    """Return what follows the file meta group."""
    assert part10[128:132] == b"DICM"
    length = int.from_bytes(part10[140:144], "little")
    return part10[144 + length :]


class Running:
    """A program that listens; ended when the test ends."""

    def __init__(self, command, port, **more):
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)
        self.port = port
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            assert self.process.poll() is None, "the program ended"
            time.sleep(0.05)
        raise TimeoutError

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def running():
    programs = []

    def run(command, port, **more):
        programs.append(Running(command, port, **more))
        return programs[-1]

    yield run
    for one in programs:
        one.stop()


# Objects of pydicom's package, in many transfer syntaxes; those that need a download are left out.
REAL = (
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "JPEG2000.dcm",
    "JPEG-lossy.dcm",
    "JPGLosslessP14SV1_1s_1f_8b.dcm",
    "SC_rgb_small_odd.dcm",
    "SC_rgb_rle.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "examples_overlay.dcm",
    "examples_ybr_color.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "693_J2KI.dcm",
    "liver_1frame.dcm",
    "rtplan.dcm",
    "ExplVR_BigEnd.dcm",
    "image_dfl.dcm",
    "reportsi.dcm",
    "eCT_Supplemental.dcm",
    "emri_small.dcm",
    "MR_truncated.dcm",
)
# What storescu must be told to propose for a file's own transfer syntax.
PROPOSE = {
    "1.2.840.10008.1.2.1.99": "-xd",
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.51": "-xx",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
    "1.2.840.10008.1.2.5": "-xr",
}


def mixed_objects(folder, pictures, wanted=100):
    """Write real and synthetic objects in many encodings; return their paths."""
    made, seen = [], set()
    for name in REAL:
        found = get_testdata_file(name, download=False)
        uid = dcmread(found, specific_tags=["SOPInstanceUID"]).SOPInstanceUID if found else None
        if uid and uid not in seen:  # some are one image in two encodings
            seen.add(uid)
            made.append(Path(shutil.copy(found, folder / f"real_{name}")))
    for one in pictures[:20]:
        made.append(write_dicom(dicom_from_png(one), folder / f"nih_{one.stem}.dcm"))
    pixels, _ = radiograph_phantom(1, rows=96, columns=128)
    number = 0
    while len(made) < wanted:
        ds = (dx_dataset if number % 2 else cr_dataset)(pixels + np.uint16(number % 7), seed=f"mixed {number}")
        syntax = (None, RLELossless, JPEG2000Lossless, ImplicitVRLittleEndian)[number % 4]
        if syntax is ImplicitVRLittleEndian:
            ds.file_meta.TransferSyntaxUID = syntax
        elif syntax is not None:
            ds.compress(syntax, generate_instance_uid=False)
        made.append(write_dicom(ds, folder / f"made_{number}.dcm"))
        number += 1
    return made


@pytest.mark.parametrize("sender", ["dcmsend", "storescu"])
def test_a_hundred_mixed_objects_are_stored_exactly_as_dcmtk_sends_them(
    tmp_path, node, program, pictures, running, sender
):
    (tmp_path / "out").mkdir()
    paths = mixed_objects(tmp_path / "out", pictures)
    # dcmtk reads and writes a data set before it sends it; its own bit-preserving receiver shows what leaves.
    reference = tmp_path / "reference"
    reference.mkdir()
    port = free_port()
    peer = running([program("storescp"), "+B", "+xa", "-od", str(reference), str(port)], port)
    node.start(storage_classes="all")
    for target, title in ((peer.port, "ANY-SCP"), (node.port, "CONSILIUM")):
        for command in pushes(program(sender), target, title, paths):
            subprocess.run(command, check=False, capture_output=True, timeout=100, env=NO_DELAY)
    sent = {dcmread(one, specific_tags=["SOPInstanceUID"]).SOPInstanceUID: one for one in reference.iterdir()}
    with node.db.read() as conn:
        rows = {row.sop_instance_uid: row for row in conn.execute(select(instance))}
    assert len(sent) == len(paths) == 100
    assert set(rows) == set(sent)
    for uid, path in sent.items():
        stored = node.blobs.get(rows[uid].sha256)
        assert data_set_bytes(stored) == data_set_bytes(path.read_bytes()), path.name
        assert dcmread(BytesIO(stored), stop_before_pixels=True).SOPInstanceUID == uid


def pushes(sender, port, title, paths):
    """Return the commands that push the files as they are encoded; storescu takes one syntax at a time."""
    common = ["-aec", title, "-nh", "127.0.0.1", str(port)]
    if sender.endswith("dcmsend"):
        return [[sender, *common, *paths]]
    by_option = {}
    for path in paths:
        option = PROPOSE.get(dcmread(path, specific_tags=["SOPClassUID"]).file_meta.TransferSyntaxUID, "-x=")
        by_option.setdefault(option, []).append(path)
    return [[sender, option, "-R", *common, *files] for option, files in by_option.items()]


@pytest.fixture
def results(tmp_path, a_reading):
    """Return the paths of a radiograph and of every kind of result of a reading of it."""
    pixels, _ = radiograph_phantom(1, rows=128, columns=128)
    ds = dx_dataset(pixels, spacing_mm=0.5)
    spacing = PixelSpacing(0.5, 0.5, SpacingOrigin.IMAGER_PIXEL_SPACING)
    ref = ImageRef(
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID, ds.SOPClassUID, "DX", 128, 128, spacing
    )
    reading, mask = a_reading(2, spacing=spacing, ref=ref)
    paths = [write_dicom(ds, tmp_path / "image.dcm")]
    for number, encoder in enumerate(ENCODERS):
        context = ResultContext(
            sop_instance_uid=f"2.25.{number}001",
            series_instance_uid=f"2.25.{number}002",
            series_number=encoder.series_number,
            tracking_uids={1: "2.25.71", 2: "2.25.72"},
            manufacturer="Consilium",
            software_version="0.1.0",
            device_serial="node-1",
            created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            picture=(pixels >> 4).astype(np.uint8),
        )
        paths.append(write_dicom(encoder.encode(reading, mask, ds, context), tmp_path / f"{encoder.kind}.dcm"))
    return paths


def test_orthanc_takes_the_image_and_every_kind_of_result(tmp_path, program, running, results):
    dicom_port, http_port = free_port(), free_port()
    settings = {
        "Name": "TEST",
        "DicomPort": dicom_port,
        "HttpPort": http_port,
        "DicomAet": "ORTHANC",
        "StorageDirectory": str(tmp_path / "orthanc"),
        "IndexDirectory": str(tmp_path / "orthanc"),
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [],
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(settings))
    running([program("Orthanc"), str(tmp_path / "orthanc.json")], http_port)
    outcomes = send(results, Destination("orthanc", "127.0.0.1", dicom_port, "ORTHANC"), "CONSILIUM")
    assert [(one.status, one.problem) for one in outcomes] == [(0x0000, None)] * (1 + len(ENCODERS))
    with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/series?expand", timeout=60) as reply:
        series = json.load(reply)
    assert sorted(one["MainDicomTags"]["Modality"] for one in series) == sorted(
        ["DX", "SEG", "SEG", "SR", "SR", "OT", "OT", "KO", "DOC"]
    )
    assert len({one["ParentStudy"] for one in series}) == 1
    # Sending it again is an outcome too, and not a second series.
    assert all(
        one.taken for one in send(results, Destination("o", "127.0.0.1", dicom_port, "ORTHANC"), "CONSILIUM")
    )


def test_dcmtk_takes_them_bit_for_bit(tmp_path, program, running, results):
    port = free_port()
    folder = tmp_path / "received"
    folder.mkdir()
    peer = running([program("storescp"), "+B", "-od", str(folder), str(port)], port)
    outcomes = send(results, Destination("dcmtk", "127.0.0.1", peer.port, "ANY"), "CONSILIUM")
    assert all(one.taken for one in outcomes)
    received = sorted(data_set_bytes(one.read_bytes()) for one in folder.iterdir())
    assert received == sorted(data_set_bytes(one.read_bytes()) for one in results)
    assert any(dcmread(one).SOPClassUID == SegmentationStorage for one in folder.iterdir())
