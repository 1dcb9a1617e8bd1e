"""Rendered and thumbnail resources, WADO-RS (PS3.18 10.4.1.1.3, 10.4.1.1.4): a grey image as PNG or JPEG.

The stored pixels are decoded in the child process with its budgets and windowed as the image says. A multi-frame
object is rendered frame by frame. Colour is not rendered.
"""

import io
import re
from functools import partial

from flask import Response
from PIL import Image

from clinical.display import for_display
from clinical.errors import IncorrectInput, Unsupported
from dicom_node.web.archive import Archive, Resource
from dicom_node.web.media import accepted

LONGEST_PX = 2048
THUMBNAIL_PX = 256
_FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG"}  # JPEG is the default that PS3.18 8.7.4 asks for


def render(
    archive: Archive, study: str, series: str, instance: str, number: str = "1", *, longest_px: int = LONGEST_PX
) -> Response:
    """GET .../rendered and .../thumbnail of an instance or of one frame."""
    media_type = _chosen()
    if not re.fullmatch(r"[1-9][0-9]{0,8}", number):
        raise IncorrectInput("a frame is a number from 1")
    (one,) = archive.held(study, series, instance)
    if archive.decoder is None:
        raise Unsupported("nothing is rendered here")
    with archive.blobs.local_path(one.sha256) as path:
        image = archive.decoder().read(path, int(number)).image
    buffer = io.BytesIO()
    Image.fromarray(for_display(image, longest_px)).save(buffer, _FORMATS[media_type])
    return Response(buffer.getvalue(), content_type=media_type)


def _chosen() -> str:
    for choice in accepted():
        for media_type in _FORMATS:
            if not choice.multipart and choice.takes(media_type, choice.syntax):
                return media_type
    raise Unsupported("images are rendered as image/jpeg and image/png")


_INSTANCE = "/studies/<study>/series/<series>/instances/<instance>"
_thumbnail = partial(render, longest_px=THUMBNAIL_PX)
RESOURCES = (
    Resource("GET", f"{_INSTANCE}/rendered", render),
    Resource("GET", f"{_INSTANCE}/thumbnail", _thumbnail),
    Resource("GET", f"{_INSTANCE}/frames/<number>/rendered", render),
    Resource("GET", f"{_INSTANCE}/frames/<number>/thumbnail", _thumbnail),
)
