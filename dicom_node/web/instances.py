"""Retrieve studies, series and instances as Part 10 files, WADO-RS (PS3.18 10.4.1.1.1 to 10.4.1.1.3)."""

from collections.abc import Iterator
from typing import BinaryIO

from flask import Response

from clinical.errors import Busy, IncorrectInput, Unsupported
from dicom_node.web.archive import MAX_OBJECTS, Archive, Resource
from dicom_node.web.media import Part, accepted, multipart
from dicom_node.web.reading import stored_syntax
from record_store.holdings import HeldObject

DICOM = "application/dicom"
PREAMBLE = b"\0" * 128  # PS3.10 7.1: whatever a sender put there must not make the file something else too
_CHUNK = 256 * 1024


def retrieve(archive: Archive, study: str, series: str = "", instance: str = "") -> Response:
    """GET /studies/{study}, of a series and of an instance: the stored files, in their own transfer syntax.

    Nothing is transcoded: a client that insists on another transfer syntax reads 406.
    """
    held = archive.held(study, series, instance)
    if len(held) > MAX_OBJECTS:
        raise IncorrectInput(f"the study has more than {MAX_OBJECTS} objects; ask for its series")
    as_multipart = _chosen(archive, held, single=bool(instance))
    if not archive.downloads.acquire(blocking=False):
        raise Busy("as many objects are being retrieved as may be at once")
    if as_multipart:
        boundary, body = multipart(_parts(archive, held))
        content_type = f'multipart/related; type="{DICOM}"; boundary={boundary}'
    else:
        body, content_type = _bytes_of(archive, held[0]), DICOM
    answer = Response(body, content_type=content_type)
    answer.headers["Content-Disposition"] = f'attachment; filename="{"object" if instance else "objects"}.dcm"'
    answer.call_on_close(archive.downloads.release)
    return answer


def _chosen(archive: Archive, held: list[HeldObject], *, single: bool) -> bool:
    """Return whether to answer in parts. Raises Unsupported when the client takes neither form."""
    for choice in accepted():
        if not (choice.multipart or choice.media_type == "*/*" or single):
            continue
        insists = choice.syntax not in {"", "*"}
        if choice.takes(DICOM, choice.syntax) and (
            not insists or all(stored_syntax(archive.blobs, one.sha256) == choice.syntax for one in held)
        ):
            return choice.multipart or choice.media_type == "*/*"
    raise Unsupported("objects are application/dicom in the transfer syntax in which they are stored")


def _parts(archive: Archive, held: list[HeldObject]) -> Iterator[Part]:
    for one in held:
        with archive.blobs.local_path(one.sha256) as path:
            syntax = stored_syntax(archive.blobs, one.sha256)
            with path.open("rb") as file:
                size = path.stat().st_size
                body = _without_preamble(file)
                yield Part(f"{DICOM}; transfer-syntax={syntax}", size, body, archive.address(one))


def _bytes_of(archive: Archive, one: HeldObject) -> Iterator[bytes]:
    with archive.blobs.local_path(one.sha256) as path, path.open("rb") as file:
        yield from _without_preamble(file)


def _without_preamble(file: BinaryIO) -> Iterator[bytes]:
    file.seek(len(PREAMBLE))
    yield PREAMBLE
    while chunk := file.read(_CHUNK):
        yield chunk


RESOURCES = (
    Resource("GET", "/studies/<study>", retrieve),
    Resource("GET", "/studies/<study>/series/<series>", retrieve),
    Resource("GET", "/studies/<study>/series/<series>/instances/<instance>", retrieve),
)
