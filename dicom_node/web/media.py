"""Which representation a client takes (PS3.18 8.7), and multipart/related written by the book (RFC 2387, 2046)."""

import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flask import request

from clinical.errors import Unsupported

JSON_TYPES = ("application/dicom+json", "application/json")
MULTIPART = "multipart/related"
MAX_ACCEPTS = 32
_PARAMETER = re.compile(r';\s*([\w!#$&^.+-]+)\s*=\s*(?:"([^"]*)"|([^;"]*))')


@dataclass(frozen=True, slots=True)
class Accepted:
    """One choice of the client. multipart: of a multipart answer's parts. syntax: "" when it names none."""

    media_type: str
    multipart: bool
    syntax: str

    def takes(self, media_type: str, syntax: str) -> bool:
        """Tell whether it takes such a representation."""
        kind, _, _ = media_type.partition("/")
        named = self.media_type in {media_type, "*/*", f"{kind}/*"}
        return named and self.syntax in {"", "*", syntax}


def accepted() -> list[Accepted]:
    """Return what the request takes, best first. The query parameter `accept` beats the header (8.3.3.1)."""
    given = request.args.getlist("accept")
    text = ",".join(given) if given else request.headers.get("Accept", "")
    found: list[tuple[float, Accepted]] = []
    for one in _split(text or "*/*")[:MAX_ACCEPTS]:
        name, options = parameters(one)
        syntax = options.get("transfer-syntax", "")
        quality = _quality(options.get("q", "1"))
        if quality <= 0:
            continue
        if name.lower() == MULTIPART:
            inner, inner_options = parameters(options.get("type", "*/*"))
            syntax = syntax or inner_options.get("transfer-syntax", "")
            found.append((quality, Accepted(inner.lower() or "*/*", True, syntax)))
        elif name.lower() == "multipart/*":
            found.append((quality, Accepted("*/*", True, syntax)))
        else:
            found.append((quality, Accepted(name.lower(), False, syntax)))
    return [one for _, one in sorted(found, key=lambda pair: -pair[0])]


def require_json() -> str:
    """Return the JSON type to answer with. Raises Unsupported when the client takes none."""
    for one in accepted():
        for name in JSON_TYPES:
            if not one.multipart and one.takes(name, ""):
                return name
    raise Unsupported("this resource is application/dicom+json")


def parameters(text: str) -> tuple[str, dict[str, str]]:
    """Return a media type and its parameters. OHIF leaves out the quotes that `type` must have (RFC 2387 3.1)."""
    name, _, rest = text.partition(";")
    found = {key.lower(): quoted or plain.strip() for key, quoted, plain in _PARAMETER.findall(";" + rest)}
    return name.strip(), found


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _split(text: str) -> list[str]:
    """Split at commas that stand in no quoted string."""
    parts, quoted = [""], False
    for letter in text:
        quoted ^= letter == '"'
        if letter == "," and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart answer. body: made when it is sent. size: its bytes."""

    content_type: str
    size: int
    body: Iterable[bytes]
    location: str = ""


def multipart(parts: Iterable[Part]) -> tuple[str, Iterator[bytes]]:
    """Return (boundary, the body). A boundary of 128 random bits is in no part."""
    boundary = secrets.token_hex(16)
    return boundary, _body(boundary, parts)


def _body(boundary: str, parts: Iterable[Part]) -> Iterator[bytes]:
    for part in parts:
        head = f"--{boundary}\r\nContent-Type: {part.content_type}\r\nContent-Length: {part.size}\r\n"
        if part.location:
            head += f"Content-Location: {part.location}\r\n"
        yield head.encode() + b"\r\n"
        yield from part.body
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()
