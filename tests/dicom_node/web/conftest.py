"""An archive behind a Flask client, and a way to put objects into it without the wire."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRBigEndian

from clinical.identity import IssuerTable
from dicom_node.intake import Intake
from dicom_node.pixels import DecodeLimits, Decoder
from dicom_node.query.indexing import HeaderIndex
from dicom_node.testing import cr_dataset
from dicom_node.web import Archive
from dicom_node.web.testing import app_of
from record_store.instances import ReceivedInstance, record_instance
from record_store.testing import MemoryBlobs, database

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ROOT = "https://cds.example/dicom-web"


class Held:
    """An archive, its client, and what was put into it."""

    def __init__(self, folder) -> None:
        self.db, self.blobs = database(folder), MemoryBlobs(folder)
        self.scope = None
        index = HeaderIndex(self.db, self.blobs, lambda: NOW)
        intake = Intake(self.db, self.blobs, IssuerTable({"": "urn:h"}), lambda: NOW)
        self.archive = Archive(
            self.db,
            self.blobs,
            ROOT,
            scope=lambda: self.scope,
            intake=intake,
            classes=lambda: frozenset([ComputedRadiographyImageStorage]),
            low_water_bytes=1000,
            catch_up=lambda: index.catch_up(within_s=5),
        )
        self.client = app_of(self.archive).test_client()

    def put(self, ds: Dataset, patient_id: str | None = None) -> bytes:
        buffer = BytesIO()
        if ds.file_meta.TransferSyntaxUID == ExplicitVRBigEndian:
            dcmwrite(buffer, ds, little_endian=False, implicit_vr=False, force_encoding=True)
        else:
            ds.save_as(buffer, enforce_file_format=True)
        data = buffer.getvalue()
        self.put_as(ds, data, patient_id)
        return data

    def put_as(self, ds: Dataset, data: bytes, patient_id: str | None = None) -> None:
        """Put bytes under the names of a data set, whatever they are."""
        blob = self.blobs.put(data)
        row = ReceivedInstance(
            sop_instance_uid=str(ds.SOPInstanceUID),
            sop_class_uid=str(ds.SOPClassUID),
            transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
            study_uid=str(ds.StudyInstanceUID),
            series_uid=str(ds.SeriesInstanceUID),
            modality=str(ds.Modality),
            patient=IssuerTable({"": "urn:h"}).from_dicom("", patient_id or str(ds.PatientID)),
            sha256=blob.sha256,
            size=blob.size,
            calling_ae="A",
            called_ae="B",
        )
        with self.db.write() as conn:
            record_instance(conn, row, NOW)

    def get(self, path, accept=None, **query):
        return self.client.get(
            "/dicom-web" + path, headers={"Accept": accept} if accept else {}, query_string=query
        )


@pytest.fixture(scope="session")
def decoder():
    with Decoder(DecodeLimits(memory_bytes=1 << 30)) as child:
        yield child


@pytest.fixture
def decoding(held, decoder):
    """The archive with a decoder behind it."""
    held.client = app_of(replace(held.archive, decoder=lambda: decoder)).test_client()
    return held


@pytest.fixture
def held(tmp_path):
    one = Held(tmp_path)
    yield one
    one.db.dispose()


@pytest.fixture
def radiograph():
    """radiograph(seed, **attributes) -> a small CR; another seed is another study."""
    pixels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    return lambda seed="a", **attributes: cr_dataset(pixels, seed=seed, **attributes)


@pytest.fixture
def parts_of():
    """parts_of(answer) -> [(headers, body)] of a multipart/related answer, by RFC 2046 and nothing of ours."""

    def split(answer):
        boundary = re.search(r"boundary=([0-9a-f]+)", answer.headers["Content-Type"])[1].encode()
        pieces = answer.data.split(b"--" + boundary)
        assert pieces[0] == b""
        assert pieces[-1] == b"--\r\n"
        found = []
        for piece in pieces[1:-1]:
            head, _, body = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
            body = body.removesuffix(b"\r\n")
            assert int(headers["Content-Length"]) == len(body)
            found.append((headers, body))
        return found

    return split


@pytest.fixture
def path_to():
    """path_to(ds, *rest) -> the path of an object below the root."""

    def path(ds, *rest):
        uids = (ds.StudyInstanceUID, "series", ds.SeriesInstanceUID, "instances", ds.SOPInstanceUID)
        return "/".join(("/studies", *map(str, uids), *rest))

    return path
