"""STOW-RS with metadata and bulk data: the object is the one that a file would have made; nothing is fetched."""

import json
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread, uid

from dicom_node.web.json_objects import MAX_DEPTH

CONTENT = 'multipart/related; type="application/dicom+json"; boundary=bb'
PIXELS = "https://client.example/bulk/1"


def described(ds, **changes):
    found = ds.to_json_dict(bulk_data_threshold=1, bulk_data_element_handler=lambda _element: PIXELS)
    return found | changes


def part(content_type, body, location=""):
    where = f"Content-Location: {location}\r\n" if location else ""
    return f"--bb\r\nContent-Type: {content_type}\r\n{where}\r\n".encode() + body + b"\r\n"


def post(held, metadata, *bulk, path="/studies"):
    text = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
    body = part("application/dicom+json", text) + b"".join(part(*one) for one in bulk) + b"--bb--\r\n"
    return held.client.post("/dicom-web" + path, data=body, headers={"Content-Type": CONTENT})


def stored(held, path_to, ds):
    return dcmread(BytesIO(held.get(path_to(ds), "application/dicom; transfer-syntax=*").data))


def test_metadata_and_pixels_become_the_object_that_a_file_would_have_been(held, radiograph, path_to):
    ds = radiograph(PatientName="Yamada^Tarou=山田^太郎", SpecificCharacterSet="ISO_IR 192")
    answer = post(held, [described(ds)], ("application/octet-stream", ds.PixelData, PIXELS))
    assert answer.status_code == 200
    back = stored(held, path_to, ds)
    assert back.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian
    assert back == ds


def test_several_objects_share_a_request_and_each_has_its_own_fate(held, radiograph):
    good, lonely = radiograph("a"), radiograph("b")
    orphan = described(lonely)
    orphan["7FE00010"]["BulkDataURI"] = "https://elsewhere.example/secret"
    answer = post(held, [described(good), orphan, {"00080018": {"vr": "UI"}}],
                  ("application/octet-stream", good.PixelData, PIXELS))  # fmt: skip
    assert answer.status_code == 202
    assert len(answer.json["00081199"]["Value"]) == 1
    # Neither could be made into an object, so there is no name to give them.
    assert [one["00081197"]["Value"] for one in answer.json["0008119A"]["Value"]] == [[0xA900], [0xA900]]


@pytest.mark.parametrize(
    ("media_type", "syntax", "encode"),
    [
        (
            "image/jp2",
            uid.JPEG2000Lossless,
            lambda one: imagecodecs.jpeg2k_encode(one, level=0, codecformat="j2k"),
        ),
        ("image/jls", uid.JPEGLSLossless, imagecodecs.jpegls_encode),
        (
            f"application/octet-stream; transfer-syntax={uid.JPEGLSLossless}",
            uid.JPEGLSLossless,
            imagecodecs.jpegls_encode,
        ),
    ],
)
def test_compressed_frames_are_a_part_each(held, radiograph, path_to, media_type, syntax, encode):
    frames = np.random.default_rng(1).integers(0, 4096, (2, 16, 16)).astype(np.uint16)
    ds = radiograph()
    ds.NumberOfFrames = 2
    bulk = [(media_type, bytes(encode(one)), PIXELS) for one in frames]
    assert post(held, described(ds), *bulk).status_code == 200
    back = stored(held, path_to, ds)
    assert back.file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(back.pixel_array, frames)
    assert post(held, described(ds), bulk[0]).status_code == 409  # one frame of two


def deep(levels):
    item = {"00080100": {"vr": "SH", "Value": ["x"]}}
    for _ in range(levels):
        item = {"00081140": {"vr": "SQ", "Value": [item]}}
    return item


@pytest.mark.parametrize(
    "metadata",
    [
        b"", b"{", b"[]", b"1", b"[1]", b"null", b'{"00080018": NaN}', b"\xff\xfe", b"[" * 100_000,
        b"1" * 5000,
    ],
)  # fmt: skip
def test_metadata_that_is_none_is_refused_whole(held, metadata):
    answer = post(held, metadata)
    assert (answer.status_code, held.blobs.stored) == (400, {})


@pytest.mark.parametrize(
    "change",
    [
        {"00080018": {"vr": "UI", "Value": ["../evil"]}}, {"00080018": {"vr": "UI"}},
        {"00080018": {"Value": ["1.2"]}},
        {"00080016": {"vr": "UI", "Value": [7]}}, {"00280010": {"vr": "US", "Value": ["many"]}},
        {"00280010": {"vr": "US", "Value": [70000]}}, {"zzzz": {"vr": "UI", "Value": ["1.2"]}},
        {"00100010": {"vr": "PN", "Value": "no list"}}, {"00081140": {"vr": "SQ", "Value": [1]}},
        {"00020010": {"vr": "UI", "Value": ["1.2.840.10008.1.2.4.50"]}}, {"00100020": 5},
        deep(MAX_DEPTH),
        {"00420011": {"vr": "OB", "InlineBinary": "%%%"}},
        {"00420011": {"vr": "OB", "BulkDataURI": "file:///etc/passwd"}},
    ],
)  # fmt: skip
def test_an_object_that_cannot_be_made_fails_alone_and_never_with_a_5xx(held, radiograph, change):
    ds = radiograph()
    answer = post(held, [described(ds) | change], ("application/octet-stream", ds.PixelData, PIXELS))
    assert (answer.status_code, held.blobs.stored) == (409, {})
    assert all(one["00081197"]["Value"] for tag in answer.json for one in answer.json[tag]["Value"])


@pytest.mark.parametrize(
    "bulk",
    [
        [("text/plain", b"x", PIXELS)],
        [("image/jp2; transfer-syntax=1.2.840.10008.1.2.1", b"x", PIXELS)],
        [("application/octet-stream; transfer-syntax=1.2.840.10008.1.2.2", b"x", PIXELS)],
        [("application/octet-stream; transfer-syntax=1.2.3", b"x", PIXELS)],
        [("application/octet-stream", b"x", PIXELS), ("image/jp2", b"x", PIXELS)],
        [("application/octet-stream", b"x", PIXELS)] * 2,
        [("application/octet-stream", b"x", "")],
        [],
    ],
)
def test_pixels_that_are_not_there_or_contradict_themselves_store_nothing(held, radiograph, bulk):
    answer = post(held, [described(radiograph())], *bulk)
    assert (answer.status_code, held.blobs.stored) == (409, {})


def test_the_metadata_comes_first(held, radiograph):
    ds = radiograph()
    body = part("application/octet-stream", ds.PixelData, PIXELS) + b"--bb--\r\n"
    assert held.client.post("/dicom-web/studies", data=body, headers={"Content-Type": CONTENT}).status_code == 400
