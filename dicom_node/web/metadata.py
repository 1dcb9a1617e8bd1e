"""Retrieve metadata, WADO-RS (PS3.18 10.4.1.1.5): data sets as DICOM JSON, large values by their address."""

import warnings
from collections.abc import Iterator

import orjson
from flask import Response

from clinical.errors import IncorrectInput
from dicom_node.web.archive import Archive, Resource
from dicom_node.web.conditional import tag_of, tagged, unchanged
from dicom_node.web.json_model import PIXELS, Json, dataset_json
from dicom_node.web.media import require_json
from dicom_node.web.reading import opened, raw_element, syntax_of
from record_store.holdings import HeldObject

MAX_OBJECTS = 1000


def metadata(archive: Archive, study: str, series: str = "", instance: str = "") -> Response:
    """GET .../metadata of a study, a series or an instance."""
    media_type = require_json()
    held = archive.held(study, series, instance)
    if len(held) > MAX_OBJECTS:
        raise IncorrectInput(f"it has more than {MAX_OBJECTS} objects; ask by series or by instance")
    tag = tag_of(held, media_type, archive.root)
    known = unchanged(tag)
    if known is not None:
        return known
    first = _one(archive, held[0])  # an error of the first is an answer; after it the answer has begun
    return tagged(Response(_array(archive, first, held[1:]), content_type=media_type), tag)


def _array(archive: Archive, first: bytes, others: list[HeldObject]) -> Iterator[bytes]:
    yield b"[" + first
    for one in others:
        yield b"," + _one(archive, one)
    yield b"]"


def _one(archive: Archive, one: HeldObject) -> bytes:
    address = archive.address(one)
    made = archive.metadata.get((one.sha256, address))
    if made is None:
        made = _made(archive, one, address)
        archive.metadata.add((one.sha256, address), made)
    return made


def _made(archive: Archive, one: HeldObject, address: str) -> bytes:
    bulk = f"{address}/bulkdata"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote values
        with opened(archive.blobs, one.sha256) as (ds, file):
            found: Json = dataset_json(ds, bulk)
            for tag in PIXELS:
                pixels = raw_element(ds, tag)
                if pixels is not None:
                    found[f"{tag:08X}"] = {"vr": pixels.VR or "OW", "BulkDataURI": f"{bulk}/{tag:08X}"}
            syntax = syntax_of(ds, file)
    found["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    found["00081190"] = {"vr": "UR", "Value": [address]}
    found["00083002"] = {"vr": "UI", "Value": [syntax]}
    return orjson.dumps(dict(sorted(found.items())))


RESOURCES = (
    Resource("GET", "/studies/<study>/metadata", metadata),
    Resource("GET", "/studies/<study>/series/<series>/metadata", metadata),
    Resource("GET", "/studies/<study>/series/<series>/instances/<instance>/metadata", metadata),
)
