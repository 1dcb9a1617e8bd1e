"""The decoder's child process: `python -m dicom_node.decode_child FD`.

Reads one JSON request a line from standard input; answers on the file descriptor FD with a JSON line and the
bytes that it announces. Codecs are C code reading hostile input: here they may run out of memory or time, or
crash, and nothing else ends with them. Limits are set before the first request is read.
"""

import io
import json
import os
import resource
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundImageStorage

from clinical.errors import ClinicalError, IncorrectInput, NotFound, Unsupported
from dicom_node.attributes import integer
from dicom_node.declared import check_declared
from dicom_node.display import picture
from dicom_node.display_look import Look
from dicom_node.frames import read_image, stored_frame
from dicom_node.functional_groups import of_frame
from dicom_node.grey import grey_of, spacing_of
from dicom_node.transcode import frames_in, object_in
from dicom_node.ultrasound import Region, refuse_declared_colour, regions_of

_HEADER_GROUPS = frozenset((0x0008, 0x0010, 0x0018, 0x0020, 0x0028, 0x0040))
_HEADER_VALUE = 1024
# A JSON object, and the bytes that come with it.
_Answer = tuple[dict[str, Any], list[bytes]]
# A poison object may raise anything at all inside pydicom or a codec; the parent decides by these words.
_UNREADABLE = "the image cannot be decoded"


def main() -> None:
    """Serve requests until standard input ends."""
    warnings.simplefilter("ignore")  # pydicom's warnings quote values
    with os.fdopen(int(sys.argv[1]), "wb") as answers:
        for line in sys.stdin:
            _answer(json.loads(line), answers)


def _answer(request: dict[str, Any], answers: BinaryIO) -> None:
    _limit(request["cpu_s"], request["memory_bytes"])
    try:
        for head, parts in _ANSWERS[request["what"]](request):
            _write(head, parts, answers)
    except ClinicalError as error:
        _write({"error": error.category, "message": error.message}, [], answers)
    except NotImplementedError:
        _write({"error": Unsupported.category, "message": "no decoder for this transfer syntax"}, [], answers)
    except Exception:  # noqa: BLE001 - the outer edge of a process made to contain what codecs do
        _write({"error": IncorrectInput.category, "message": _UNREADABLE}, [], answers)


def _write(head: dict[str, Any], parts: list[bytes], answers: BinaryIO) -> None:
    answers.write(json.dumps(head | {"lengths": [len(part) for part in parts]}).encode() + b"\n")
    for part in parts:
        answers.write(part)
    answers.flush()


def _limit(cpu_s: float, memory_bytes: int) -> None:
    """Bound this request: memory of the process, and processor time from now on."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soonest = int(usage.ru_utime + usage.ru_stime + cpu_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soonest, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _grey(request: dict[str, Any]) -> Iterator[_Answer]:
    ds = read_image(Path(request["path"]), request["memory_bytes"] // 2)
    check_declared(ds, request["max_pixels"], request["frame"])
    regions = _regions(ds)
    index = (request["frame"] or 1) - 1
    stored = stored_frame(ds, index)
    if stored.shape[:2] != (ds.Rows, ds.Columns):
        raise IncorrectInput("the decoded image has another size than it declares")
    flat = of_frame(ds, index)
    grey = grey_of(stored, flat, regions)
    spacing = spacing_of(flat, regions)
    head = {
        "rows": int(ds.Rows),
        "columns": int(ds.Columns),
        "window": grey.window,
        "spacing": spacing and [spacing[0], spacing[1], spacing[2].value],
        "padding": grey.padding is not None,
        "regions": [region.box for region in regions],
    }
    padding = b"" if grey.padding is None else np.packbits(grey.padding).tobytes()
    yield head, [grey.pixels.tobytes(), padding, _header_of(ds)]


def _picture(request: dict[str, Any]) -> Iterator[_Answer]:
    ds = _checked(request)
    yield {}, [picture(ds, request["frame"] - 1, Look(**request["look"]))]


def _frames(request: dict[str, Any]) -> Iterator[_Answer]:
    """Answer frame by frame, and with an empty head after the last."""
    ds = _checked(request)
    for index in request["frames"]:
        check_declared(ds, request["max_pixels"], index + 1, colour=True)
    for frame in frames_in(ds, request["frames"], request["syntax"]):
        yield {"more": True}, [frame]
    yield {}, []


def _object(request: dict[str, Any]) -> Iterator[_Answer]:
    """Answer piece by piece, and with an empty head after the last."""
    ds = read_image(Path(request["path"]), request["memory_bytes"] // 2)
    if "PixelData" in ds:
        check_declared(ds, request["max_pixels"], 1, colour=True)
    for piece in object_in(ds, request["syntax"]):
        yield {"more": True}, [piece]
    yield {}, []


def _checked(request: dict[str, Any]) -> Dataset:
    ds = read_image(Path(request["path"]), request["memory_bytes"] // 2)
    if request["frame"] > max(integer(ds, "NumberOfFrames", 1), 1):
        raise NotFound("the image has no such frame")
    check_declared(ds, request["max_pixels"], request["frame"], colour=True)
    return ds


_ANSWERS: Mapping[str, Callable[[dict[str, Any]], Iterator[_Answer]]] = {
    "grey": _grey,
    "picture": _picture,
    "frames": _frames,
    "object": _object,
}


def _regions(ds: Dataset) -> tuple[Region, ...]:
    if ds.get("SOPClassUID") != UltrasoundImageStorage:
        return ()
    refuse_declared_colour(ds)
    return regions_of(ds)


def _header_of(ds: Dataset) -> bytes:
    """Return the flat, short attributes of the standard groups as a Part 10 file: safe to read elsewhere."""
    kept = Dataset()
    for element in ds:
        short = element.VR != "SQ" and len(str(element.value)) <= _HEADER_VALUE
        if element.tag.group in _HEADER_GROUPS and short and element.VR not in {"OB", "OW", "UN"}:
            kept.add(element)
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.file_meta.MediaStorageSOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    kept.file_meta = meta
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, kept, enforce_file_format=True)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
