"""Base64url as JOSE means it (RFC 7515 section 2): no padding, no line breaks, one spelling for one value."""

import base64
import binascii
import re

_ALPHABET = re.compile(r"[A-Za-z0-9_-]*")


def decode(text: str) -> bytes:
    """Return the bytes. Raises ValueError for anything that an encoder would not have written.

    Python's own decoder skips characters that it does not know and ignores stray bits at the end, so one token
    would have many spellings.
    """
    if not _ALPHABET.fullmatch(text) or len(text) % 4 == 1:
        raise ValueError("not base64url")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise ValueError("not base64url") from None
    if encode(data) != text:
        raise ValueError("not base64url: stray bits at the end")
    return data


def encode(data: bytes) -> str:
    """Return the text, without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
