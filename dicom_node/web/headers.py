"""The beginning of a stored object as DICOM JSON, for searches. Blobs never change: once is enough."""

import io
import threading
import warnings
from collections import OrderedDict
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicom_node.decoder_errors import DECODER_ERRORS
from dicom_node.web.json_model import Json, element_json
from record_store.blobs import Blobs

KEPT = 4096
_BEGINNING = 64 * 1024
_LAST = 0x00400280  # nothing that a search answers with stands behind the Requested Procedure group's front
_LONGEST = 1024  # characters of one value


class HeaderCache:
    """Headers by the sha256 of their object, the last few thousand of them. Safe to share between threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Json] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, blobs: Blobs, sha256: str) -> Json:
        """Return tag -> DICOM JSON element (PS3.18 F.2) of what is flat and short; {} for what cannot be read."""
        with self._lock:
            if sha256 in self._kept:
                self._kept.move_to_end(sha256)
                return self._kept[sha256]
        found = _read(blobs, sha256)
        with self._lock:
            self._kept[sha256] = found
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    def text(self, blobs: Blobs, sha256: str, tag: str) -> str:
        """Return the first value of an attribute, "" when there is none."""
        return first_text(self.of(blobs, sha256).get(tag))


def first_text(element: Any) -> str:  # noqa: ANN401 - DICOM JSON
    """Return the first value of a DICOM JSON element as text, "" when there is none."""
    values = (element or {}).get("Value") or [""]
    value = values[0]
    return str(value.get("Alphabetic", "")) if isinstance(value, dict) else str("" if value is None else value)


def _read(blobs: Blobs, sha256: str) -> Json:
    data = blobs.beginning(sha256, _BEGINNING)
    try:
        return _flat(data)
    except DECODER_ERRORS:
        if len(data) < _BEGINNING:
            return {}
    try:  # deflated, or a sequence that does not end within the beginning
        with blobs.local_path(sha256) as path, path.open("rb") as file:
            return _flat(file)
    except DECODER_ERRORS:
        return {}


def _flat(source: Any) -> Json:  # noqa: ANN401 - bytes or a binary file
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote values
        ds = pydicom.filereader.read_partial(file, lambda tag, _vr, _length: tag > _LAST, defer_size=None)
    if ds.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian and isinstance(source, bytes):
        raise InvalidDicomError
    found: Json = {}
    for tag in ds.keys():  # noqa: SIM118 - a Dataset iterates over elements
        try:
            made = element_json(ds[tag])
        except DECODER_ERRORS:
            continue
        if made is not None and len(str(made)) <= _LONGEST:
            found[f"{tag:08X}"] = made
    return found
