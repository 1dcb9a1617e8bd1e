"""Retrieve studies, series and instances as Part 10 files, WADO-RS (PS3.18 10.4.1.1.1 to 10.4.1.1.3).

An object goes out as it is stored when the client takes that (`transfer-syntax=*`, or its own), else without loss
in the one that it asks for. A client that names none gets Explicit VR Little Endian (PS3.18 8.7.3.5.2); where the
pixels cannot be had so, as of a video, the object goes out as it is stored, and its part says in what.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

from flask import Response

from clinical.errors import Busy, ClinicalError, IncorrectInput, Unsupported
from dicom_node.syntaxes import ENCODED
from dicom_node.web.archive import MAX_OBJECTS, Archive, Resource
from dicom_node.web.conditional import ranged, tag_of, tagged, unchanged
from dicom_node.web.decoding import EXPLICIT, can_transcode, transcoded
from dicom_node.web.media import Part, accepted, multipart
from dicom_node.web.reading import stored_syntax
from record_store.exchanges import Kind
from record_store.holdings import HeldObject

DICOM = "application/dicom"
PREAMBLE = b"\0" * 128  # PS3.10 7.1: whatever a sender put there must not make the file something else too
_CHUNK = 256 * 1024
_Targets = list[str | None]  # of each object, None where it goes out as it is stored


def retrieve(archive: Archive, study: str, series: str = "", instance: str = "") -> Response:
    """GET /studies/{study}, of a series and of an instance."""
    held = archive.held(study, series, instance)
    if len(held) > MAX_OBJECTS:
        raise IncorrectInput(f"the study has more than {MAX_OBJECTS} objects; ask for its series")
    in_parts, targets = _chosen(archive, held, single=bool(instance))
    tag = tag_of(held, in_parts, *targets)
    known = unchanged(tag)
    if known is not None:
        return known
    if not archive.downloads.acquire(blocking=False):
        raise Busy("as many objects are being retrieved as may be at once")
    with ExitStack() as stack:
        stack.callback(archive.downloads.release)
        answer = (
            _in_parts(archive, held, targets, tag)
            if in_parts
            else _alone(archive, held[0], targets[0], tag, stack)
        )
        answer.headers["Content-Disposition"] = f'attachment; filename="{"object" if instance else "objects"}.dcm"'
        answer.call_on_close(stack.pop_all().close)
    return answer


def _chosen(archive: Archive, held: list[HeldObject], *, single: bool) -> tuple[bool, _Targets]:
    """Return whether to answer in parts, and in what each object goes out. Raises Unsupported, saying what is."""
    stored = [stored_syntax(archive.blobs, one.sha256) for one in held]
    for choice in accepted():
        anything = choice.media_type == "*/*"
        if not (choice.multipart or anything or single) or not choice.takes(DICOM, choice.syntax):
            continue
        targets = _targets(archive, stored, choice.syntax)
        if targets is not None:
            return choice.multipart or anything, targets
    there = [
        *dict.fromkeys(stored[:8]),
        *(one for one in (EXPLICIT, *ENCODED) if archive.decoder and one not in stored),
    ]
    raise Unsupported(f"objects are {DICOM} in the transfer syntaxes {', '.join(there)}")


def _targets(archive: Archive, stored: list[str], wanted: str) -> _Targets | None:
    """Return the transfer syntax that each object is put into, None when one cannot be put into the wanted one."""
    if wanted == "*":
        return [None] * len(stored)
    target = wanted or EXPLICIT
    possible = [one == target or can_transcode(archive, one, target) for one in stored]
    if wanted and not all(possible):
        return None
    return [None if one == target or not can else target for one, can in zip(stored, possible, strict=True)]


def _alone(archive: Archive, one: HeldObject, target: str | None, tag: str, stack: ExitStack) -> Response:
    file = stack.enter_context(_file(archive, one, target))
    return ranged(Response(_without_preamble(file), content_type=DICOM), tag, _size(file))


def _in_parts(archive: Archive, held: list[HeldObject], targets: _Targets, tag: str) -> Response:
    parts = _parts(archive, held, targets)
    first = next(parts)  # an error of the first is an answer; after it the answer has begun
    boundary, body = multipart(_from(first, parts))
    answer = Response(body, content_type=f'multipart/related; type="{DICOM}"; boundary={boundary}')
    return tagged(answer, tag, weak=True)


def _from(first: Part, others: Iterator[Part]) -> Iterator[Part]:
    yield first
    yield from others


def _parts(archive: Archive, held: list[HeldObject], targets: _Targets) -> Iterator[Part]:
    for number, (one, target) in enumerate(zip(held, targets, strict=True)):
        with ExitStack() as stack:
            said = target or stored_syntax(archive.blobs, one.sha256)
            try:
                file = stack.enter_context(_file(archive, one, target))
            except ClinicalError:
                if target is None or number == 0:
                    raise
                # One image that cannot be decoded does not keep the rest of its study from anybody.
                said = stored_syntax(archive.blobs, one.sha256)
                file = stack.enter_context(_file(archive, one, None))
            body = _without_preamble(file)
            yield Part(f"{DICOM}; transfer-syntax={said}", _size(file), body, archive.address(one))


@contextmanager
def _file(archive: Archive, one: HeldObject, target: str | None) -> Iterator[IO[bytes]]:
    if target is None:
        with archive.blobs.local_path(one.sha256) as path, path.open("rb") as stored:
            yield stored
    else:
        with transcoded(archive, one, target) as made:
            yield made


def _size(file: IO[bytes]) -> int:
    size = file.seek(0, 2)
    file.seek(0)
    return size


def _without_preamble(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(len(PREAMBLE))
    yield PREAMBLE
    while chunk := file.read(_CHUNK):
        yield chunk


RESOURCES = tuple(
    Resource("GET", rule, retrieve, Kind.TRANSFERRED)
    for rule in (
        "/studies/<study>",
        "/studies/<study>/series/<series>",
        "/studies/<study>/series/<series>/instances/<instance>",
    )
)
