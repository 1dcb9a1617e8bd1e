"""Client certificates (mutual TLS), as the proxy that ends TLS passes them on.

The proxy checks the chain and the dates; here the certificate is compared with those of the issuers. Anybody can
write a header, so it counts only from the addresses of the proxy, and the proxy must overwrite what came in.
Two spellings are read: RFC 9440 (`Client-Cert: :<base64 DER>:`) and the escaped PEM that nginx gives.
"""

import base64
import binascii
import hashlib
import ipaddress
from collections.abc import Mapping
from urllib.parse import unquote

from cds.trust.issuer import CertificateHeader

MAX_CERTIFICATE = 16_384  # characters in the header
_PEM = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----")


def fingerprint(headers: Mapping[str, str], peer: str, rule: CertificateHeader | None) -> str | None:
    """Return the SHA-256 of the certificate's DER in hexadecimal, or None when there is none to believe.

    headers: names in Title-Case. peer: the address of the other end of the TCP connection.
    """
    if rule is None or not _is_proxy(peer, rule):
        return None
    der = _der(headers.get(rule.name.title(), ""))
    return hashlib.sha256(der).hexdigest() if der else None


def _is_proxy(peer: str, rule: CertificateHeader) -> bool:
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    # A socket that listens on IPv6 and IPv4 at once names an IPv4 peer so.
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in ipaddress.ip_network(network) for network in rule.proxies)


def _der(value: str) -> bytes | None:
    value = value.strip()
    if not value or len(value) > MAX_CERTIFICATE:
        return None
    if value.startswith(":") and value.endswith(":") and len(value) > 2:
        return _base64(value[1:-1])
    pem = unquote(value).strip()
    if pem.startswith(_PEM[0]) and pem.endswith(_PEM[1]) and pem.count("-----BEGIN") == 1:
        return _base64("".join(pem[len(_PEM[0]) : -len(_PEM[1])].split()))
    return None


def _base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
