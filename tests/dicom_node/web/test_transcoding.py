"""WADO-RS in another transfer syntax than the stored one: the same values, by decoders that are not ours."""

import subprocess
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.encaps import encapsulate

from dicom_node.codecs import use_imagecodecs
from dicom_node.syntaxes import ENCODED
from dicom_node.testing import us_dataset
from dicom_node.transcode import ENCODERS

DICOM = 'multipart/related; type="application/dicom"'
OCTETS = 'multipart/related; type="application/octet-stream"'
VALUES = np.random.default_rng(3).integers(0, 4096, (3, 16, 16)).astype(np.uint16)
COLOURS = np.random.default_rng(4).integers(0, 256, (2, 10, 9, 3)).astype(np.uint8)
TOOL = {uid.RLELossless: "dcmdrle", uid.JPEGLSLossless: "dcmdjpls"}


def grey(radiograph, values=VALUES, **attributes):
    ds = radiograph(**attributes)
    ds.NumberOfFrames, ds.PixelData = len(values), values.tobytes()
    return ds


def colour():
    ds = us_dataset(COLOURS[0])
    ds.NumberOfFrames, ds.PixelData = 2, COLOURS.tobytes()
    return ds


def compressed(ds, syntax, frames):
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2) for frame in frames])
    ds["PixelData"].is_undefined_length = True
    return ds


def j2k(radiograph, values=VALUES, **attributes):
    frames = [bytes(imagecodecs.jpeg2k_encode(one, level=0, codecformat="j2k")) for one in values]
    return compressed(grey(radiograph, values, **attributes), uid.JPEG2000Lossless, frames)


def retrieved(decoding, path, accept, parts_of):
    ((headers, body),) = parts_of(decoding.get(path, accept))
    return headers["Content-Type"], body


def test_what_the_server_says_that_it_encodes_is_what_it_encodes():
    assert set(ENCODED) == set(ENCODERS)


@pytest.mark.parametrize("accept", [DICOM, f"{DICOM}; transfer-syntax={uid.ExplicitVRLittleEndian}"])
def test_a_compressed_object_comes_as_explicit_little_endian_when_the_client_names_that_or_none(
    decoding, radiograph, path_to, parts_of, accept
):
    ds = j2k(radiograph, PatientName="Müller^Ärna", SpecificCharacterSet="ISO_IR 100")
    decoding.put(ds)
    said, body = retrieved(decoding, path_to(ds), accept, parts_of)
    back = dcmread(BytesIO(body))
    assert said == f"application/dicom; transfer-syntax={uid.ExplicitVRLittleEndian}"
    assert back.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian
    assert np.array_equal(back.pixel_array, VALUES)
    assert back.PatientName == ds.PatientName
    assert body[:128] == bytes(128)


def test_any_transfer_syntax_is_the_stored_one_bit_for_bit(decoding, radiograph, path_to, parts_of):
    ds = j2k(radiograph)
    sent = decoding.put(ds)
    said, body = retrieved(decoding, path_to(ds), f"{DICOM}; transfer-syntax=*", parts_of)
    assert (said, body) == (f"application/dicom; transfer-syntax={uid.JPEG2000Lossless}", sent)


@pytest.mark.parametrize("syntax", ENCODED)
@pytest.mark.parametrize("kind", ["grey", "colour"])
def test_a_native_object_is_encoded_without_loss_when_the_client_asks_for_it(
    decoding, radiograph, path_to, parts_of, tmp_path, syntax, kind
):
    ds, truth = (grey(radiograph), VALUES) if kind == "grey" else (colour(), COLOURS)
    decoding.put(ds)
    _, body = retrieved(decoding, path_to(ds), f"{DICOM}; transfer-syntax={syntax}", parts_of)
    use_imagecodecs()
    assert np.array_equal(dcmread(BytesIO(body)).pixel_array, truth)
    if syntax in TOOL:  # dcmtk reads it too
        (tmp_path / "in.dcm").write_bytes(body)
        subprocess.run([TOOL[syntax], "in.dcm", "out.dcm"], cwd=tmp_path, check=True, timeout=60)
        assert np.array_equal(dcmread(tmp_path / "out.dcm").pixel_array, truth)


ODD = {
    "bytes": VALUES.astype(np.uint8)[:1],
    "signed": (VALUES.astype(np.int16) - 2048)[:1],
    "an odd number of bytes": np.uint8(np.arange(35).reshape(1, 5, 7)),
    "all 16 bits": VALUES[:1] * 16,
}


@pytest.mark.parametrize("kind", ODD)
def test_signs_widths_and_odd_sizes_survive_there_and_back(decoding, radiograph, path_to, parts_of, kind):
    values = ODD[kind]
    bits = values.dtype.itemsize * 8
    ds = j2k(
        radiograph, values, Rows=values.shape[1], Columns=values.shape[2], BitsAllocated=bits, BitsStored=bits,
        HighBit=bits - 1, PixelRepresentation=int(values.dtype.kind == "i"),
    )  # fmt: skip
    decoding.put(ds)
    _, body = retrieved(decoding, path_to(ds), DICOM, parts_of)
    assert np.array_equal(dcmread(BytesIO(body)).pixel_array, values[0])
    assert len(dcmread(BytesIO(body)).PixelData) % 2 == 0


def test_signed_values_are_not_offered_as_jpeg_ls(decoding, radiograph, path_to):
    values = VALUES.astype(np.int16) - 2048
    ds = grey(radiograph, values, PixelRepresentation=1, BitsStored=16, HighBit=15)
    decoding.put(ds)
    assert decoding.get(path_to(ds), f"{DICOM}; transfer-syntax={uid.JPEGLSLossless}").status_code == 406


@pytest.mark.parametrize(
    "syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian]
)
def test_other_encodings_of_a_native_object_come_as_explicit_little_endian(
    decoding, radiograph, path_to, parts_of, syntax
):
    ds = grey(radiograph, PatientName="Yamada^Tarou=山田^太郎")
    ds.file_meta.TransferSyntaxUID = syntax
    if syntax == uid.ExplicitVRBigEndian:
        ds.PixelData = VALUES.astype(">u2").tobytes()
    decoding.put(ds)
    _, body = retrieved(decoding, path_to(ds), DICOM, parts_of)
    back = dcmread(BytesIO(body))
    assert back.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian
    assert np.array_equal(back.pixel_array, VALUES)
    assert (back.PatientName, back.ImagerPixelSpacing) == (ds.PatientName, ds.ImagerPixelSpacing)


def test_lossy_colour_becomes_rgb_and_stays_marked_as_lossy(decoding, path_to, parts_of):
    smooth = np.uint8(np.add.outer(np.arange(16), np.arange(16))[..., None] * [4, 6, 8])
    ds = us_dataset(smooth, PhotometricInterpretation="YBR_FULL_422", LossyImageCompression=None)
    compressed(ds, uid.JPEGBaseline8Bit, [bytes(imagecodecs.jpeg8_encode(smooth, level=95))])
    decoding.put(ds)
    _, body = retrieved(decoding, path_to(ds), DICOM, parts_of)
    back = dcmread(BytesIO(body))
    assert (back.PhotometricInterpretation, back.LossyImageCompression) == ("RGB", "01")
    assert np.abs(back.pixel_array.astype(int) - smooth).max() < 30


@pytest.mark.parametrize(
    "accept",
    [
        f"{DICOM}; transfer-syntax={uid.JPEGBaseline8Bit}",
        f"{DICOM}; transfer-syntax=1.2.3",
        f"{DICOM}; transfer-syntax={uid.ImplicitVRLittleEndian}",
    ],
)
def test_what_cannot_be_had_is_406_and_says_what_can(decoding, radiograph, path_to, accept):
    ds = j2k(radiograph)
    decoding.put(ds)
    answer = decoding.get(path_to(ds), accept)
    assert answer.status_code == 406
    assert all(one in answer.text for one in (uid.JPEG2000Lossless, uid.ExplicitVRLittleEndian, uid.RLELossless))


def test_a_video_goes_out_as_it_is_stored_to_whoever_names_no_syntax(decoding, radiograph, path_to, parts_of):
    ds = compressed(radiograph(), uid.MPEG2MPML, [b"moving"])
    sent = decoding.put(ds)
    assert retrieved(decoding, path_to(ds), DICOM, parts_of)[1] == sent
    explicit = f"{DICOM}; transfer-syntax={uid.ExplicitVRLittleEndian}"
    assert decoding.get(path_to(ds), explicit).status_code == 406


def test_one_image_that_cannot_be_decoded_keeps_nobody_from_the_rest_of_its_study(
    decoding, radiograph, parts_of, path_to
):
    for number in range(3):
        ds = j2k(radiograph)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.{number}"
        if number == 1:
            compressed(ds, uid.JPEG2000Lossless, [b"\xff\x4f\xff\x51 broken"] * 3)
        decoding.put(ds)
    parts = parts_of(decoding.get(f"/studies/{ds.StudyInstanceUID}", DICOM))
    said = [headers["Content-Type"].partition("transfer-syntax=")[2] for headers, _ in parts]
    assert said == [uid.ExplicitVRLittleEndian, uid.JPEG2000Lossless, uid.ExplicitVRLittleEndian]
    ds.SOPInstanceUID = "1.2.1"
    assert decoding.get(path_to(ds), DICOM).status_code == 406  # alone it is an error, and not a 5xx


def test_frames_come_native_or_encoded_as_the_client_takes_them(decoding, radiograph, path_to, parts_of):
    ds = j2k(radiograph)
    decoding.put(ds)
    native = parts_of(decoding.get(path_to(ds, "frames", "3,1"), OCTETS))
    assert [body for _, body in native] == [VALUES[2].tobytes(), VALUES[0].tobytes()]
    assert native[0][0]["Content-Type"].endswith(uid.ExplicitVRLittleEndian)
    ((headers, body),) = parts_of(decoding.get(path_to(ds, "frames", "2"), 'multipart/related; type="image/jls"'))
    assert headers["Content-Type"] == f"image/jls; transfer-syntax={uid.JPEGLSLossless}"
    assert np.array_equal(imagecodecs.jpegls_decode(body), VALUES[1])
    assert decoding.get(path_to(ds, "frames", "4"), OCTETS).status_code == 404
    assert decoding.get(path_to(ds, "frames", "1"), 'multipart/related; type="image/jpeg"').status_code == 406


def test_a_range_of_a_single_object_and_its_tag(decoding, radiograph, path_to):
    ds = grey(radiograph)
    sent = decoding.put(ds)
    whole = decoding.get(path_to(ds), "application/dicom; transfer-syntax=*")
    headers = {"Accept": "application/dicom; transfer-syntax=*"}
    path = f"/dicom-web{path_to(ds)}"
    part = decoding.client.get(path, headers=headers | {"Range": "bytes=100-299"})
    assert (part.status_code, part.data) == (206, sent[100:300])
    assert part.headers["Content-Range"] == f"bytes 100-299/{len(sent)}"
    assert whole.headers["Accept-Ranges"] == "bytes"
    assert decoding.client.get(path, headers=headers | {"Range": "bytes=999999-"}).status_code == 416
    stale = headers | {"Range": "bytes=0-9", "If-Range": '"of another"'}
    assert decoding.client.get(path, headers=stale).status_code == 200
    known = decoding.client.get(path, headers=headers | {"If-None-Match": whole.headers["ETag"]})
    assert (known.status_code, known.data) == (304, b"")
    # Another representation has another tag.
    assert decoding.get(path_to(ds), DICOM).headers["ETag"] != whole.headers["ETag"]


@pytest.mark.parametrize("rest", [(), ("metadata",), ("frames", "1"), ("bulkdata", "7FE00010"), ("rendered",)])
def test_what_the_client_holds_is_not_sent_again(decoding, radiograph, path_to, rest):
    ds = grey(radiograph)
    decoding.put(ds)
    tag = decoding.get(path_to(ds, *rest)).headers["ETag"]
    again = decoding.client.get(f"/dicom-web{path_to(ds, *rest)}", headers={"If-None-Match": tag})
    assert (again.status_code, again.data, again.headers["ETag"].strip("W/")) == (304, b"", tag.strip("W/"))


def test_nothing_is_left_of_what_was_made_for_a_client(decoding, radiograph, path_to):
    ds = j2k(radiograph)
    decoding.put(ds)
    assert decoding.get(path_to(ds), DICOM).data
    assert not [one for one in decoding.blobs.staging.iterdir() if "consilium.db" not in one.name]
