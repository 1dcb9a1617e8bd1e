"""Retrieve frames, WADO-RS (PS3.18 10.4.1.1.6): as they are stored, or without loss in what the client takes."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain

from flask import Response
from pydicom import uid
from pydicom.dataset import Dataset

from clinical.errors import IncorrectInput, NotFound, Unsupported
from dicom_node.syntaxes import ENCODED
from dicom_node.web.archive import Archive, Resource
from dicom_node.web.conditional import tag_of, tagged, unchanged
from dicom_node.web.decoding import EXPLICIT, can_transcode, transcoded_frames
from dicom_node.web.media import Part, accepted, multipart
from dicom_node.web.reading import frame_bytes, frames_of, opened

MAX_FRAMES = 1000
OCTETS = "application/octet-stream"
# PS3.18 table 8.7.3-5: which media type a compressed frame is.
MEDIA_TYPES = {
    uid.JPEGBaseline8Bit: "image/jpeg",
    uid.JPEGExtended12Bit: "image/jpeg",
    uid.JPEGLossless: "image/jpeg",
    uid.JPEGLosslessSV1: "image/jpeg",
    uid.JPEGLSLossless: "image/jls",
    uid.JPEGLSNearLossless: "image/jls",
    uid.JPEG2000Lossless: "image/jp2",
    uid.JPEG2000: "image/jp2",
    uid.HTJ2KLossless: "image/jphc",
    uid.HTJ2KLosslessRPCL: "image/jphc",
    uid.HTJ2K: "image/jphc",
    uid.RLELossless: "image/dicom-rle",
}


def retrieve(archive: Archive, study: str, series: str, instance: str, numbers: str) -> Response:
    """GET .../frames/{list}: one part a frame, in the order of the list."""
    wanted = _numbers(numbers)
    (one,) = archive.held(study, series, instance)
    with ExitStack() as stack:
        ds, file = stack.enter_context(opened(archive.blobs, one.sha256))
        about = frames_of(ds)
        if max(wanted) >= about.count:
            raise NotFound("the object has no such frame")
        media_type, syntax = _chosen(archive, about.syntax)
        tag = tag_of([one], numbers, media_type, syntax)
        known = unchanged(tag)
        if known is not None:
            return known
        if syntax == about.syntax:
            frames: Iterator[bytes] = (frame_bytes(ds, file, number) for number in wanted)
        else:
            stack.close()
            counted = [number + 1 for number in wanted]
            frames = stack.enter_context(transcoded_frames(archive, one, counted, syntax))
        first = next(frames)  # an error of the first is an answer; after it the answer has begun
        content_type = f"{media_type}; transfer-syntax={syntax}"
        boundary, body = multipart(Part(content_type, len(frame), (frame,)) for frame in chain([first], frames))
        answer = Response(body, content_type=f'multipart/related; type="{media_type}"; boundary={boundary}')
        answer.call_on_close(stack.pop_all().close)
    return tagged(answer, tag, weak=True)


def all_of(ds: Dataset) -> str:
    """Return the list of every frame of an object; `retrieve` refuses one that is too long."""
    return ",".join(map(str, range(1, min(frames_of(ds).count, MAX_FRAMES + 1) + 1)))


def _numbers(text: str) -> list[int]:
    """Return frame numbers counted from 0; on the wire they count from 1."""
    if not re.fullmatch(r"[1-9][0-9]{0,8}(,[1-9][0-9]{0,8})*", text):
        raise IncorrectInput("frames are numbers from 1, with commas between")
    found = [int(one) - 1 for one in text.split(",")]
    if len(found) > MAX_FRAMES:
        raise IncorrectInput(f"at most {MAX_FRAMES} frames can be asked for at once")
    return found


def _chosen(archive: Archive, stored: str) -> tuple[str, str]:
    """Return (media type, transfer syntax) of the frames. Raises Unsupported when the client takes none of ours.

    As they are stored where it takes that. Octets without a transfer syntax are native ones (PS3.18 8.7.3.5.2).
    """
    own = MEDIA_TYPES.get(uid.UID(stored), OCTETS)
    possible = [one for one in (EXPLICIT, *ENCODED) if can_transcode(archive, stored, one)]
    for choice in accepted():
        if choice.takes(own, stored):
            return own, stored
        # Whoever wants octets of any transfer syntax takes compressed ones so, and tells them by the parameter.
        if choice.takes(OCTETS, stored) and choice.syntax:
            return OCTETS, stored
        for syntax in possible:
            media_type = MEDIA_TYPES.get(uid.UID(syntax), OCTETS)
            if choice.takes(media_type, syntax):
                return media_type, syntax
    there = [
        f"{MEDIA_TYPES.get(uid.UID(one), OCTETS)}; transfer-syntax={one}"
        for one in dict.fromkeys((stored, *possible))
    ]
    raise Unsupported(f"frames are {', '.join(there)}")


RESOURCES = (Resource("GET", "/studies/<study>/series/<series>/instances/<instance>/frames/<numbers>", retrieve),)
