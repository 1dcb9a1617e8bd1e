"""WADO-RS: stored bytes come back as they are, in the forms of PS3.18 and only to whom they are meant."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from dicom_node.web.testing import app_of
from record_store.exchanges import Kind, Outcome, Party

PARTS = 'multipart/related; type="application/dicom"; transfer-syntax=*'
OCTETS = "multipart/related; type=application/octet-stream; transfer-syntax=*"


def bits_dataset(radiograph, masks):
    """A binary SEG's way of storing: frames of one bit without a gap between them (PS3.5 8.1.1)."""
    ds = radiograph()
    ds.NumberOfFrames, ds.Rows, ds.Columns = masks.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 1, 1, 0
    packed = np.packbits(masks.ravel(), bitorder="little").tobytes()
    ds.PixelData = packed + b"\0" * (len(packed) % 2)
    ds["PixelData"].VR = "OB"
    return ds


def test_an_object_comes_back_bit_for_bit_with_its_preamble_zeroed(held, radiograph, parts_of, path_to):
    ds = radiograph()
    ds.preamble = b"MZ evil program".ljust(128, b"!")
    sent = held.put(ds)
    answer = held.get(path_to(ds), PARTS)
    ((headers, body),) = parts_of(answer)
    assert body == b"\0" * 128 + sent[128:]
    assert headers["Content-Type"] == f"application/dicom; transfer-syntax={uid.ExplicitVRLittleEndian}"
    assert 'type="application/dicom"' in answer.headers["Content-Type"]
    assert answer.headers["Content-Disposition"].startswith("attachment")


def test_one_object_comes_alone_when_the_client_wants_it_so(held, radiograph, path_to):
    ds = radiograph()
    sent = held.put(ds)
    answer = held.get(path_to(ds), "application/dicom")
    assert (answer.content_type, answer.data) == ("application/dicom", sent)


def test_a_study_has_all_its_objects_in_parts(held, radiograph, parts_of):
    held.put(radiograph())
    other = radiograph()
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    held.put(other)
    parts = parts_of(held.get(f"/studies/{other.StudyInstanceUID}"))
    assert {dcmread(BytesIO(body)).SOPInstanceUID for _, body in parts} == {"1.2.3", radiograph().SOPInstanceUID}


@pytest.mark.parametrize("accept", ["image/jpeg", f"{PARTS[:-1]}{uid.JPEG2000}", "application/dicom;q=0"])
def test_nothing_is_transcoded(held, radiograph, path_to, accept):
    ds = radiograph()
    held.put(ds)
    assert held.get(path_to(ds), accept).status_code == 406


def test_an_object_is_found_only_below_its_own_study_and_series(held, radiograph, path_to):
    ds, other = radiograph("a"), radiograph("b")
    held.put(ds)
    held.put(other)
    other.SOPInstanceUID = ds.SOPInstanceUID
    assert held.get(path_to(other)).status_code == 404
    ds.SeriesInstanceUID = other.SeriesInstanceUID
    assert held.get(path_to(ds)).status_code == 404


def test_metadata_is_the_whole_data_set_with_long_values_by_address(held, radiograph, path_to):
    ds = radiograph(PatientName="Yamada^Tarou=山田^太郎")
    item = Dataset()
    item.add_new(0x00420011, "OB", b"x" * 2000)
    ds.add_new(0x00081140, "SQ", [item])
    ds.add_new(0x00420011, "OB", b"y" * 5000)
    held.put(ds)
    (found,) = held.get(path_to(ds, "metadata")).get_json()
    assert found["00100010"]["Value"] == [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]
    assert found["00181164"]["Value"] == [0.4, 0.4]
    assert found["00280010"] == {"vr": "US", "Value": [16]}
    assert found["7FE00010"]["BulkDataURI"].endswith("/bulkdata/7FE00010")
    nested = found["00081140"]["Value"][0]["00420011"]["BulkDataURI"]
    for address, value in ((nested, b"x" * 2000), (found["00420011"]["BulkDataURI"], b"y" * 5000)):
        answer = held.get(address.removeprefix("https://cds.example/dicom-web"), "application/octet-stream")
        assert answer.data == value
    assert held.get(path_to(ds, "bulkdata", "7FE00010"), "application/octet-stream").data == ds.PixelData


def test_what_json_cannot_say_is_left_out_and_the_rest_is_told(held, radiograph, path_to):
    ds = radiograph()
    ds.add_new(0x00189073, "FD", float("nan"))
    held.put(ds)
    (found,) = held.get(path_to(ds, "metadata")).get_json()
    assert found["00189073"] == {"vr": "FD", "Value": [None]}
    assert found["00100020"]["Value"]


def test_native_frames_are_slices(held, radiograph, parts_of, path_to):
    ds = radiograph()
    stack = np.arange(3 * 256, dtype=np.uint16)
    ds.NumberOfFrames, ds.PixelData = 3, stack.tobytes()
    held.put(ds)
    parts = parts_of(held.get(path_to(ds, "frames", "3,1"), OCTETS))
    assert [body for _, body in parts] == [stack[512:].tobytes(), stack[:256].tobytes()]
    assert parts[0][0]["Content-Type"] == f"application/octet-stream; transfer-syntax={uid.ExplicitVRLittleEndian}"


def test_frames_of_one_bit_each_begin_with_a_byte(held, radiograph, parts_of, path_to):
    masks = np.random.default_rng(1).integers(0, 2, (3, 5, 7)).astype(np.uint8)  # 35 bits: no frame but the first
    ds = bits_dataset(radiograph, masks)
    held.put(ds)
    parts = parts_of(held.get(path_to(ds, "frames", "1,2,3"), OCTETS))
    for (_, body), mask in zip(parts, masks, strict=True):
        bits = np.unpackbits(np.frombuffer(body, np.uint8), bitorder="little")
        assert np.array_equal(bits[:35].reshape(5, 7), mask)
        assert not bits[35:].any()


def test_big_endian_pixels_are_turned_because_the_answer_says_little_endian(held, radiograph, parts_of, path_to):
    ds = radiograph()
    ds.PixelData = np.arange(256, dtype=">u2").tobytes()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    held.put(ds)
    ((_, body),) = parts_of(held.get(path_to(ds, "frames", "1"), OCTETS))
    assert body == np.arange(256, dtype="<u2").tobytes()


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (OCTETS, "application/octet-stream"),
        ('multipart/related; type="image/jp2"', "image/jp2"),
        (None, "image/jp2"),
    ],
)
def test_compressed_frames_are_the_stored_codestream(held, radiograph, parts_of, path_to, accept, media_type):
    frames = [b"\xff\x4f\xff\x51 one\x00", b"\xff\x4f\xff\x51 another", b"\xff\x4f\xff\x51 third\x00"]
    ds = radiograph()
    ds.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
    ds.NumberOfFrames = 3
    ds.PixelData = encapsulate(frames)
    ds["PixelData"].is_undefined_length = True
    held.put(ds)
    ((headers, body),) = parts_of(held.get(path_to(ds, "frames", "2"), accept))
    assert body.rstrip(b"\0") == frames[1]
    assert headers["Content-Type"] == f"{media_type}; transfer-syntax={uid.JPEG2000Lossless}"


def test_compressed_pixels_by_their_address_are_their_frames(held, radiograph, parts_of, path_to):
    frames = [b"\xff\x4f\xff\x51 one\x00", b"\xff\x4f\xff\x51 two\x00"]
    ds = radiograph()
    ds.file_meta.TransferSyntaxUID, ds.NumberOfFrames = uid.JPEG2000Lossless, 2
    ds.PixelData = encapsulate(frames)
    ds["PixelData"].is_undefined_length = True
    held.put(ds)
    (found,) = held.get(path_to(ds, "metadata")).get_json()
    address = found["7FE00010"]["BulkDataURI"].removeprefix("https://cds.example/dicom-web")
    assert [body.rstrip(b"\0") for _, body in parts_of(held.get(address))] == [one.rstrip(b"\0") for one in frames]


def test_who_wants_uncompressed_frames_of_a_compressed_object_reads_406(held, radiograph, path_to):
    ds = radiograph()
    ds.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
    ds.PixelData = encapsulate([b"\xff\x4f\xff\x51"])
    ds["PixelData"].is_undefined_length = True
    held.put(ds)
    assert (
        held.get(path_to(ds, "frames", "1"), 'multipart/related; type="application/octet-stream"').status_code
        == 406
    )


@pytest.mark.parametrize(
    ("numbers", "status"), [("0", 400), ("x", 400), ("2", 404), (",".join(["1"] * 1001), 400)]
)
def test_frames_that_are_not_there_are_said_so(held, radiograph, path_to, numbers, status):
    ds = radiograph()
    held.put(ds)
    assert held.get(path_to(ds, "frames", numbers)).status_code == status


def test_pixels_shorter_than_declared_are_an_error_and_never_a_short_frame(held, radiograph, path_to):
    ds = radiograph()
    ds.NumberOfFrames = 2
    held.put(ds)
    assert held.get(path_to(ds, "frames", "2")).status_code == 400


def test_a_deflated_object_is_stored_as_such_and_its_frames_are_told(held, radiograph, parts_of, path_to):
    ds = radiograph()
    pixels = ds.PixelData
    ds.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    held.put(ds)
    ((_, body),) = parts_of(held.get(path_to(ds, "frames", "1"), OCTETS))
    assert body == pixels
    (found,) = held.get(path_to(ds, "metadata")).get_json()
    assert found["00083002"]["Value"] == [uid.DeflatedExplicitVRLittleEndian]
    assert len(held.get("/studies").get_json()) == 1


def test_no_more_objects_are_retrieved_at_once_than_may_be(held, radiograph, path_to):
    ds = radiograph()
    held.put(ds)
    while held.archive.downloads.acquire(blocking=False):
        pass
    answer = held.get(path_to(ds))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    held.archive.downloads.release()
    for _ in range(3):  # each answer gives its place back
        with held.get(path_to(ds)) as answer:
            assert answer.status_code == 200


def test_every_request_is_noted_with_its_parties_and_no_value(held, radiograph, path_to):
    notes = []
    held.client = app_of(
        replace(held.archive, note=notes.append, us=Party("US"), caller=lambda: Party("someone", "192.0.2.1"))
    ).test_client()
    ds = radiograph(PatientID="SECRET-1")
    held.put(ds)
    held.get("/studies", PatientID="SECRET-1")
    held.get(path_to(ds))
    held.get(path_to(ds, "metadata"))
    held.get("/studies/1.2.3")
    held.scope = "1.2.3"
    held.client.post("/dicom-web/studies", data=b"x")
    assert [(one.what, one.kind, one.outcome) for one in notes] == [
        ("QIDO-RS", Kind.QUERY, Outcome.SUCCESS),
        ("WADO-RS", Kind.TRANSFERRED, Outcome.SUCCESS),
        ("WADO-RS", Kind.ACCESSED, Outcome.SUCCESS),
        ("WADO-RS", Kind.TRANSFERRED, Outcome.SERIOUS),
        ("STOW-RS", Kind.REFUSED, Outcome.SERIOUS),
    ]
    assert (notes[0].source.name, notes[0].destination.name, notes[0].note) == ("someone", "US", "200 PatientID")
    assert (notes[1].source.name, notes[1].asked_by_destination) == ("US", True)
    assert notes[1].studies == {ds.StudyInstanceUID: 1}
    assert "SECRET" not in str(notes)
