"""Where links of a card may lead: the configured origins and nowhere else (threat T6).

A URL on a card is a `PublicUrl`, and only `Origins.url` should make one: a text cannot be passed by mistake, and
one of another origin is a Fault before there is a card.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cds.legal import must

# RFC 3986 without a user, in the characters that no Markdown reader takes for the end of a destination.
_ABSOLUTE = re.compile(
    r"https?://([A-Za-z0-9.\-]+|\[[0-9a-f:]+\])(:\d{1,5})?([/?][A-Za-z0-9\-._~:/?#@!$&*+,;=%]*)?",
)
_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class PublicUrl:
    """An absolute http(s) URL. origins: those that are configured; its own is among them."""

    text: str
    origins: frozenset[str] = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        must(bool(_ABSOLUTE.fullmatch(self.text)), "a link's url is not absolute http(s)")
        must(origin_of(self.text) in self.origins, "a link leads to an origin that is not configured")


@dataclass(frozen=True, slots=True)
class Origins:
    """The origins that links may lead to, as `scheme://host:port`."""

    allowed: frozenset[str]

    def url(self, text: str) -> PublicUrl:
        """Return a URL for a card. Raises Fault when it is not absolute or leads elsewhere."""
        return PublicUrl(text, self.allowed)


def origins_of(*urls: str) -> Origins:
    """Return the origins of absolute URLs."""
    return Origins(frozenset(map(origin_of, urls)))


def origin_of(url: str) -> str:
    """Return `scheme://host:port` (RFC 6454), "" for what has no such origin."""
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        return ""
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"
