"""Retrieve frames, WADO-RS (PS3.18 10.4.1.1.6): the stored bytes of each, with their transfer syntax."""

import re
from contextlib import ExitStack
from itertools import chain

from flask import Response
from pydicom import uid
from pydicom.dataset import Dataset

from clinical.errors import IncorrectInput, Unsupported
from dicom_node.web.archive import Archive, Resource
from dicom_node.web.media import Accepted, Part, accepted, multipart
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
        syntax = frames_of(ds).syntax
        media_type = _chosen(accepted(), syntax)
        first = frame_bytes(
            ds, file, wanted[0]
        )  # an error of the first is an answer; after it the answer has begun
        others = (frame_bytes(ds, file, number) for number in wanted[1:])
        content_type = f"{media_type}; transfer-syntax={syntax}"
        boundary, body = multipart(Part(content_type, len(frame), (frame,)) for frame in chain([first], others))
        answer = Response(body, content_type=f'multipart/related; type="{media_type}"; boundary={boundary}')
        answer.call_on_close(stack.pop_all().close)
    return answer


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


def _chosen(choices: list[Accepted], syntax: str) -> str:
    """Return the media type of the frames. Raises Unsupported when the client takes them in no such form."""
    own = MEDIA_TYPES.get(uid.UID(syntax), OCTETS)
    for choice in choices:
        if choice.takes(own, syntax):
            return own
        # Whoever wants octets of any transfer syntax takes compressed ones so, and tells them by the parameter.
        if choice.takes(OCTETS, syntax) and choice.syntax:
            return OCTETS
    raise Unsupported("frames are sent as they are stored; this client does not take that transfer syntax")


RESOURCES = (Resource("GET", "/studies/<study>/series/<series>/instances/<instance>/frames/<numbers>", retrieve),)
