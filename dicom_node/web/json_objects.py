"""Objects out of DICOM JSON and bulk data (PS3.18 10.5.1, annex F): each becomes the file that C-STORE would make.

A BulkDataURI names a part of the same message by its Content-Location and nothing else: nothing is ever fetched.
Uncompressed pixels are one part of application/octet-stream, little endian; compressed ones a part for each frame,
whose media type and transfer-syntax say what they are (PS3.18 8.7.3.5.2).
"""

import base64
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from clinical.errors import IncorrectInput, Unsupported
from dicom_node.decoder_errors import DECODER_ERRORS
from dicom_node.web.media import parameters
from dicom_node.web.multipart import ReceivedPart

MAX_JSON_BYTES = 16 << 20
MAX_DEPTH = 64
JSON = ("application/dicom+json", "application/json")
OCTETS = "application/octet-stream"
# PS3.18 table 8.7.3-5: the transfer syntax of a media type that names none, and what it may name.
_DEFAULTS: Mapping[str, str] = {
    OCTETS: uid.ExplicitVRLittleEndian,
    "image/jpeg": uid.JPEGLosslessSV1,
    "image/jls": uid.JPEGLSLossless,
    "image/jp2": uid.JPEG2000Lossless,
    "image/jphc": uid.HTJ2KLossless,
    "image/dicom-rle": uid.RLELossless,
}
_PIXELS = "7FE00010"
_MALFORMED = "the metadata is not DICOM JSON"


def objects_of(parts: Sequence[ReceivedPart]) -> Iterator[Dataset | IncorrectInput | Unsupported]:
    """Yield a data set with its file meta group's transfer syntax for each object, or why there is none.

    Raises IncorrectInput when the metadata of the message as a whole cannot be read.
    """
    texts = [part for part in parts if _kind(part) in JSON]
    if not texts or texts[0] is not parts[0]:
        raise IncorrectInput("the first part is the metadata, application/dicom+json")
    bulk: defaultdict[str, list[ReceivedPart]] = defaultdict(list)
    for part in parts:
        if part not in texts:
            bulk[part.headers.get("content-location", "")].append(part)
    bulk.pop("", None)
    for described in [one for text in texts for one in _read(text)]:
        try:
            yield _object(described, bulk)
        except (IncorrectInput, Unsupported) as error:
            yield error
        except DECODER_ERRORS:
            yield IncorrectInput(_MALFORMED)


def _read(part: ReceivedPart) -> list[dict[str, Any]]:
    if len(part.body) > MAX_JSON_BYTES:
        raise IncorrectInput(f"the metadata is longer than {MAX_JSON_BYTES >> 20} MiB")
    try:
        found = orjson.loads(part.body)
    except orjson.JSONDecodeError:
        raise IncorrectInput(_MALFORMED) from None
    objects = found if isinstance(found, list) else [found]
    if not objects or not all(isinstance(one, dict) for one in objects):
        raise IncorrectInput(_MALFORMED)
    return objects


def _check(value: object, left: int) -> None:
    """Raise IncorrectInput when values nest deeper than `left`, as what reads them recurses, or are no base64."""
    if left == 0:
        raise IncorrectInput("the metadata nests too deeply")
    if isinstance(value, dict) and "InlineBinary" in value:
        try:
            base64.b64decode(value["InlineBinary"], validate=True)
        except (TypeError, ValueError):
            raise IncorrectInput("an InlineBinary is not base64") from None
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check(inner, left - 1)


def _object(described: dict[str, Any], bulk: Mapping[str, list[ReceivedPart]]) -> Dataset:
    if any(name[:4] in {"0002", "FFFE"} for name in described):
        raise IncorrectInput("the metadata holds what belongs to a file and not to a data set")
    _check(described, MAX_DEPTH)
    pixels = described.pop(_PIXELS, None)

    def value_of(_tag: str, _vr: str, address: str) -> bytes:
        parts = bulk.get(address, [])
        if len(parts) != 1:
            raise IncorrectInput("a BulkDataURI names no part of the request")
        return bytes(parts[0].body)

    ds = Dataset.from_json(described, value_of)
    syntax = uid.ExplicitVRLittleEndian
    if pixels is not None:
        syntax = _add_pixels(ds, pixels, bulk)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = syntax
    return ds


def _add_pixels(ds: Dataset, element: Mapping[str, Any], bulk: Mapping[str, list[ReceivedPart]]) -> uid.UID:
    """Set Pixel Data and return the transfer syntax that it is in."""
    if "InlineBinary" in element:
        ds.update(Dataset.from_json({_PIXELS: dict(element)}))
        return uid.ExplicitVRLittleEndian
    parts = bulk.get(str(element.get("BulkDataURI")), [])
    if not parts:
        raise IncorrectInput("the BulkDataURI of the pixels names no part of the request")
    syntaxes = {_syntax_of(part) for part in parts}
    if len(syntaxes) != 1:
        raise IncorrectInput("the frames are not all in one transfer syntax")
    syntax = uid.UID(syntaxes.pop())
    if not syntax.is_encapsulated:
        if len(parts) > 1:
            raise IncorrectInput("uncompressed pixels are one part")
        body = bytes(parts[0].body)
        ds.add_new(0x7FE00010, "OB" if int(ds.BitsAllocated) <= 8 else "OW", body + b"\0" * (len(body) % 2))
        return syntax
    if len(parts) != int(ds.get("NumberOfFrames") or 1):
        raise IncorrectInput("compressed pixels are one part for each frame")
    ds.add_new(0x7FE00010, "OB", encapsulate([bytes(part.body) for part in parts]))
    ds["PixelData"].is_undefined_length = True
    return syntax


def _syntax_of(part: ReceivedPart) -> str:
    kind, options = parameters(part.content_type)
    default = _DEFAULTS.get(kind.lower())
    if default is None:
        raise Unsupported("bulk data is application/octet-stream, or frames of a DICOM image type")
    named = uid.UID(options.get("transfer-syntax", default))
    if (
        not named.is_transfer_syntax
        or named.is_private
        or named in {uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian}
    ):
        raise Unsupported("the bulk data's transfer syntax is none of DICOMweb's")
    if kind.lower() != OCTETS and not named.is_encapsulated:
        raise IncorrectInput("the bulk data's media type and transfer syntax contradict each other")
    return str(named)


def _kind(part: ReceivedPart) -> str:
    return parameters(part.content_type)[0].lower()
