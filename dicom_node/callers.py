"""Who may open an association: the table of calling AEs, their addresses and their certificates. Pure.

An AE title is a claim that anybody can make; only the address and the certificate say something about it. All
that does not stand in the table is refused.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from dicom_node.tls import PeerCertificate

_NAME, _SHA256 = "name:", "sha256:"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Refusal(StrEnum):
    """Why an association is refused: one of a few phrases, so that it can be a metric's label."""

    APPLICATION_CONTEXT = "another application context than DICOM's"
    CALLED_AE = "called AE title is not ours"
    NO_CALLING_AE = "no calling AE title"
    CALLING_AE = "calling AE title is not in the table"
    ADDRESS = "the address is not one of this calling AE"
    NO_CERTIFICATE = "this calling AE has to show its certificate"
    CERTIFICATE = "the certificate is not one of this calling AE"


@dataclass(frozen=True, slots=True)
class Caller:
    """Where an AE may call from and what it must show; nothing of a kind means anything of it.

    names: common names or DNS names, in small letters. digests: sha256 of whole certificates.
    """

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    names: frozenset[str] = frozenset()
    digests: frozenset[str] = frozenset()

    @property
    def bound(self) -> bool:
        """True when it has to show a certificate."""
        return bool(self.names or self.digests)


def caller(entries: Sequence[str]) -> Caller:
    """Return what the entries of one AE say: addresses, CIDR ranges, `name:ct1.example.org`, `sha256:ab12...`.

    Raises ValueError, without the entry, when one is none of these.
    """
    networks, names, digests = [], set(), set()
    for entry in entries:
        if entry.startswith(_NAME) and entry != _NAME:
            names.add(entry.removeprefix(_NAME).strip().lower())
        elif entry.startswith(_SHA256):
            digest = entry.removeprefix(_SHA256).replace(":", "").lower()
            if not _DIGEST.fullmatch(digest):
                raise ValueError("expected 64 hexadecimal digits after sha256:")
            digests.add(digest)
        else:
            try:
                networks.append(ip_network(entry, strict=False))
            except ValueError:
                raise ValueError("expected addresses, CIDR ranges, name:... or sha256:...") from None
    return Caller(tuple(networks), frozenset(names), frozenset(digests))


class Callers:
    """The table. closed: refuse everybody when it is empty, instead of nobody."""

    def __init__(self, table: Mapping[str, Sequence[str]], *, closed: bool = False) -> None:
        self._callers = {title.strip(): caller(entries) for title, entries in table.items()}
        self._open = not self._callers and not closed

    def why_not(self, title: str, address: str, certificate: PeerCertificate | None) -> Refusal | None:
        """Return why this peer may not call, or None when it may. certificate: None when it showed none."""
        if self._open:
            return None
        known = self._callers.get(title)
        if known is None:
            return Refusal.CALLING_AE
        if known.networks and not any(_canonical(address) in one for one in known.networks):
            return Refusal.ADDRESS
        if not known.bound:
            return None
        if certificate is None:
            return Refusal.NO_CERTIFICATE
        if certificate.sha256 in known.digests or certificate.names & known.names:
            return None
        return Refusal.CERTIFICATE


def _canonical(address: str) -> IPv4Address | IPv6Address:
    """Return an IPv4 address that came over an IPv6 socket as what it is."""
    parsed = ip_address(address.partition("%")[0])
    return getattr(parsed, "ipv4_mapped", None) or parsed
