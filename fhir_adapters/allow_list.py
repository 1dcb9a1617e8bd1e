"""Which FHIR servers may be called, and whether a URL lies under one of them.

`fhirServer` and `link[next]` come from outside, so they are a way into our network (threat T3). A URL is
taken apart here by one strict grammar; what does not fit it is refused rather than repaired, because two
parsers that repair differently are how allow-lists are passed.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from clinical.errors import IncorrectInput

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.\-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>(?:/[A-Za-z0-9\-._~!$'()*+,;=:@%]*)*)(?:\?(?P<query>[!-~]*))?"
)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%(?:2[EeFf]|5[Cc]|[01][0-9A-Fa-f]|7[Ff])")
_DEFAULT_PORT = {"https": 443, "http": 80}
MAX_URL = 8192


class Network(StrEnum):
    """Where a server may be. private also takes public addresses; none but loopback takes loopback."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"


@dataclass(frozen=True, slots=True)
class Url:
    """An absolute URL in its parts; scheme and host in lower case, port always set."""

    scheme: str
    host: str
    port: int
    path: str
    query: str | None

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: what a token is bound to (RFC 6454)."""
        return (self.scheme, self.host, self.port)

    def under(self, base: "Url") -> bool:
        """True when this is `base` itself or below it: /fhir2 is not under /fhir."""
        root = base.path.rstrip("/")
        return self.origin == base.origin and (self.path.rstrip("/") == root or self.path.startswith(root + "/"))


def parse_url(text: str) -> Url | None:
    """Return the URL, or None when it is not one that we would ever call.

    Refused: user information, a fragment, backslashes, control or non-ASCII characters, dot segments, empty
    segments, escapes of a dot, slash, backslash or control character within the path.
    """
    match = _URL.fullmatch(text) if len(text) <= MAX_URL else None
    if match is None or "#" in (match["query"] or ""):
        return None
    port = int(match["port"] or _DEFAULT_PORT[match["scheme"]])
    path = match["path"]
    segments = path.split("/")[1:]
    strange = any(segment in {".", ".."} for segment in segments) or "" in segments[:-1]
    if strange or _BAD_ESCAPE.search(path) or not 0 < port < 65536 or ".." in match["host"]:
        return None
    return Url(match["scheme"], match["host"].lower(), port, path, match["query"])


@dataclass(frozen=True, slots=True)
class AllowedServer:
    """A FHIR base URL that may be called, from configuration.

    base: absolute, https; plain http only with network=loopback (development).
    network: which addresses its name may resolve to.
    """

    base: str
    network: Network = Network.PUBLIC

    def __post_init__(self) -> None:
        url = parse_url(self.base)
        if url is None or url.query is not None:
            raise IncorrectInput("an allowed FHIR server is an absolute URL without user, query or fragment")
        if url.scheme == "http" and self.network is not Network.LOOPBACK:
            raise IncorrectInput("an allowed FHIR server is https; plain http is for loopback only")

    @property
    def url(self) -> Url:
        """The base in its parts."""
        url = parse_url(self.base)
        if url is None:
            raise IncorrectInput("the base was checked when this was made")
        return url

    def admits(self, address: str) -> bool:
        """True when an address that the server's name resolved to may be connected to."""
        ip = _innermost(ipaddress.ip_address(address.split("%", 1)[0]))
        if self.network is Network.LOOPBACK:
            return ip.is_loopback
        if ip.is_multicast or ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_reserved:
            return False
        return ip.is_global or (self.network is Network.PRIVATE and ip.is_private)


def find(servers: Sequence[AllowedServer], base: str) -> tuple[AllowedServer, Url] | None:
    """Return the entry that allows `base` and the base in its parts, or None: the default is to refuse."""
    url = parse_url(base)
    if url is None or url.query is not None:
        return None
    return next(((server, url) for server in servers if url.under(server.url)), None)


def admits(servers: Sequence[AllowedServer], host: str, port: int, address: str) -> bool:
    """True when every entry of this host and port lets its name be at this address; False when there is none.

    Connections are shared by origin, so the strictest entry of an origin decides for all of them.
    """
    name = host.strip("[]")
    entries = [server for server in servers if (server.url.host.strip("[]"), server.url.port) == (name, port)]
    return bool(entries) and all(server.admits(address) for server in entries)


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def _innermost(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the IPv4 address that an IPv6 one stands for (mapped, 6to4, Teredo, NAT64), else itself."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    teredo = ip.teredo[1] if ip.teredo else None
    return ip.ipv4_mapped or ip.sixtofour or teredo or ip
