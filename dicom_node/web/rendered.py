"""Rendered and thumbnail resources, WADO-RS (PS3.18 10.4.1.1.3, 10.4.1.1.4): a frame as JPEG or PNG.

Grey images go through their VOI window, or the one that is asked for; colour and palettes are shown as colour.
Nothing is drawn over the pixels. A multi-frame object is rendered frame by frame, the object itself as its first;
a series or study as a part for each object that can be shown.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from flask import Response, request

from clinical.errors import IncorrectInput, Unsupported
from dicom_node.display_look import FUNCTIONS, Look
from dicom_node.web.archive import Archive, Resource
from dicom_node.web.conditional import tag_of, tagged, unchanged
from dicom_node.web.decoding import picture
from dicom_node.web.media import Part, accepted, multipart
from record_store.holdings import HeldObject

LONGEST_PX = 4096
THUMBNAIL_PX = 256
MAX_RENDERED = 200  # objects of one answer
_TRIED = 5  # objects that a series' thumbnail is looked for in
_FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG"}  # JPEG is the default that PS3.18 8.7.4 asks for
_NUMBER = r"-?[0-9]{1,9}(?:\.[0-9]{1,9})?"
_PATHS = ("/studies/<study>", "/studies/<study>/series/<series>")
_INSTANCE = "/studies/<study>/series/<series>/instances/<instance>"


def instance(
    archive: Archive, study: str, series: str, instance: str, number: str = "1", *, longest_px: int = LONGEST_PX
) -> Response:
    """GET .../rendered and .../thumbnail of an instance or of one frame."""
    media_type, _ = _chosen(several=False)
    look = _look(media_type, longest_px)
    if not re.fullmatch(r"[1-9][0-9]{0,8}", number):
        raise IncorrectInput("a frame is a number from 1")
    (one,) = archive.held(study, series, instance)
    tag = tag_of([one], number, look)
    return unchanged(tag) or _with_remarks(
        archive, tagged(Response(picture(archive, one, int(number), look), content_type=media_type), tag)
    )


def several(archive: Archive, study: str, series: str = "") -> Response:
    """GET .../rendered of a study or series, a part for each object; Unsupported when none can be shown."""
    media_type, _ = _chosen(several=True)
    look = _look(media_type, LONGEST_PX)
    held = archive.held(study, series)
    if len(held) > MAX_RENDERED:
        raise IncorrectInput(f"it has more than {MAX_RENDERED} objects; ask by series or by instance")
    shown = _shown(archive, held, look)
    first = next(shown, None)
    if first is None:
        raise Unsupported("none of its objects can be shown")
    boundary, body = multipart(_parts(archive, first, shown, media_type))
    return Response(body, content_type=f'multipart/related; type="{media_type}"; boundary={boundary}')


def thumbnail(archive: Archive, study: str, series: str = "") -> Response:
    """GET .../thumbnail of a study or series: of an object in its middle."""
    media_type, _ = _chosen(several=False)
    look = _look(media_type, THUMBNAIL_PX)
    held = archive.held(study, series)
    middle = len(held) // 2
    near = sorted(range(len(held)), key=lambda place: abs(place - middle))[:_TRIED]
    found = next(_shown(archive, [held[place] for place in near], look), None)
    if found is None:
        raise Unsupported("none of its objects can be shown")
    return Response(found[1], content_type=media_type)


def _shown(archive: Archive, held: list[HeldObject], look: Look) -> Iterator[tuple[HeldObject, bytes]]:
    for one in held:
        try:
            yield one, picture(archive, one, 1, look)
        except (Unsupported, IncorrectInput):
            continue


def _parts(
    archive: Archive, first: tuple[HeldObject, bytes], others: Iterator[tuple[HeldObject, bytes]], media_type: str
) -> Iterator[Part]:
    yield Part(media_type, len(first[1]), (first[1],), f"{archive.address(first[0])}/rendered")
    for one, data in others:
        yield Part(media_type, len(data), (data,), f"{archive.address(one)}/rendered")


def _chosen(*, several: bool) -> tuple[str, bool]:
    """Return the media type, and whether in parts."""
    for choice in accepted():
        for media_type in _FORMATS:
            if (choice.multipart == several or choice.media_type == "*/*") and choice.takes(
                media_type, choice.syntax
            ):
                return media_type, several
    raise Unsupported("images are rendered as image/jpeg and image/png")


def _look(media_type: str, longest_px: int) -> Look:
    """Return what the query parameters ask for (PS3.18 8.3.5). Raises IncorrectInput for what is malformed."""
    look = Look(size=(longest_px, longest_px), kind=_FORMATS[media_type])
    window, viewport, quality = (request.args.get(name) for name in ("window", "viewport", "quality"))
    if window is not None:
        look = replace(look, window=_window(window))
    if viewport is not None:
        look = _viewport(look, viewport)
    if quality is not None:
        if not re.fullmatch(r"[1-9][0-9]?|100", quality):
            raise IncorrectInput("quality is a number from 1 to 100")
        look = replace(look, quality=int(quality))
    return look


def _window(text: str) -> tuple[float, float, str]:
    found = re.fullmatch(rf"({_NUMBER}),({_NUMBER}),([a-z-]+)", text)
    if found is None or found[3] not in FUNCTIONS:
        raise IncorrectInput("window is centre,width,function with linear, linear-exact or sigmoid")
    centre, width, function = float(found[1]), float(found[2]), FUNCTIONS[found[3]]
    if width < (1 if function == "LINEAR" else 1e-9):
        raise IncorrectInput("a window's width is positive, and at least 1 when it is linear")
    return centre, width, function


def _viewport(look: Look, text: str) -> Look:
    parts = text.split(",")
    sizes, rest = parts[:2], parts[2:]
    if len(sizes) < 2 or not all(re.fullmatch(r"[1-9][0-9]{0,3}", one) for one in sizes):
        raise IncorrectInput("viewport is width,height in pixels, and where it lies in the image")
    if max(map(int, sizes)) > LONGEST_PX:
        raise IncorrectInput(f"a viewport has at most {LONGEST_PX} pixels on a side")
    if len(rest) > 4 or not all(re.fullmatch(_NUMBER, one) for one in rest if one):
        raise IncorrectInput("a viewport's place is left,top,width,height in pixels of the image")
    left, top, width, height = (float(one) if one else None for one in (*rest, *[""] * (4 - len(rest))))
    region = None
    if rest and any(rest):
        region = (left or 0.0, top or 0.0, width or float(1 << 20), height or float(1 << 20))
    return replace(look, size=(int(sizes[0]), int(sizes[1])), enlarge=True, region=region)


def _with_remarks(archive: Archive, answer: Response) -> Response:
    if "annotation" in request.args:
        answer.headers["Warning"] = f'299 {archive.root} "annotations are not drawn"'
    return answer


RESOURCES = (
    Resource("GET", f"{_INSTANCE}/rendered", instance),
    Resource("GET", f"{_INSTANCE}/thumbnail", partial(instance, longest_px=THUMBNAIL_PX)),
    Resource("GET", f"{_INSTANCE}/frames/<number>/rendered", instance),
    Resource("GET", f"{_INSTANCE}/frames/<number>/thumbnail", partial(instance, longest_px=THUMBNAIL_PX)),
    *(Resource("GET", f"{path}/rendered", several) for path in _PATHS),
    *(Resource("GET", f"{path}/thumbnail", thumbnail) for path in _PATHS),
)
