"""The way on: `next` links that carry the last row's place, signed, so that the server keeps no state.

The signature covers type, parameters and place: a link with anything changed is refused, and nobody can make
a place that was never served. It hides nothing; what stands in the place is what the page showed.
"""

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from clinical.errors import IncorrectInput

PARAMETER = "_page"
_SIGNATURE_BYTES = 16

Pairs = Sequence[tuple[str, str]]


def link(base_url: str, resource_type: str, pairs: Pairs) -> str:
    """Return the absolute URL of a search."""
    query = urlencode(list(pairs))
    return f"{base_url.rstrip('/')}/{resource_type}" + (f"?{query}" if query else "")


def sign(key: bytes, resource_type: str, pairs: Pairs, place: Sequence[object]) -> str:
    """Return the token of the page after `place` of this search."""
    body = json.dumps(list(place), separators=(",", ":")).encode()
    return f"{_text(body)}.{_text(_signature(key, resource_type, pairs, body))}"


def place_in(key: bytes, resource_type: str, pairs: Pairs, token: str) -> tuple[Any, ...]:
    """Return the place in a token of `sign`.

    pairs: the search's parameters without the token. Raises IncorrectInput when anything was changed.
    """
    body_text, _, signature_text = token.partition(".")
    try:
        body, signature = urlsafe_b64decode(body_text), urlsafe_b64decode(signature_text)
    except ValueError:
        raise IncorrectInput("the page link is damaged", expression=[PARAMETER]) from None
    if not hmac.compare_digest(signature, _signature(key, resource_type, pairs, body)):
        raise IncorrectInput("the page link was changed, or is not of this server", expression=[PARAMETER])
    return tuple(json.loads(body))


def _signature(key: bytes, resource_type: str, pairs: Pairs, body: bytes) -> bytes:
    signed = json.dumps([resource_type, [list(pair) for pair in pairs], body.hex()]).encode()
    return hmac.digest(key, signed, hashlib.sha256)[:_SIGNATURE_BYTES]


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode()
