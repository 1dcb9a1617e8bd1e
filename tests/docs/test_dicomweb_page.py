"""docs/dicomweb.md: its examples are run by bash and curl, its caps and media types are those of the code."""

import re
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread, uid
from werkzeug.serving import make_server

from clinical.identity import IssuerTable
from dicom_node.intake import Intake
from dicom_node.pixels import Decoder
from dicom_node.query.indexing import HeaderIndex
from dicom_node.testing import cr_dataset, write_dicom
from dicom_node.web import (
    RESOURCES,
    Archive,
    archive,
    frames,
    instances,
    json_objects,
    metadata,
    multipart,
    rendered,
)
from dicom_node.web.testing import app_of
from record_store.testing import MemoryBlobs, database
from tests.dicom_node.web.conftest import NOW

PAGE = (Path(__file__).parents[2] / "docs" / "dicomweb.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_example_does_what_the_page_says(tmp_path: Path) -> None:
    db, blobs = database(tmp_path), MemoryBlobs(tmp_path)
    ds = cr_dataset(
        np.arange(4096, dtype=np.uint16).reshape(64, 64),
        seed="page",
        PatientID="PAGE-1",
        PatientName="Synthetic^Page",
    )
    work = tmp_path / "work"
    work.mkdir()
    write_dicom(ds, work / "image.dcm")
    with Decoder() as decoder:
        held = Archive(
            db,
            blobs,
            "http://here/dicom-web",
            intake=Intake(db, blobs, IssuerTable({"": "urn:h"}), lambda: NOW),
            decoder=lambda: decoder,
            catch_up=HeaderIndex(db, blobs, lambda: NOW).catch_up,
        )
        server = make_server("127.0.0.1", 0, app_of(held), threaded=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            *read, store = re.findall(r"```bash\n(.*?)```", PAGE, re.S)
            done = subprocess.run(
                ["bash", "-ec", store + "".join(read)],
                cwd=work,
                env={
                    "PATH": "/usr/bin:/bin",
                    "BASE": f"http://127.0.0.1:{server.server_port}/dicom-web",
                    "PATIENT": ds.PatientID,
                    "STUDY": ds.StudyInstanceUID,
                    "SERIES": ds.SeriesInstanceUID,
                    "INSTANCE": ds.SOPInstanceUID,
                },
                capture_output=True,
                timeout=60,
                check=False,
            )
        finally:
            server.shutdown()
            server.server_close()
            db.dispose()
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"00081190") >= 5  # the answer of the store, and of four searches
    assert (work / "head").read_bytes() == bytes(128) + b"DICM"
    assert dcmread(work / "j2k.dcm").file_meta.TransferSyntaxUID == uid.JPEG2000Lossless
    for name, begins in (("image.png", b"\x89PNG"), ("small.jpg", b"\xff\xd8"), ("thumbnail.png", b"\x89PNG")):
        assert (work / name).read_bytes().startswith(begins)


def test_the_caps_of_the_page_are_those_of_the_code() -> None:
    section = PAGE.partition("## Caps")[2].partition("## ")[0]
    numbers = set(map(int, re.findall(r"\b\d+\b", section)))
    assert numbers - {503} == {
        Archive.__dataclass_fields__["max_body_bytes"].default >> 20,
        multipart.MAX_PARTS,
        multipart.MAX_HEAD_BYTES,
        multipart.MAX_FIELDS,
        json_objects.MAX_JSON_BYTES >> 20,
        json_objects.MAX_DEPTH,
        archive.MAX_OBJECTS,
        metadata.MAX_OBJECTS,
        rendered.MAX_RENDERED,
        frames.MAX_FRAMES,
        archive.MAX_DOWNLOADS,
        archive.MAX_DECODINGS,
    }
    assert instances.MAX_OBJECTS == archive.MAX_OBJECTS


def test_every_resource_is_on_the_page() -> None:
    for one in RESOURCES:
        path = one.rule.replace("<", "{").replace(">", "}").replace("{path:path}", "{path}")
        last = path.rpartition("/")[2]
        assert path in PAGE or f"/{last}" in PAGE, path
