"""Entity tags and ranges (RFC 9110 8.8, 13, 14): stored bytes never change, so a tag names them for good."""

import hashlib
from collections.abc import Iterable

from flask import Response, request

from record_store.holdings import HeldObject


def tag_of(held: Iterable[HeldObject], *how: object) -> str:
    """Return the tag of a representation. how: what else it depends on (media type, frames, root)."""
    parts = [*(one.sha256 for one in held), *map(str, how)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def unchanged(tag: str) -> Response | None:
    """Return 304 when the client holds what has this tag, before anything is read or decoded for it."""
    if not request.if_none_match.contains_weak(tag):
        return None
    answer = Response(status=304)
    answer.set_etag(tag)
    return answer


def tagged(answer: Response, tag: str, *, weak: bool = False) -> Response:
    """Give an answer its tag. weak: its bytes differ from time to time, as a multipart boundary does."""
    answer.set_etag(tag, weak)
    return answer


def ranged(answer: Response, tag: str, size: int) -> Response:
    """Give an answer of one part its tag and let the client ask for a range of its bytes.

    Raises RequestedRangeNotSatisfiable (416).
    """
    tagged(answer, tag)
    answer.content_length = size
    answer.make_conditional(request.environ, accept_ranges=True, complete_length=size)
    return answer
