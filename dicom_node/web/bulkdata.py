"""Retrieve bulk data, WADO-RS (PS3.18 10.4.1.1.7): a value that the metadata names by its address."""

import re

from flask import Response

from clinical.errors import IncorrectInput, Unsupported
from dicom_node.web import frames
from dicom_node.web.archive import Archive, Resource
from dicom_node.web.conditional import ranged, tag_of, tagged, unchanged
from dicom_node.web.json_model import PIXELS, named_element
from dicom_node.web.media import Part, accepted, multipart
from dicom_node.web.reading import opened, value_bytes

OCTETS = "application/octet-stream"
_PATH = re.compile(r"[0-9A-F]{8}(/[0-9]{1,6}/[0-9A-F]{8}){0,64}")


def retrieve(archive: Archive, study: str, series: str, instance: str, path: str) -> Response:
    """GET .../bulkdata/{TAG}, or {TAG}/{item}/{TAG} in sequences: the bytes as stored."""
    if not _PATH.fullmatch(path):
        raise IncorrectInput("the address names no value of an object")
    (one,) = archive.held(study, series, instance)
    tag = tag_of([one], path)
    known = unchanged(tag)
    if known is not None:
        return known
    with opened(archive.blobs, one.sha256) as (ds, file):
        if int(path[:8], 16) in PIXELS and ds.file_meta.TransferSyntaxUID.is_encapsulated:
            # Compressed pixels are their frames, a part each (PS3.18 8.7.3.5.2).
            return frames.retrieve(archive, study, series, instance, frames.all_of(ds))
        if "/" in path:
            value = named_element(ds, path).value
            data = bytes(value) if isinstance(value, (bytes, bytearray)) else b""
        else:
            data = value_bytes(ds, file, int(path, 16))
    for choice in accepted():
        if choice.takes(OCTETS, ""):
            if not choice.multipart and choice.media_type != "*/*":
                return ranged(Response(data, content_type=OCTETS), tag, len(data))
            boundary, body = multipart([Part(OCTETS, len(data), (data,))])
            content_type = f'multipart/related; type="{OCTETS}"; boundary={boundary}'
            return tagged(Response(body, content_type=content_type), tag, weak=True)
    raise Unsupported("bulk data is application/octet-stream")


RESOURCES = (
    Resource("GET", "/studies/<study>/series/<series>/instances/<instance>/bulkdata/<path:path>", retrieve),
)
