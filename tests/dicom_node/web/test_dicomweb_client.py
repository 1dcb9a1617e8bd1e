"""dicomweb-client (PyPI), a client that is not ours, asks a served archive for everything that it knows to ask."""

import threading
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from pydicom import uid
from requests import HTTPError
from werkzeug.serving import make_server

from clinical.identity import IssuerTable
from dicom_node.intake import Intake
from dicom_node.pixels import Decoder
from dicom_node.query.indexing import HeaderIndex
from dicom_node.testing import cr_dataset
from dicom_node.web import Archive
from dicom_node.web.testing import app_of
from record_store.testing import MemoryBlobs, database
from tests.dicom_node.web.conftest import NOW

VALUES = np.random.default_rng(5).integers(0, 4096, (2, 64, 48)).astype(np.uint16)
J2K = (("application/dicom", uid.JPEG2000Lossless),)


def image(number, study="client", **attributes):
    ds = cr_dataset(
        VALUES[0], seed=study, PatientID=f"PAT-{study}", PatientName="Yamada^Tarou=山田^太郎", **attributes
    )
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
    ds.preamble = bytes(128)  # the client writes one only where there was one
    ds.NumberOfFrames, ds.PixelData, ds.InstanceNumber = 2, VALUES.tobytes(), number
    ds.add_new(0x00420011, "OB", bytes(range(256)) * 20)
    return ds


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """A client of a served archive in which it has stored two images of one study and one of another."""
    folder = tmp_path_factory.mktemp("archive")
    db, blobs = database(folder), MemoryBlobs(folder)
    with Decoder() as decoder:
        archive = Archive(
            db,
            blobs,
            "",
            intake=Intake(db, blobs, IssuerTable({"": "urn:h"}), lambda: NOW),
            decoder=lambda: decoder,
            catch_up=HeaderIndex(db, blobs, lambda: NOW).catch_up,
        )
        server = make_server("127.0.0.1", 0, None, threaded=True)
        root = f"http://127.0.0.1:{server.server_port}/dicom-web"
        server.app = app_of(replace(archive, root=root))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        made = DICOMwebClient(root)
        made.store_instances([image(1), image(2), image(9, "other", StudyDescription="Knee")])
        yield made
        server.shutdown()
        thread.join(5)
        server.server_close()
    db.dispose()


STUDY, SERIES = str(image(1).StudyInstanceUID), str(image(1).SeriesInstanceUID)
PATH = (STUDY, SERIES, "1.2.3.1")


def test_it_stores_and_reads_what_became_of_each(client):
    answer = client.store_instances([image(1), image(3)], study_instance_uid=STUDY)
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == ["1.2.3.1", "1.2.3.3"]
    with pytest.raises(HTTPError) as refused:
        client.store_instances([image(4, "other")], study_instance_uid=STUDY)
    assert refused.value.response.status_code == 409


def test_it_searches_studies_series_and_instances_with_filters_fields_and_pages(client):
    assert len(client.search_for_studies()) == 2
    (study,) = client.search_for_studies(search_filters={"PatientID": "PAT-other"}, fields=["StudyDescription"])
    assert study["00081030"]["Value"] == ["Knee"]
    assert study["00201208"]["Value"] == [1]
    assert len(client.search_for_studies(search_filters={"PatientName": "yamada*"}, fuzzymatching=False)) == 2
    assert client.search_for_studies(search_filters={"PatientID": "nobody"}) == []
    assert len(client.search_for_studies(limit=1)) == len(client.search_for_studies(limit=1, offset=1)) == 1
    assert len(client.search_for_studies(limit=1, get_remaining=True)) == 2
    (series,) = client.search_for_series(STUDY, search_filters={"Modality": "CR"})
    assert series["0020000E"]["Value"] == [SERIES]
    assert len(client.search_for_series()) == 2
    numbers = {one["00200013"]["Value"][0] for one in client.search_for_instances(STUDY, SERIES)}
    assert numbers >= {1, 2}
    (found,) = client.search_for_instances(search_filters={"SOPInstanceUID": "1.2.3.9"})
    assert found["0020000D"]["Value"] != [STUDY]


def test_it_retrieves_studies_series_and_instances_as_stored_and_as_it_asks_for_them(client):
    assert len(client.retrieve_study(STUDY)) >= 2
    assert {one.SOPInstanceUID for one in client.iter_series(STUDY, SERIES)} >= {"1.2.3.1", "1.2.3.2"}
    ds = client.retrieve_instance(*PATH)
    assert ds == image(1)
    packed = client.retrieve_instance(*PATH, media_types=J2K)
    assert packed.file_meta.TransferSyntaxUID == uid.JPEG2000Lossless
    assert np.array_equal(packed.pixel_array, VALUES)
    with pytest.raises(HTTPError) as refused:
        client.retrieve_instance(*PATH, media_types=(("application/dicom", uid.JPEGBaseline8Bit),))
    assert refused.value.response.status_code == 406


def test_it_retrieves_metadata_at_each_level_and_bulk_data_by_its_address(client):
    assert len(client.retrieve_study_metadata(STUDY)) >= 2
    assert len(client.retrieve_series_metadata(STUDY, SERIES)) >= 2
    found = client.retrieve_instance_metadata(*PATH)
    assert found["00100010"]["Value"] == [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]
    address = found["00420011"]["BulkDataURI"]
    assert client.retrieve_bulkdata(address) == [bytes(range(256)) * 20]
    pixels = client.retrieve_bulkdata(found["7FE00010"]["BulkDataURI"], media_types=("application/octet-stream",))
    assert pixels == [VALUES.tobytes()]
    assert next(client.iter_bulkdata(address)) == bytes(range(256)) * 20


def test_it_retrieves_frames_native_and_encoded(client):
    assert client.retrieve_instance_frames(*PATH, frame_numbers=[2, 1]) == [
        VALUES[1].tobytes(),
        VALUES[0].tobytes(),
    ]
    octets = (("application/octet-stream", uid.ExplicitVRLittleEndian),)
    assert client.retrieve_instance_frames(*PATH, frame_numbers=[1], media_types=octets) == [VALUES[0].tobytes()]
    (frame,) = client.iter_instance_frames(*PATH, [2], media_types=(("image/jp2", uid.JPEG2000Lossless),))
    assert frame.startswith(b"\xff\x4f\xff\x51")


@pytest.mark.parametrize(("media_type", "kind"), [("image/jpeg", "JPEG"), ("image/png", "PNG")])
def test_it_retrieves_pictures_of_instances_and_frames(client, media_type, kind):
    whole = client.retrieve_instance_rendered(*PATH, media_types=(media_type,))
    small = {"window": "2000,4000,linear", "viewport": "24,32"}
    frame = client.retrieve_instance_frames_rendered(*PATH, [2], media_types=(media_type,), params=small)
    for data, size in ((whole, (48, 64)), (frame, (24, 32))):
        with Image.open(BytesIO(data)) as picture:
            assert (picture.format, picture.size) == (kind, size)


def test_what_is_not_offered_is_an_error_that_it_understands(client):
    with pytest.raises(HTTPError) as refused:
        client.delete_study(STUDY)
    assert refused.value.response.status_code == 405
    with pytest.raises(HTTPError) as absent:
        client.retrieve_instance_metadata(STUDY, SERIES, "1.2.3.404")
    assert absent.value.response.status_code == 404
